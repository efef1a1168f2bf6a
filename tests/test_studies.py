"""The studies of several experiments, each on agents of a few steps: what they train, and what their pages hold."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
from stable_baselines3 import PPO
from tiny import PPO_EXPERIMENT, ROOT, make_ppo

import rl_tickets as rt
from rl_tickets.report.rows import LevelRow
from rl_tickets.report.tables import read_levels

LITTLE = replace(PPO_EXPERIMENT, searches={}, densities=(1.0, 0.2), callback=None, trainer=rt.Plain(), dense_seeds=None)


@pytest.fixture
def measures(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The scripts' own package, as Python finds it when a script runs."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / "a_study.py")])
    import measures

    return measures


def levels(folder: Path) -> dict[str, list[int]]:
    """Search -> levels that it trained, of the first seed."""
    rows: list[LevelRow] = sorted(read_levels(folder), key=lambda row: row.run)
    found: dict[str, list[int]] = {}
    for row in rows:
        if row.run.seed == 0:
            found.setdefault(row.run.search, []).append(row.run.level)
    return found


def test_tickets_are_exchanged_among_agents(measures: ModuleType, tmp_path: Path) -> None:
    from measures.study import Asked
    from measures.transfer import Agent, Family, report

    agents = {"usual": Agent(make_ppo), "longer": Agent(make_ppo, budget=2.0)}
    family = Family("All", agents, targets=("usual",), beside="longer", note="Mind the heads.")
    asked = Asked(seeds=2, jobs=1, out=tmp_path)
    parts = list(report(LITTLE, {"all": family}, (0.2,), "Exchange", asked))
    assert levels(tmp_path / "all_longer") == {"dense": [0], "own": [1]}
    moved = {f"from_{source}": [1] for source in ("all_longer", "all_longer_reinit")}
    assert levels(tmp_path / "all_usual") == {"dense": [0], "own": [1], "own_reinit": [1], **moved}
    described = (json.loads((tmp_path / f"all_{name}" / "experiment.json").read_text()) for name in agents)
    assert [each["settings"]["total_timesteps"] for each in described] == [160, 320]
    told = "\n".join(parts)
    assert "Mind the heads." in told
    for what in ("less the target's own", "less re-initialised", "less dense", "from usual less from longer"):
        assert f"Tickets {what}, return of the final policies:" in told
    for figure in ("all.png", "all_training.png"):
        assert f"({figure})" in told
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")


def test_agents_of_two_families_are_trained_once_and_only_targets_have_a_scale(measures: ModuleType) -> None:
    from measures.transfer import Agent, Exchange, Family

    usual, heavy, long = (Agent(make_ppo, budget=budget) for budget in (1.0, 1.0, 4.0))
    families = {
        "physics": Family("Physics", {"usual": usual, "heavy": heavy}, sources=("usual",)),
        "budgets": Family("Budgets", {"once": usual, "long": long}, targets=("once",), beside="once"),
    }
    made = Exchange.of(replace(LITTLE, dense_seeds=4), families, (0.2,))
    assert made.names == {usual: "physics_usual", heavy: "physics_heavy", long: "budgets_long"}
    assert {target: [*others] for target, others in made.sources.items()} == {usual: [long], heavy: [usual]}
    assert [len(made.experiments[agent].pool) for agent in (usual, heavy, long)] == [4, 4, 2]
    assert ["own_reinit" in made.experiments[agent].searches for agent in (usual, heavy, long)] == [True, True, False]
    assert made.experiments[long].total_timesteps == 4 * LITTLE.total_timesteps
    assert families["physics"].smaller.pairs == (("usual", "heavy"), ("heavy", "heavy"))
    both = replace(families["budgets"], targets=("once", "long"))
    assert both.smaller.pairs == (("once", "long"), ("long", "long"))


def sized(seed: int, learning_rate: Callable[[float], float], width: int = 16) -> PPO:
    return make_ppo(seed, learning_rate=learning_rate, policy_kwargs={"net_arch": [width]})


def test_warmup_is_varied_with_rate_and_rewind_point(measures: ModuleType, tmp_path: Path) -> None:
    from measures.study import Asked
    from measures.warmup import Heat, agents_table, changes, of_agent, page

    heat = Heat(sized, rates=(1e-3,), points=(0, 64), agent="PPO")
    asked = Asked(seeds=2, jobs=1, out=tmp_path)
    made = {over: of_agent(LITTLE, heat, 1e-3, over, asked) for over in (0.0, 0.5)}
    risen = [made[over].make_model(0).lr_schedule(1.0) for over in made]
    assert risen == [1e-3, 0.0]
    found = {f"over {over}": {"0.001": rt.run(each, jobs=1, out=tmp_path)} for over, each in made.items()}
    for each in made.values():
        kept = {"rewound_0": [1], "rewound_64": [1], "rewound_0_reinit": [1]}
        assert levels(tmp_path / each.name) == {"dense": [0], **kept}
    told = "\n".join(page(found, heat, asked))
    assert all(f"## {name}" in told for name in ("Tickets less dense", "What warm-up changes", "The agents"))
    assert len(agents_table(found, heat.points).splitlines()) == 2 + len(found)
    lost = {title: {"0.001": replace(each["0.001"], problem="nobody learned")} for title, each in found.items()}
    assert len(changes(lost, heat.points).splitlines()) == 2, "agents without a scale are left out, and the others stay"


def test_copies_play_on_the_lines_between_them(measures: ModuleType, tmp_path: Path) -> None:
    from measures.instability import REINIT, AskedLines, copied, lines_of, report

    made = copied(LITTLE, steps=(0, 64), late=(64,), densities=(1.0, 0.2), controls=REINIT, controls_at=(0, 64))
    summary = rt.run(made, jobs=1, out=tmp_path)
    asked = AskedLines(seeds=2, jobs=1, out=tmp_path, points=3, episodes=2)
    lines = list(lines_of(made, summary, asked))
    copies = [("dense", 1.0, 0), ("dense", 1.0, 64), ("imp", 0.2, 0), ("imp", 0.2, 64)]
    copies += [("rewound_64", 0.2, 64), ("random_reinit", 0.2, 0), ("random_reinit", 0.2, 64)]
    assert [(line.source, round(line.density, 1), line.step) for line in lines[::2]] == copies
    rows = [row for line in lines if (row := line.row()) is not None]
    assert [(row.seed, len(row.returns), row.floor >= 0) for row in rows] == [(0, 3, True), (1, 3, True)] * len(copies)
    ends = [rt.evaluate(lines[0]._agent(copy), made.make_env, episodes=2).mean() for copy in "ab"]
    assert [rows[0].returns[0], rows[0].returns[-1]] == pytest.approx(ends)
    told = "\n".join(report(rows, 1, made, summary, "Copies", "barriers.png"))
    assert "Of 15 pairs of copies 1 are left out, since one of the two diverged." in told
    assert "Of 3 tickets, 0 are stable" in told
    assert told.count("| too few seeds |") == len(copies) + 2 * 3, (
        "verdicts of barriers, of tickets, and whether these are typical"
    )
