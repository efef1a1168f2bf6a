"""The rows an experiment leaves behind: what is known of one run, a line of a CSV file each."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Self

from .columns import Number, decode, encode

Cells = Mapping[str, str]
"""A line of a CSV file: column -> text."""


class Run(NamedTuple):
    """What tells one training run of an experiment apart from all others, the same in every table."""

    search: str
    seed: int
    level: int
    variant: str = ""
    """Which of several trainings of one level; usually empty."""

    @property
    def label(self) -> str:
        """What reports call its search: `imp`, or `imp:variant`."""
        return label(self.search, self.variant)

    def __str__(self) -> str:
        variant = f", variant {self.variant!r}" if self.variant else ""
        return f"search {self.search!r}, seed {self.seed}, level {self.level}{variant}"

    @classmethod
    def of(cls, cells: Cells) -> Self:
        """The run a line is about."""
        return cls(cells["search"], int(cells["seed"]), int(cells["level"]), cells["variant"])


def label(search: str, variant: str) -> str:
    """What reports call a search, or one of several trainings of each of its levels."""
    return f"{search}:{variant}" if variant else search


RUN_COLUMNS = Run._fields
"""Every table begins with these columns."""


@dataclasses.dataclass(frozen=True)
class LevelRow:
    """One full training run at one density (`levels.csv`)."""

    table: ClassVar[str] = "levels"
    run: Run
    density: float
    mean_return: float
    timesteps: int
    """Environment steps trained at this level; smaller than the budget where early-bird stopped it."""
    start: int
    """Environment step the level started from: 0, or the rewind point."""
    mask_distance: float
    """Fraction of the previous level's kept weights that this level's mask drops or moves."""
    diverged: bool
    """Whether a weight became NaN or infinite."""
    problem: str
    """What the training raised once its weights were no longer finite, on one line; else empty."""
    collapsed: str
    """Layers that would have lost their last weight, separated by spaces."""
    ticket: str
    """The ticket's file, relative to the results folder, or empty."""
    overall_density: float | None = None
    """Fraction kept of all the trained networks' parameters, those never pruned included; None in older folders."""
    sampled_return: float | None = None
    """Mean return with actions sampled, as in training; None where an algorithm samples none, and in older folders."""
    spent: int | None = None
    """Environment steps that it took to find the ticket, before this level; None in older folders, and where the search
    does not say."""
    effective_density: float | None = None
    """Fraction of all prunable weights that lie on a path from an input to an output; None where what feeds what is
    not understood, and in older folders, as all that follows."""
    effective_actor_density: float | None = None
    """The same of the actor's own weights, those of shared layers aside; None also where there is no actor."""
    effective_critic_density: float | None = None
    """The same of the critic's."""
    live_units: float | None = None
    """Fraction of all hidden units that lie on a path."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "problem", " ".join(self.problem.split()))

    def cells(self) -> dict[str, str]:
        """The row as text."""
        return _cells(self)

    @classmethod
    def of(cls, cells: Cells) -> Self:
        """The row that a line holds."""
        if cells["diverged"] not in ("True", "False"):
            raise ValueError(f"{cells['diverged']!r} is neither True nor False")
        return cls(
            run=Run.of(cells),
            density=float(cells["density"]),
            mean_return=float(cells["mean_return"]),
            timesteps=int(cells["timesteps"]),
            start=int(cells["start"]),
            mask_distance=float(cells["mask_distance"]),
            diverged=cells["diverged"] == "True",
            problem=cells["problem"],
            collapsed=cells["collapsed"],
            ticket=cells["ticket"],
            **{name: float(cells[name]) for name in LATER if cells.get(name)},
            spent=int(spent) if (spent := cells.get("spent")) else None,
        )


LATER = tuple(field.name for field in dataclasses.fields(LevelRow) if field.type == "float | None")
"""Numbers of a level that older folders do not have."""


@dataclasses.dataclass(frozen=True)
class TimingRow:
    """What may differ between two runs of the same level (`timings.csv`)."""

    table: ClassVar[str] = "timings"
    run: Run
    seconds: float
    host: str

    def cells(self) -> dict[str, str]:
        """The row as text."""
        return _cells(self)

    @classmethod
    def of(cls, cells: Cells) -> Self:
        """The row that a line holds."""
        return cls(Run.of(cells), float(cells["seconds"]), cells["host"])


@dataclasses.dataclass(frozen=True)
class LayerRow:
    """How many weights a run keeps in each layer (`layers.csv`, a column per layer)."""

    table: ClassVar[str] = "layers"
    run: Run
    counts: Mapping[str, tuple[int, int]]
    """Layer -> weights kept and weights in all, from the input on."""

    def cells(self) -> dict[str, str]:
        """The row as text."""
        return {**_run(self.run), **{f"{name}/{total}": str(kept) for name, (kept, total) in self.counts.items()}}

    @classmethod
    def of(cls, cells: Cells) -> Self:
        """The row that a line holds; blank cells belong to other networks."""
        counts = {}
        for column, kept in cells.items():
            if column not in RUN_COLUMNS and kept:
                layer, _, total = column.rpartition("/")
                counts[layer] = int(kept), int(total)
        return cls(Run.of(cells), counts)


@dataclasses.dataclass(frozen=True)
class Series:
    """Columns of numbers that a run left, equally long: a table of its own (`<table>.csv`), each column in one cell.

    An experiment writes `returns` (returns and lengths of the evaluation episodes; `sampled_returns` and
    `sampled_lengths` of the same episodes played as in training, where the agent samples actions), `curves` (timesteps,
    total_return, episodes: what ended in each stretch of the training) and, with early-bird, `distances` (step,
    other_step, distance, chance: of two masks drawn in one run). Observers of one's own may write others.

    Raises:
        ValueError: a name that cannot be one of a table or column, or columns of different lengths.
    """

    table: str
    run: Run
    columns: Mapping[str, Sequence[Number]]

    def __post_init__(self) -> None:
        if self.table in TABLES or not re.fullmatch(r"[a-z0-9_]+", self.table):
            raise ValueError(f"a series cannot be called {self.table!r}: use a-z, 0-9 and _, and none of {TABLES}")
        if len({len(values) for values in self.columns.values()}) != 1 or not all(self.columns):
            lengths = {name: len(values) for name, values in self.columns.items()}
            raise ValueError(f"a series' columns have names and one length, {self.table} has {lengths}")
        if not {*RUN_COLUMNS}.isdisjoint(self.columns):
            raise ValueError(f"a series' columns cannot be called {', '.join(RUN_COLUMNS)}, as in {self.table}")
        object.__setattr__(self, "columns", {name: tuple(values) for name, values in self.columns.items()})

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def cells(self) -> dict[str, str]:
        """The series as text."""
        return {**_run(self.run), **{name: encode(values) for name, values in self.columns.items()}}

    @classmethod
    def of(cls, table: str, cells: Cells) -> Self:
        """The series that a line holds; blank cells belong to other runs' columns."""
        columns = {name: decode(text) for name, text in cells.items() if name not in RUN_COLUMNS and text}
        return cls(table, Run.of(cells), columns)


