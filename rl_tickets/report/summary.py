"""What an experiment found: scores, verdicts and contrasts, from its rows alone."""

import dataclasses
import io
import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Self

from rich.console import Console

from rl_tickets.evaluation.failures import FAILED_BELOW
from rl_tickets.evaluation.power import Power, power, seeds_needed
from rl_tickets.evaluation.verdicts import together
from rl_tickets.search.plan import DENSE

from .contrasts import Beside, contrasts
from .judging import Judge, LevelSummary
from .reading import Reading, readings
from .results import Results
from .rows import LevelRow
from .savings import Savings
from .searches import Described
from .sizes import sizes

MARGIN = 0.05


@dataclasses.dataclass(frozen=True)
class SearchSummary:
    """One search from its densest level to its sparsest, dense training itself left out."""

    name: str
    """Its label: `search`, or `search:variant`."""
    described: Described
    levels: tuple[LevelSummary, ...]

    @property
    def matching(self) -> tuple[LevelSummary, ...]:
        """The levels that match dense, all tested together (Holm)."""
        return tuple(level for level in self.levels if level.matches)

    @property
    def sparsest_typical(self) -> LevelSummary | None:
        """The sparsest level that typically does as well as dense."""
        typical = [level for level in self.levels if level.typical]
        return min(typical, key=lambda level: level.density, default=None)


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
    contrasts: tuple[Beside, ...]
    """Searches less their controls, then the first search less the others, paired by seed: the headline."""
    failed_below: float
    """The normalised score below which a run has failed."""
    sampled: Self | None
    """The same with policies played as they were trained, actions sampled; None where none were, or not all."""
    problem: str
    """Why no verdict is possible, or empty."""
    judge: Judge
    """What scores were held against."""
    training: Self | None = None
    """The same by what was returned while training: how fast agents learn; None where that is not known of all."""
    sizes: tuple[str, ...] = ()
    """Sentences about agents of another size than the experiment's."""
    ended_early: tuple[str, ...] = ()
    """Sentences about trainings that ended before the budget."""
    readings: tuple[Reading, ...] = ()
    """What tickets of searches that are no controls read of the observation; empty for older folders."""

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
        below = _number(settings.get("failed_below"))
        judge = Judge(random_return, dense_rows, margin, FAILED_BELOW if below is None else below)
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
            contrasts=contrasts({search.name: search.described for search in searches}, _scores(searches)),
            failed_below=judge.failed_below,
            judge=judge,
            sampled=None if (as_trained := results.as_trained) is None else cls.of(as_trained),
            problem=judge.problem,
            training=None if (scored := results.while_training) is None else cls.of(scored),
            sizes=tuple(sizes(results.sizes)),
            ended_early=results.ended_early,
            readings=readings(results.inputs, results.levels, order.proper, settings),
        )

    def search(self, name: str) -> SearchSummary:
        """The search of that label; ValueError names those that there are."""
        found = next((each for each in self.searches if each.name == name), None)
        if found is None:
            names = ", ".join(each.name for each in self.searches)
            raise ValueError(f"{self.name} has no search {name!r}; it has {names}")
        return found

    @cached_property
    def power(self) -> Power | None:
        """Of the seeds and dense runs at hand, over the densities of the first search; None where nothing is judged."""
        return _power(self.judge, self.searches)

    @cached_property
    def seeds_needed(self) -> int | None:
        """With which, and five dense runs for each, that power to match reaches 80 %; None where no number does."""
        return _needed(self.judge, self.searches)

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
    def first(self) -> SearchSummary | None:
        """The first search that is no control, about which the headline is; None where dense is all there is."""
        return next(
            (each for each in self.searches if each.described.control_of is None), next(iter(self.searches), None)
        )

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
    judged = iter(together([level.comparison for level in levels if level.comparison is not None]))
    levels = [dataclasses.replace(level, comparison=next(judged)) if level.comparison else level for level in levels]
    return SearchSummary(name, described, tuple(levels))


def _power(judge: Judge, searches: Sequence[SearchSummary]) -> Power | None:
    if judge.problem or not searches:
        return None
    return power(
        judge.dense_scores,
        seeds=max(len(level.scores) for search in searches for level in search.levels),
        dense_seeds=len(judge.dense_scores),
        margin=judge.margin,
        failed_below=judge.failed_below,
        densities=_densities(searches),
    )


def _needed(judge: Judge, searches: Sequence[SearchSummary]) -> int | None:
    if judge.problem or not searches:
        return None
    return seeds_needed(
        judge.dense_scores, margin=judge.margin, failed_below=judge.failed_below, densities=_densities(searches)
    )


def _densities(searches: Sequence[SearchSummary]) -> int:
    """Of the first search: the headline is about it."""
    return len(next((search for search in searches if search.described.control_of is None), searches[0]).levels)


def _scores(searches: Sequence[SearchSummary]) -> dict[str, list[LevelSummary]]:
    return {search.name: list(search.levels) for search in searches}


def _number(value: object) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number and isinstance(value, int | float) else None
