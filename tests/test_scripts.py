"""The scripts, as a user runs them; those too slow for that, as far as one can get in seconds."""

from __future__ import annotations

import ast
import csv
import importlib.util
import json
import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from agents_matrix import train
from stable_baselines3.common.base_class import BaseAlgorithm
from tiny import PPO_EXPERIMENT, ROOT

import rl_tickets as rt
from rl_tickets.agents.anatomy import rollout_steps
from rl_tickets.lab.command_line import Flags
from rl_tickets.report.barriers import BarrierRow
from rl_tickets.training.requests import Training
from rl_tickets.training.runs import Setting

SCRIPTS = sorted((ROOT / "scripts").glob("*.py"))
TOOLS = (
    "report",
    "benchmark",
    "cheap_tickets_cartpole",
    "cheap_tickets_lunarlander",
    "cohort_vs_plain",
    "cohort_vs_plain_off_policy",
    "compression",
    "instability_cartpole",
    "instability_lunarlander",
    "overlaps",
    "transfer_acrobot",
    "transfer_algorithms_cartpole",
    "transfer_cartpole",
    "transfer_halfcheetah",
    "transfer_lunarlander",
    "transfer_pendulum",
    "verdicts",
    "warmup_cartpole",
    "warmup_lunarlander",
)
"""Scripts that are not a single experiment."""
TOO_LONG = 2_000
"""Environment steps of a rollout that takes too long here."""