Row = LevelRow | TimingRow | LayerRow | Series
TABLES = (LevelRow.table, TimingRow.table, LayerRow.table)
"""The tables that hold no series."""


def header_of(table: str) -> list[str]:
    """The columns with which a table begins, whatever is in it; all of them where runs do not bring their own."""
    for kind in (LevelRow, TimingRow):
        if kind.table == table:
            return [*RUN_COLUMNS, *(field.name for field in dataclasses.fields(kind)[1:])]
    return [*RUN_COLUMNS]


def to_plain(row: Row) -> dict[str, Any]:
    """The row as plain data, for JSON."""
    return {"table": row.table, "cells": row.cells()}


def from_plain(plain: Mapping[str, Any]) -> Row:
    """The row that `to_plain` took apart."""
    return row_of(plain["table"], plain["cells"])


def row_of(table: str, cells: Cells) -> Row:
    """The row that a line of this table holds."""
    for kind in (LevelRow, TimingRow, LayerRow):
        if kind.table == table:
            return kind.of(cells)
    return Series.of(table, cells)


def _run(run: Run) -> dict[str, str]:
    return dict(zip(RUN_COLUMNS, map(str, run), strict=True))


def _cells(row: LevelRow | TimingRow) -> dict[str, str]:
    """The run's cells, and one for each other field; `float` makes NumPy's numbers plain."""
    values = {field.name: getattr(row, field.name) for field in dataclasses.fields(row)[1:]}
    return _run(row.run) | {name: _cell(value) for name, value in values.items()}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return repr(float(value)) if isinstance(value, float) else str(value)
