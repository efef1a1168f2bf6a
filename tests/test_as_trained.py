"""Both ways of playing in the store, in tables, in sentences and in comparisons; folders that have one way only."""

from __future__ import annotations

import csv
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from test_report import SEARCHES, SEEDS, runs, save, typical
from tiny import DQN_EXPERIMENT, PPO_EXPERIMENT

import rl_tickets as rt
from rl_tickets.lab.evaluating import evaluate_over
from rl_tickets.report import compare_folders, write_report
from rl_tickets.report.rows import LevelRow, Series
from rl_tickets.report.summary import Summary
from rl_tickets.report.tables import append_rows, read_levels, read_series
from rl_tickets.report.turning import turning


def stored(folder: Path, rows: Sequence[LevelRow], sampled: Sequence[LevelRow], **settings: object) -> Path:
    """A results folder whose runs return `rows` greedily and `sampled` as trained."""
    both = [
        dataclasses.replace(row, sampled_return=other.mean_return) for row, other in zip(rows, sampled, strict=True)
    ]
    save(folder, rows, searches=SEARCHES, **settings)
    for name in ("levels.csv", "returns.csv"):
        (folder / name).unlink()
    series = [
        Series(
            "returns",
            row.run,
            {
                "returns": [row.mean_return],
                "lengths": [10],
                "sampled_returns": [row.sampled_return],
                "sampled_lengths": [9],
            },
        )
        for row in both
    ]
    append_rows(folder, [*both, *series])
    return folder


def flipped(seeds: int) -> list[LevelRow]:
    """As trained, IMP is bad at density 0.4 already, and its control returns more throughout."""
    return [
        *runs("dense", [100.0], seeds),
        *runs("imp", [99.0, 50.0, 40.0, 30.0], seeds),
        *runs("random_reinit", [99.5, 99.0, 98.0, 97.0], seeds),
    ]