def python(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "160"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def load(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A script as a module, as Python finds its neighbours when it runs."""
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_help(path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    monkeypatch.syspath_prepend(str(path.parent))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert not ended.value.code
    out, err = capsys.readouterr()
    assert "usage: " in out
    assert not err
    if path.stem not in TOOLS:
        asked = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        assert " ".join(asked.split()) in " ".join(out.split()), "the script tells what it asks"


@pytest.mark.parametrize("path", [path for path in SCRIPTS if path.stem not in TOOLS], ids=lambda p: p.stem)
def test_factories(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent trains a rollout in its environment, differs with its seed, and plays an episode."""
    module = load(path, monkeypatch)
    experiment: rt.Experiment = module.experiment
    assert re.match(r"Lottery tickets of |The measurement behind ", module.__doc__ or "")
    model, other = (experiment.make_model(seed) for seed in (0, 1))
    same = [np.array_equal(a, b) for a, b in zip(_weights(model), _weights(other), strict=True)]
    assert not all(same)
    mask = rt.Mask.dense(model)
    assert experiment.densities[-1] * mask.total > 2 * len(mask), "the sparsest level is still a network"
    for plan in experiment.searches.values():
        if isinstance(plan, rt.IMP) and plan.rewind.at:
            assert plan.rewind.at / experiment.total_timesteps <= 0.11
            assert plan.rewind.at % rollout_steps(model) == 0, "a late rewind point inside a rollout warns"
        if isinstance(plan, rt.Control):
            ticket = _ticket(model, experiment.searches[plan.of])
            assert plan.make(ticket, experiment.make_model, seed=0).digest != ticket.digest
    if rollout_steps(model) <= TOO_LONG:
        model, trained = train(Setting(experiment.make_model, 0, rollout_steps(model)), Training(0))
        assert trained.timesteps >= rollout_steps(model)
        assert not trained.diverged
    assert np.isfinite(rt.evaluate(model, experiment.make_env, episodes=1)).all()


def _ticket(model: BaseAlgorithm, plan: rt.Plan) -> rt.Ticket:
    """Of random weights, or of random whole neurons where the plan prunes these."""
    make_units = getattr(plan, "units", None)
    units = None if make_units is None else make_units(model, None)
    state = model.policy.state_dict()
    scores = rt.random_scores({name: state[name] for name in rt.Mask.dense(model)}, {})
    return rt.Ticket(rt.select(scores, 0.3, units=units).mask, state)


def _weights(model: object) -> list[np.ndarray]:
    return [weight.detach().numpy() for weight in model.policy.state_dict().values()]  # type: ignore[attr-defined]


def test_names_of_results_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [load(path, monkeypatch).experiment.name for path in SCRIPTS if path.stem not in TOOLS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "folder", "flags", "trained"),
    [
        ("cartpole", "cartpole_ppo", "--searches imp random_reinit --smoke", 2 * (1 + 2 * 2)),
        (
            "pendulum",
            "pendulum_sac",
            "--seeds 1 --levels 2 --trainer plain --searches imp random_reinit --smoke",
            1 + 2,
        ),
    ],
)
def test_smoke(name: str, folder: str, flags: str, trained: int, tmp_path: Path) -> None:
    done = python(f"scripts/{name}.py", *flags.split(), "--jobs", 2 if name == "cartpole" else 1, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    warned = [line for line in done.stderr.splitlines() if not line.startswith("  ")]
    assert all("LayerCollapseWarning" in line for line in warned), done.stderr
    assert len(warned) <= 1
    found = tmp_path / f"{folder}_smoke"
    for line in ("Report ", "Plot ", "TensorBoard tensorboard --logdir"):
        assert re.search(rf"^{line}.*{re.escape(str(found))}", done.stdout, re.MULTILINE)
    assert json.loads((found / "experiment.json").read_text())["command"] == f"python scripts/{name}.py {flags}"
    with (found / "levels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["search"] for row in rows} == {"dense", *re.findall(r"--searches ([a-z_ ]+)", flags)[0].split()}
    assert len(rows) == trained
    assert not (found / ".work").exists()
    if name == "cartpole":
        files = {path: path.read_bytes() for path in (found / "report.md", *found.glob("*.png"))}
        for path in files:
            path.unlink()
        done = python("scripts/report.py", found)
        assert (done.returncode, done.stderr) == (0, "")
        assert files == {path: path.read_bytes() for path in files}, "the report comes from the CSV files alone"


def test_compression(tmp_path: Path) -> None:
    done = python("scripts/compression.py", "--smoke", "--out", tmp_path / "compression")
    assert done.returncode == 0, done.stderr
    found = tmp_path / "compression_smoke"
    assert {path.name for path in found.iterdir()} == {"compression.csv", "compression.png", "report.md"}
    with (found / "compression.csv").open() as file:
        rows = {row["criterion"]: row for row in csv.DictReader(file)}
    assert rows["SynFlow"]["empty_layers"] == rows["SynFlow"]["deaf_heads"] == "0 0 0"
    assert rows["magnitude"]["empty_layers"].split()[-1] != "0"
    assert "| SynFlow | 1,000 / 1,000 |" in (found / "report.md").read_text()


def test_choosing_cohorts_keeps_the_scripts_own() -> None:
    experiment = replace(PPO_EXPERIMENT, trainer=rt.Cohorts(seeds=8))
    assert Flags(trainer="cohort").apply(experiment).trainer == rt.Cohorts(seeds=8)
    assert Flags(trainer="plain").apply(experiment).trainer == rt.Plain()
    assert Flags(trainer="cohort").apply(replace(experiment, trainer=rt.Plain())).trainer == rt.Cohorts()


def test_searches_without_names_are_an_error() -> None:
    with pytest.raises(ValueError, match="--searches needs names of searches; choose from: imp, late, random_reinit"):
        Flags(searches=()).apply(PPO_EXPERIMENT)


def test_a_study_says_how_it_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = load(ROOT / "scripts" / "measures" / "study.py", monkeypatch)
    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / "a_study.py")])
    assert study.Asked().command == "python scripts/a_study.py"
    asked = study.Asked(seeds=3, jobs=1, out=tmp_path / "found", smoke=True)
    assert asked.command == "python scripts/a_study.py --seeds 3 --smoke"
    assert replace(asked, usual=study.Asked(seeds=3)).command == "python scripts/a_study.py --smoke"
    assert asked.folder == tmp_path / "found_smoke"
    asked.publish(iter(["# Found", "Nothing."]))
    assert (tmp_path / "found_smoke" / "report.md").read_text() == "# Found\n\nNothing.\n"


