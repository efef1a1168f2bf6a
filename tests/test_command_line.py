"""`python -m rl_tickets`: what is in a ticket, how two folders compare, and one sentence where that cannot be told."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from tiny import PPO_EXPERIMENT, ROOT, contents, counted

import rl_tickets as rt
from rl_tickets.lab.command_line import Flags, called_script
from rl_tickets.lab.commands import main
from rl_tickets.report.tables import read_levels, read_series


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    rt.run(replace(PPO_EXPERIMENT, searches={"imp": rt.IMP(criterion=rt.lamp)}, densities=(1.0, 0.5)), jobs=1, out=out)
    path = out / "tiny" / "experiment.json"
    described = json.loads(path.read_text())
    described["settings"]["random_return"] = 0.0  # So few steps teach nothing.
    path.write_text(json.dumps(described))
    return out / "tiny"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "tickets" / "imp" / "seed-1" / "level-01.ticket"
    ticket = rt.Ticket.load(path)
    main(["show", str(path)])
    out = capsys.readouterr().out
    assert str(path) in out
    assert "density 0.5, sparsity 0.5" in out
    for name, count in ticket.mask.layers.items():
        (row,) = (line for line in out.splitlines() if f" {name} " in line)
        assert row.split()[3::2][:3] == ["x".join(map(str, ticket.mask[name].shape)), str(count.kept), str(count.total)]
    for provenance in ('"algorithm": "PPO"', '"environment": "CartPole-v1"', '"seed": 1', '"level": 1'):
        assert provenance in out
    assert f"digest {ticket.digest}" in out


def test_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", str(folder), str(folder)])
    out = capsys.readouterr().out
    assert f"A = {folder}\nB = {folder}\n" in out
    greedy, as_trained = out.split("Played as trained, with sampled actions:")
    for table in (greedy, as_trained):
        dense, imp = (line.split() for line in table.splitlines() if line.startswith(("dense", "imp")))
        assert dense[:4] == ["dense", "0", "1", "1"]
        assert imp[:4] == ["imp", "1", "0.5", "0.5"]
        assert dense[-2:] == ["2/2", "0.50"], "a folder is as good as itself"


def test_what_is_no_ticket(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path / 'none'}: no such file" in complaint(["show", str(tmp_path / "none")], capsys)
    assert "no such file" in complaint(["show", str(folder)], capsys)
    sentence = complaint(["show", str(folder / "levels.csv")], capsys)
    assert "levels.csv is truncated, altered or not a file of rl_tickets" in sentence


def test_what_is_no_results_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = complaint(["compare", str(folder), str(tmp_path)], capsys)
    assert f"{tmp_path} is not a results folder" in sentence


def test_as_a_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rl_tickets", "show", str(tmp_path / "no[/]ne")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'no[/]ne'}: no such file\n"


@pytest.mark.parametrize("arguments", [["--help"], ["show", "--help"], ["compare", "--help"], ["evaluate", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code
    assert "python -m rl_tickets" in capsys.readouterr().out


SCRIPT = """
import rl_tickets as rt
from tiny import PPO_EXPERIMENT
from dataclasses import replace

experiment = replace(PPO_EXPERIMENT, searches={"imp": rt.IMP(criterion=rt.lamp)}, densities=(1.0, 0.5))

if __name__ == "__main__":
    raise SystemExit("evaluating runs no experiment")
"""


def test_evaluate_plays_the_final_policies_over_and_trains_nothing(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT)
    before = contents(folder)
    with counted(tmp_path / "steps"):
        main(["evaluate", str(folder), "--episodes", "5", "--script", str(script), "--out", str(tmp_path / "over")])
    assert (tmp_path / "steps").stat().st_size == 0
    assert contents(folder) == before
    assert str(tmp_path / "over" / "report.md") in capsys.readouterr().out
    old, new = ({row.run: row for row in read_series(path, "returns")} for path in (folder, tmp_path / "over"))
    assert old.keys() == new.keys()
    for run, row in new.items():
        assert len(row) == 5
        assert row.columns["returns"][:3] == old[run].columns["returns"], "the same policies on the same seeds"
    levels = {row.run: row.mean_return for row in read_levels(tmp_path / "over")}
    assert levels == {run: np.mean(row.columns["returns"]) for run, row in new.items()}
    described = json.loads((tmp_path / "over" / "experiment.json").read_text())
    assert described["settings"]["episodes"] == 5
    random = rt.RandomPolicy(gym.spaces.Discrete(2), seed=1_000)
    anchor = rt.evaluate(random, PPO_EXPERIMENT.make_env, episodes=PPO_EXPERIMENT.random_episodes, seed=1_000)
    assert described["settings"]["random_return"] == anchor.mean(), (
        "of the random policy's episodes, not of the others'"
    )
    assert described["command"].startswith("python -m rl_tickets evaluate")


def test_ctrl_c(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "mine.py"
    script.write_text("import os, signal\n\nos.kill(os.getpid(), signal.SIGINT)\n")
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(folder), "--episodes", "5", "--script", str(script), "--out", str(tmp_path / "over")])
    assert ended.value.code == 130
    assert capsys.readouterr() == ("", "Stopped before it was done.\n")
    assert not (tmp_path / "over").exists()


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("mine.py", "mine.py"),
        ("../mine.py", "../mine.py"),
        ("/here/a/mine.py", "a/mine.py"),
        ("/else/mine.py", "mine.py"),
    ],
)
def test_a_script_is_named_as_it_is_called(argument: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "cwd", lambda: Path("/here"))
    monkeypatch.setattr(sys, "argv", [argument])
    assert called_script() == said
    assert Flags(seeds=3).command() == f"python {said} --seeds 3"


def test_evaluate_says_what_it_lacks(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "mine.py"
    flags = ["--episodes", "5", "--out", str(tmp_path / "over")]
    asked = ["evaluate", str(folder), *flags, "--script", str(script)]
    assert f"there is no {script} here" in complaint(asked, capsys)
    assert "does not say which script made it; name it by --script" in complaint(asked[:-2], capsys)
    script.write_text("answer = 42\n")
    assert "holds no rt.Experiment at its top level" in complaint(asked, capsys)
    script.write_text(SCRIPT)
    assert "not a results folder" in complaint(["evaluate", str(tmp_path), *flags], capsys)
    bare = tmp_path / "bare"
    shutil.copytree(folder, bare)
    shutil.rmtree(bare / "weights")
    sentence = complaint(["evaluate", str(bare), *flags, "--script", str(script)], capsys)
    assert "kept no final weights of its dense runs" in sentence
    other = SCRIPT.replace("densities=", "make_model=lambda seed: make_ppo(seed, gamma=0.5), densities=")
    script.write_text(other.replace("import PPO", "import make_ppo, PPO"))
    assert "was made with another agent" in complaint(asked, capsys)


def test_smoke_stands_at_all_densities() -> None:
    """Chosen ones may be among those that it leaves out."""
    sparsest = PPO_EXPERIMENT.densities[-1:]
    bird = rt.EarlyBird(every=32)
    searches: dict[str, rt.Plan] = {
        "imp": rt.IMP(),
        "reinit": rt.Control(rt.random_reinit, at=sparsest),
        "moved": rt.Transfer(of="imp", at=sparsest),
        "birds": rt.EarlyBirdIMP(early_bird=bird, at=sparsest),
    }
    made = Flags(smoke=True, levels=2).apply(replace(PPO_EXPERIMENT, searches=searches))
    assert len(made.densities) == 2
    assert [getattr(plan, "at", None) for plan in made.searches.values()] == [None] * 4