def test_the_report_says_what_turns_around(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a", typical(SEEDS), flipped(SEEDS))
    said = turning(Summary.read(folder))
    assert said.startswith("Played as trained, with sampled actions, instead of greedily, conclusions turn around: ")
    assert "beside random_reinit, imp returns more than it greedily (+" in said
    assert "and returns less than it as trained (-" in said
    assert "imp is typical only greedily at densities 0.4 and 0.168" in said
    assert "random_reinit is typical only as trained at densities 0.4, 0.168 and 0.1" in said
    assert said.count(". ") == 0, "one sentence"
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert said in text
    assert "| as trained: IQM [95 %] |" in text
    assert "| as trained [95 %] | p | p, Holm |" in text
    row = next(line for line in text.splitlines() if line.startswith("| imp | 0.4 |")).split(" | ")
    assert row[4].startswith("101.")
    assert row[5].startswith("50.")


def test_it_says_so_where_nothing_turns_around(tmp_path: Path) -> None:
    lower = [dataclasses.replace(row, mean_return=row.mean_return - 1) for row in typical(8)]
    summary = Summary.read(stored(tmp_path / "a", typical(8), lower))
    assert turning(summary).startswith("No conclusion turns around, neither a contrast's nor a verdict")
    assert summary.sampled is not None
    assert summary.sampled.dense.returned == pytest.approx(summary.dense.returned - 1)


def test_a_policy_that_is_nothing_as_trained_is_said_to_be(tmp_path: Path) -> None:
    worthless = [dataclasses.replace(row, mean_return=-1000.0) for row in typical(8)]
    folder = stored(tmp_path / "a", typical(8), worthless)
    said = turning(Summary.read(folder))
    assert said == (
        "Played as trained, with sampled actions, nothing can be concluded: the dense agents are no better than a "
        "random policy."
    )
    other = stored(tmp_path / "b", typical(8), typical(8))
    told = compare_folders(other, folder)
    assert "Not compared as trained, with sampled actions: in B the dense agents are no better than a random" in told


def test_folders_without_sampled_play_are_read_as_before(tmp_path: Path) -> None:
    old = save(tmp_path / "old", typical(8), searches=SEARCHES)
    levels = old / "levels.csv"  # As they were written before.
    rows = list(csv.reader(levels.read_text().splitlines()))
    later = rows[0].index("sampled_return")
    lines = [",".join(row[:later]) for row in rows]
    assert "sampled_return" not in lines[0]
    levels.write_text("\n".join(lines) + "\n")
    assert Summary.read(old).sampled is None
    write_report(old)
    assert "as trained" not in (old / "report.md").read_text()
    new = stored(tmp_path / "new", typical(8), flipped(8))
    assert "as trained" not in compare_folders(old, old)
    assert "A's policies were played greedily only." in compare_folders(old, new)
    both = compare_folders(new, new)
    assert both.count("random_reinit") == 8, "both ways"
    assert "Played as trained, with sampled actions:" in both


def test_a_mean_that_is_not_of_its_returns_is_named(tmp_path: Path) -> None:
    folder = stored(tmp_path / "a", typical(8), flipped(8))
    path = folder / "returns.csv"
    lines = path.read_text().splitlines()
    column = lines[0].split(",").index("sampled_returns")
    cells = lines[1].split(",")
    cells[column] = "7"
    path.write_text("\n".join([lines[0], ",".join(cells), *lines[2:]]) + "\n")
    with pytest.raises(ValueError, match=r"with a mean sampled return of .* have the mean 7\.0"):
        Summary.read(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[rt.Experiment, Path]:
    ours = dataclasses.replace(PPO_EXPERIMENT, searches={"imp": PPO_EXPERIMENT.searches["imp"]}, keep="all")
    folder = tmp_path_factory.mktemp("results")
    rt.run(ours, out=folder, jobs=1)
    return ours, folder / ours.name


def test_an_experiment_stores_both_ways(finished: tuple[rt.Experiment, Path]) -> None:
    _, folder = finished
    sampled = {each.run: each.columns for each in read_series(folder, "returns")}
    for row in read_levels(folder):
        columns = sampled[row.run]
        assert len(columns["sampled_returns"]) == len(columns["sampled_lengths"]) == len(columns["returns"])
        assert row.sampled_return == float(np.mean(np.array(columns["sampled_returns"], dtype=float)))
        assert row.mean_return == float(np.mean(np.array(columns["returns"], dtype=float)))
        # CartPole pays 1 a step.
        assert columns["sampled_returns"] == columns["sampled_lengths"]


def test_evaluated_over_the_same_episodes_are_the_same(finished: tuple[rt.Experiment, Path], tmp_path: Path) -> None:
    ours, folder = finished
    evaluate_over(folder, ours, episodes=ours.episodes, out=tmp_path / "again")
    assert (tmp_path / "again" / "returns.csv").read_bytes() == (folder / "returns.csv").read_bytes()
    means = [(row.mean_return, row.sampled_return) for row in read_levels(tmp_path / "again")]
    assert means == [(row.mean_return, row.sampled_return) for row in read_levels(folder)]


def test_an_older_folder_is_not_gone_on_with(finished: tuple[rt.Experiment, Path], tmp_path: Path) -> None:
    ours, folder = finished
    described = json.loads((folder / "experiment.json").read_text())
    older = tmp_path / ours.name
    older.mkdir()
    (older / "experiment.json").write_text(json.dumps({**described, "format": 2}))
    with pytest.raises(ValueError, match=r"older version, whose results can be read .* but not gone on with"):
        rt.run(ours, out=tmp_path, jobs=1)


def test_an_agent_that_does_not_sample_has_one_way(tmp_path: Path) -> None:
    rt.run(dataclasses.replace(DQN_EXPERIMENT, seeds=1, trainer=rt.Plain()), out=tmp_path, jobs=1)
    folder = tmp_path / DQN_EXPERIMENT.name
    rows = read_levels(folder)
    assert [row.sampled_return for row in rows] == [None] * len(rows)
    assert all("sampled_returns" not in each.columns for each in read_series(folder, "returns"))
    assert "as trained" not in (folder / "report.md").read_text()