def test_a_study_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = ROOT / "scripts" / "warmup_cartpole.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--seeds", "0", "--out", str(tmp_path)])
    monkeypatch.syspath_prepend(str(script.parent))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(script), run_name="__main__")
    assert ended.value.code == 2
    assert "error: seeds must be a positive number" in capsys.readouterr().err


def test_report_of_no_results(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["report.py", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "scripts" / "report.py"), run_name="__main__")
    assert ended.value.code == 2
    assert f"error: {tmp_path} is not a results folder" in capsys.readouterr().err


def test_equal_searches_share_all_their_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load(ROOT / "scripts" / "overlaps.py", monkeypatch)
    random = rt.AtInit(rt.random_scores, scope="layer", densities=PPO_EXPERIMENT.densities)
    searches = {"imp": rt.IMP(), "same": rt.IMP(), "random": random}
    experiment = replace(
        PPO_EXPERIMENT, searches=searches, seeds=3, dense_seeds=None, callback=None, trainer=rt.Plain()
    )
    rt.run(experiment, jobs=1, out=tmp_path)
    script.main(tmp_path / experiment.name)
    text = (tmp_path / experiment.name / "overlaps.md").read_text()
    assert text in capsys.readouterr().out
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith(("| same", "| random"))]
    assert len(rows) == 2 * (len(experiment.densities) - 1)
    for name, _, seeds, shared, chance in rows:
        assert seeds == "3"
        if name == "same":
            assert shared == "1.000 [1.000, 1.000]"
        low, high = (float(end) for end in re.findall(r"[0-9.]+", shared)[1:])
        assert name == "same" or low - 0.05 < float(chance) < high + 0.05


def test_masks_share_by_chance_what_their_layers_let_them(monkeypatch: pytest.MonkeyPatch) -> None:
    script = load(ROOT / "scripts" / "overlaps.py", monkeypatch)
    kept = torch.tensor([True, True, False, False])
    mask = rt.Mask({"sparse": kept, "dense": torch.ones(4, dtype=torch.bool)})
    assert script.by_chance(mask, mask) == pytest.approx((1 + 4) / 6)


def test_tickets_that_are_gone_are_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    script = load(ROOT / "scripts" / "overlaps.py", monkeypatch)
    with pytest.raises(SystemExit):
        script.main(ROOT / "results" / "cartpole_ppo")
    assert "has no tickets of 'imp': run the experiment again" in capsys.readouterr().err


def test_the_claim_about_stable_tickets_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tickets whose copies are made stable exactly where they are typical, and one that is made to break the claim."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script = load(ROOT / "scripts" / "measures" / "copied_tickets.py", monkeypatch)
    summary = rt.Summary.read(ROOT / "results" / "cartpole_sweep")
    levels = next(each.levels for each in summary.searches if each.name == "imp")
    typical = {level.density: bool(level.comparison and level.comparison.typical) for level in levels}
    assert {*typical.values()} == {True, False}
    for broken in ([], [levels[0].density]):
        rows = [
            BarrierRow("imp", density, seed, 0, seed / 8 + 80 * (well == (density in broken)), 9.0, 0.1, (1.0, 1.0))
            for density, well in typical.items()
            for seed in range(8)
        ]
        text, ranked, *_ = script.claim(script.CopiedTicket.all(rows, {"imp": 0}, summary), summary)
        counted = [int(number) for number in re.findall(r"\d+", text)]
        well = sum(typical.values())
        ill = len(typical) - well
        lost = len(broken)
        assert counted == [len(typical), well - lost, ill, len(typical) - lost, 0, lost, lost, 0]
        assert re.search(r"rank correlation of -0\.\d+ \[-[01]\.\d+, -0\.\d+\] \(p [<=] 0\.00\d; ", ranked)
