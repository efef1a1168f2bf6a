"""The results folder of one experiment, as read from disk."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from rl_tickets.search.plan import DENSE

from .ended_early import ended_early
from .rows import LayerRow, LevelRow, Run, Series
from .searches import Searches
from .speed import mean_while_training
from .tables import path_of, read_layers, read_levels, read_series

Row = TypeVar("Row", LevelRow, LayerRow, Series)


@dataclasses.dataclass(frozen=True)
class Results:
    """All that the report needs from a results folder; everything else there is ignored."""

    folder: Path
    name: str
    command: str
    settings: Mapping[str, Any]
    searches: Searches
    levels: tuple[LevelRow, ...]
    layers: tuple[LayerRow, ...]
    curves: tuple[Series, ...]
    distances: tuple[Series, ...]
    sizes: tuple[Series, ...] = ()
    inputs: tuple[Series, ...] = ()

    @cached_property
    def stopped(self) -> dict[Run, int]:
        """Environment steps trained by every run that ended before its budget, or had less; none that diverged."""
        return {
            row.run: row.timesteps for row in self.levels if row.start + row.timesteps < self._budget and not _lost(row)
        }

    @cached_property
    def _budget(self) -> int:
        """Environment steps of a level."""
        budget = self.settings.get("total_timesteps")
        return budget if isinstance(budget, int) else max(row.timesteps for row in self.levels)

    @property
    def as_trained(self) -> Self | None:
        """The same, every policy scored as it was trained; None where not all of them were played so.

        What was returned while training stays with those that were played greedily.
        """
        levels = [
            dataclasses.replace(row, mean_return=row.sampled_return, sampled_return=None)
            for row in self.levels
            if row.sampled_return is not None
        ]
        return dataclasses.replace(self, levels=tuple(levels), curves=()) if len(levels) == len(self.levels) else None

    @property
    def while_training(self) -> Self | None:
        """The same, every agent scored by what it returned while it trained; None where that is not known of all.

        Runs that only serve a search, that ended before the budget, or that began where it ends (fine-tuning) are left
        out. Those that diverged learned nothing.
        """
        levels = [row for row in self.levels if self._shows_learning(row)]
        curves = {each.run: each for each in self.curves}
        known = all(row.run in curves or _lost(row) for row in levels)
        if not curves or not known or not any(row.run.search == DENSE for row in levels):
            return None
        begin = max((row.start for row in levels if not _lost(row)), default=0)

        def score(row: LevelRow) -> float:
            return math.nan if _lost(row) else mean_while_training(curves[row.run], start=row.start, begin=begin)

        scored = [dataclasses.replace(row, mean_return=score(row), sampled_return=None) for row in levels]
        return dataclasses.replace(self, levels=tuple(scored), curves=())

    @property
    def ended_early(self) -> tuple[str, ...]:
        """Sentences about trainings that ended before the budget."""
        return tuple(ended_early([row for row in self.levels if self._is_judged(row) and not _lost(row)], self._budget))

    def _is_judged(self, row: LevelRow) -> bool:
        """Whether it is one of the dense runs that all share, or of a search's tickets."""
        return row.run.search == DENSE or (row.run.level > 0 and row.run.label in self.searches.described)

    def _shows_learning(self, row: LevelRow) -> bool:
        """Whether what it returned while it trained can stand beside what others did."""
        return self._is_judged(row) and row.run not in self.stopped and row.start < self._budget

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder; ValueError, in one sentence, where no report can be made of it."""
        described = _describe(folder)
        levels = _sorted(read_levels, folder)
        path = path_of(folder, LevelRow.table)
        if not any(row.run.search == DENSE and row.run.level == 0 for row in levels):
            raise ValueError(
                f"{path} has no level 0 of search {DENSE!r}, with which a report compares: "
                "let the experiment finish at least one dense run, then make the report again."
            )
        _demand_single(path, [row.run for row in levels])
        returns = _sorted(partial(read_series, table="returns"), folder)
        _demand_returns(folder, "returns", {row.run: row.mean_return for row in levels}, returns)
        sampled = {row.run: row.sampled_return for row in levels if row.sampled_return is not None}
        _demand_returns(folder, "sampled_returns", sampled, returns)
        settings = described.get("settings", {})
        settings = settings if isinstance(settings, dict) else {}
        return cls(
            folder=folder,
            name=str(described.get("name", folder.name)),
            command=str(described.get("command", "")),
            settings=settings,
            searches=Searches.of(settings, [row.run for row in levels]),
            levels=levels,
            layers=_sorted(read_layers, folder),
            curves=_sorted(partial(read_series, table="curves"), folder),
            distances=_sorted(partial(read_series, table="distances"), folder),
            sizes=_sorted(partial(read_series, table="sizes"), folder),
            inputs=_sorted(partial(read_series, table="inputs"), folder),
        )


def _lost(row: LevelRow) -> bool:
    """Whether its weights or its returns were no numbers any more."""
    return row.diverged or math.isnan(row.mean_return)


def _describe(folder: Path) -> dict[str, Any]:
    path = folder / "experiment.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} is not a results folder, for it has no experiment.json: "
            "run an experiment into it first, such as `python scripts/cartpole.py`, or name another folder."
        )
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): {_WAY_OUT}") from error
    if not isinstance(described, dict):
        raise ValueError(f"{path} holds no JSON object: {_WAY_OUT}")
    return described


def _sorted(read: Callable[[Path], list[Row]], folder: Path) -> tuple[Row, ...]:
    try:
        return tuple(sorted(read(folder), key=lambda row: row.run))
    except ValueError as error:
        raise ValueError(f"{error}: {_WAY_OUT}") from error


def _demand_single(path: Path, runs: Sequence[Run]) -> None:
    if len(set(runs)) < len(runs):
        twice = next(run for run in runs if runs.count(run) > 1)
        raise ValueError(
            f"{path} has {twice} twice: delete one of the two rows, or run the experiment again into an empty folder."
        )


def _demand_returns(folder: Path, column: str, stated: Mapping[Run, float], returns: Sequence[Series]) -> None:
    """Each mean must be that of the returns it was taken of, to the last bit."""
    means = {
        each.run: float(np.mean(np.asarray(each.columns[column], dtype=np.float64)))
        for each in returns
        if column in each.columns
    }
    what = column.replace("_", " ")
    mean_of = f"mean {what.removesuffix('s')}"
    for run, said in stated.items():
        if run not in means:
            raise ValueError(f"{folder} has {run} in levels.csv, but not its {what} in returns.csv: {_WAY_OUT}")
        mean = means[run]
        if mean != said and not np.isnan([mean, said]).all():
            raise ValueError(
                f"{folder} has {run} with a {mean_of} of {said!r} in levels.csv, "
                f"but its {what} in returns.csv have the mean {mean!r}: {_WAY_OUT}"
            )


_WAY_OUT = "restore the file, or run the experiment again into an empty folder."
