"""What an experiment found: scores, verdicts and headline, from its rows alone."""

import dataclasses
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from rich.console import Console

from rl_tickets.evaluation.statistics import (
    Comparison,
    sparsest_matching,
)

from .judging import Judge, LevelSummary
from .results import Results
from .rows import LevelRow
from .savings import Savings
from .searches import DENSE, Described

MARGIN = 0.05


@dataclasses.dataclass(frozen=True)
class SearchSummary:
    """One search from its densest level to its sparsest, dense training itself left out."""

    name: str
    """Its label: `search`, or `search:variant`."""
    described: Described
    levels: tuple[LevelSummary, ...]
    sparsest: float | None
    """The sparsest density that matches dense, None where none does or too few seeds were trained."""

    @property
    def sparsest_level(self) -> LevelSummary | None:
        """The level at the sparsest matching density."""
        return next((level for level in reversed(self.levels) if level.matches), None)


@dataclasses.dataclass(frozen=True, repr=False)
class Summary:
    """What an experiment found."""

    folder: Path
    """Where the results are."""
    name: str
    command: str
    margin: float
    """How much worse than dense, in normalised return, still counts as matching."""
    episodes: int | None
    """Evaluation episodes behind each score."""
    random_return: float | None
    dense: LevelSummary
    searches: tuple[SearchSummary, ...]
    """In the experiment's order."""
    colours: tuple[str, ...]
    """All searches of the experiment, then their controls: the order in which plots give out colours."""
    savings: tuple[Savings, ...]
    """Of every search that ended a dense run of its own early."""
    problem: str
    """Why no verdict is possible, or empty."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Summarise a results folder; ValueError where there is nothing to summarise."""
        return cls.of(Results.read(folder))

    @classmethod
    def of(cls, results: Results) -> Self:
        """Summarise what was read."""
        settings = results.settings
        margin = float(settings.get("margin", MARGIN))
        random_return = _number(settings.get("random_return"))
        dense_rows = [row for row in results.levels if row.run.label == DENSE and row.run.level == 0]
        judge = Judge(random_return, dense_rows, margin)
        order = results.searches
        searches = [_search(name, described, results.levels, judge) for name, described in order.described.items()]
        searches = [search for search in searches if search.levels]
        episodes = _number(settings.get("episodes"))
        return cls(
            folder=results.folder,
            name=results.name,
            command=results.command,
            margin=margin,
            episodes=None if episodes is None else int(episodes),
            random_return=random_return,
            dense=judge.level(dense_rows),
            searches=tuple(searches),
            colours=tuple(order.first_controls_last),
            savings=Savings.all(results.levels, order, judge.anchors),
            problem=judge.problem,
        )

    def __repr__(self) -> str:
        """The report's table, its headline, and where the rest is."""
        return self._shown().export_text().rstrip()

    def _repr_html_(self) -> str:
        """The same for notebooks."""
        return self._shown().export_html(inline_styles=True, code_format="<pre>{code}</pre>")

    def _shown(self) -> Console:
        from .table import terminal_table  # Which needs a summary itself.

        console = Console(record=True, file=io.StringIO(), width=100)
        console.print(terminal_table(self))
        console.print(f"All of it in {self.folder / 'report.md'}", soft_wrap=True, highlight=False)
        return console

    @property
    def levels(self) -> list[LevelSummary]:
        """Every level in the order of the tables: dense, then each search from dense to sparse."""
        return [self.dense, *(level for search in self.searches for level in search.levels)]


def _search(name: str, described: Described, rows: Sequence[LevelRow], judge: Judge) -> SearchSummary:
    """A search's levels below dense; its own level 0, dense or stopped early, is no ticket to be tested."""
    grouped: dict[int, list[LevelRow]] = {}
    for row in rows:
        if row.run.label == name and row.run.level > 0:
            grouped.setdefault(row.run.level, []).append(row)
    levels = sorted((judge.level(group) for group in grouped.values()), key=lambda level: -level.density)
    compared: dict[float, Comparison] = {}
    for level in levels:
        if level.comparison is None:
            break  # what no seed shares with dense cannot be tested, nor anything after it
        if level.density not in compared or compared[level.density].matches:
            compared[level.density] = level.comparison  # pruning may stall: of equal densities the worse counts
    sparsest = sparsest_matching(list(compared), list(compared.values()))
    judged = [
        dataclasses.replace(level, matches=sparsest is not None and level.density >= sparsest) for level in levels
    ]
    return SearchSummary(name, described, tuple(judged), sparsest)


def _number(value: object) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number and isinstance(value, int | float) else None
