"""How fast agents learn: what they return while they train, beside their controls."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from test_report import IMP, SEARCHES, level, plan, save

from rl_tickets.report import terminal_table, write_index, write_report
from rl_tickets.report.headline import while_training
from rl_tickets.report.rows import LevelRow, Run, Series
from rl_tickets.report.speed import mean_while_training

NOISE = (-2.0, -1.0, 0.0, 1.0, 2.0, 0.0)


def curve(run: Run, returns: tuple[float, ...], steps: tuple[int, ...] = (250, 500, 1000)) -> Series:
    """Five episodes end in each stretch."""
    columns = {"timesteps": steps, "total_return": [5 * each for each in returns], "episodes": [5] * len(steps)}
    return Series("curves", run, columns)


def test_each_step_counts_alike() -> None:
    """Stretches of 250, 250 and 500 steps, whatever the number of episodes."""
    columns = {"timesteps": [250, 500, 1000], "total_return": [10.0, 40.0, 300.0], "episodes": [1, 2, 3]}
    found = Series("curves", Run("imp", 0, 1), columns)
    assert mean_while_training(found, start=0, begin=0) == (250 * 10 + 250 * 20 + 500 * 100) / 1000
    assert mean_while_training(found, start=0, begin=400) == (100 * 20 + 500 * 100) / 600
    assert mean_while_training(found, start=150, begin=0) == (100 * 10 + 250 * 20 + 500 * 100) / 850
    assert math.isnan(mean_while_training(found, start=0, begin=1000))
    silent = Series("curves", Run("imp", 0, 1), {**columns, "total_return": [10.0, math.nan, 300.0]})
    assert mean_while_training(silent, start=0, begin=0) == (250 * 10 + 500 * 100) / 750


def made(folder: Path, levels: list[LevelRow], curves: list[Series], searches: dict[str, object]) -> str:
    save(folder, levels, others=curves, searches=searches, total_timesteps=1000)
    summary = write_report(folder)
    text = (folder / "report.md").read_text()
    sentence = while_training(summary)
    assert ("While training, " in text) == bool(sentence)
    assert sentence in text
    assert sentence in str(terminal_table(summary).caption)
    assert ("How fast they learn" in text) == bool(sentence)
    assert ("](learning_speed.png)" in text) == (folder / "learning_speed.png").exists() == bool(sentence)
    return sentence


def faster() -> tuple[list[LevelRow], list[Series]]:
    """Tickets end as their controls do, and were there earlier."""
    levels, curves = [], []
    for seed, noise in enumerate(NOISE):
        for search, index, early in (("dense", 0, 50.0), ("imp", 1, 50.0 + noise), ("random_reinit", 1, 20.0)):
            levels.append(level(search, seed, index, 100.0))
            curves.append(curve(Run(search, seed, index), (0.0, early, 100.0)))
    return levels, curves


def test_contrasts_of_returns_while_training(tmp_path: Path) -> None:
    """A quarter of training returns 50 instead of 20, where dense returns 62.5 on average and a random policy 0."""
    sentence = made(tmp_path / "toy", *faster(), SEARCHES)
    assert sentence.startswith("While training, IMP (imp) returns 0.12 [0.11, 0.13] more than random_reinit (p < 0.0")
    assert sentence in write_index(tmp_path).read_text()
    text = (tmp_path / "toy" / "report.md").read_text()
    assert "| imp | random_reinit | 1 | 6 | +0.120 [" in text
    assert "is not shown to differ from random_reinit (+0.000" in text, "of final policies"


def test_only_steps_that_all_train_count_and_runs_that_ended_early_do_not(tmp_path: Path) -> None:
    levels, curves = faster()
    searches = {**SEARCHES, "late": {**IMP, "settings": {"rewind": {"type": "Rewind", "at": 250}}}, "bird": plan("IMP")}
    for seed in range(len(NOISE)):
        levels.append(level("late", seed, 1, 100.0, start=250, timesteps=750))
        curves.append(curve(Run("late", seed, 1), (50.0, 100.0), (500, 1000)))
        levels.append(level("bird", seed, 0, 10.0, timesteps=500))
        levels.append(level("bird", seed, 1, 100.0))
        curves.append(curve(Run("bird", seed, 1), (0.0, 50.0, 100.0)))
    sentence = made(tmp_path, levels, curves, searches)
    # From step 250 on a third of the steps returns 50 or 20, and dense 83.3 on average.
    assert sentence.startswith("While training, IMP (imp) returns 0.12 [0.11, 0.13] more than random_reinit")
    assert "| imp | late | 1 | 6 | +0.000 [" in (tmp_path / "report.md").read_text()


def test_what_only_serves_a_search_and_what_begins_at_the_end_move_no_step_that_counts(tmp_path: Path) -> None:
    levels, curves = faster()
    sentence = made(tmp_path / "without", levels, curves, SEARCHES)
    copies = {**plan("Instability"), "aside": ["k750-a"]}
    searches = {**SEARCHES, "copies": copies, "tuned": plan("IMP", rewind={"type": "FineTuning", "at": 0})}
    for seed in range(len(NOISE)):
        for run, start in ((Run("copies", seed, 1, "k750-a"), 750), (Run("tuned", seed, 1), 1000)):
            levels.append(level(run.search, seed, 1, 100.0, run=run, start=start, timesteps=1000))
            curves.append(curve(run, (100.0,), (start + 250,)))
    assert made(tmp_path / "with", levels, curves, searches) == sentence


@pytest.mark.parametrize("played", [math.nan, 0.0])
def test_a_run_that_diverged_counts_as_random(tmp_path: Path, played: float) -> None:
    """Whatever the policy that is left plays, and whether or not a curve is left."""
    levels, curves = faster()
    levels[1] = level("imp", 0, 1, played, diverged=True, timesteps=300)
    sentence = made(tmp_path / "whole", levels, curves, SEARCHES)
    short = [each for each in curves if each.run != levels[1].run]
    assert made(tmp_path / "short", levels, short, SEARCHES) == sentence
    assert "is not shown to differ from random_reinit (-0.0" in sentence


def test_where_all_runs_diverged_nothing_is_told(tmp_path: Path) -> None:
    levels, curves = faster()
    lost = [level(row.run.search, row.run.seed, row.run.level, 0.0, diverged=True) for row in levels]
    assert made(tmp_path / "curves", lost, curves, SEARCHES) == ""
    assert made(tmp_path / "none", lost, [], SEARCHES) == ""


@pytest.mark.parametrize("missing", [Run("imp", 3, 1), Run("dense", 0, 0)])
def test_where_a_curve_is_missing_nothing_is_told(tmp_path: Path, missing: Run) -> None:
    levels, curves = faster()
    assert made(tmp_path, levels, [each for each in curves if each.run != missing], SEARCHES) == ""
