"""Judging: scores of all seeds of a search at one level, normalised and held against the dense runs."""

import dataclasses
import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from rl_tickets.evaluation.statistics import Anchors, Interval, interval, iqm
from rl_tickets.evaluation.verdicts import Comparison, compare
from rl_tickets.search.plan import DENSE

from .effective import Effective
from .rows import LevelRow
from .wording import number

TOO_FEW = "too few seeds"
SPREADS = 1.5
"""Standard deviations of dense runs that lie at least between a random policy and dense where a scale means much."""


@dataclasses.dataclass(frozen=True)
class LevelSummary:
    """All seeds of one search, or of one of its variants, at one level."""

    search: str
    """Its label: `search`, or `search:variant`."""
    level: int
    density: float
    scores: Mapping[int, float]
    """Seed -> mean return of the final policy, in units of the environment's return."""
    returned: float
    """IQM of the scores."""
    returned_interval: Interval | None
    """None where one seed alone gives no interval."""
    normalised: float | None
    """The IQM where a random policy is 0 and dense is 1; None where dense is no better than random."""
    normalised_scores: Mapping[int, float]
    normalised_interval: Interval | None
    failed: int | None
    """Runs that score below the level of failure; None where nothing is normalised."""
    comparison: Comparison | None
    """With all dense runs there are, normalised, all densities of the search together; None for dense itself."""
    diverged: int
    """Runs in which a weight became NaN or infinite."""
    unscored: int
    """Runs without a finite return, scored as a random policy: without them unstable searches would gain."""
    collapsed: Mapping[str, int]
    """Layer -> runs in which pruning would have taken its last weight."""
    problems: Mapping[str, int]
    """What training raised once weights were no longer finite -> runs."""
    effective: Effective | None = None
    """What its masks leave connected; None where that is not known."""
    cost: float | None = None
    """Environment steps in all, mean over seeds: of finding the ticket and of training it; None where the search does
    not say."""

    @property
    def typical(self) -> bool | None:
        """Whether it is shown typically to do as well as dense; None as for `matches`."""
        return self.comparison.typical if self.comparison else None

    @property
    def matches(self) -> bool | None:
        """Whether it is shown to match dense; None where nothing was compared or there are too few seeds."""
        return self.comparison.matches if self.comparison else None

    @property
    def verdicts(self) -> tuple[str, str, str]:
        """Cells of a table, typical, reliable and matches: yes, no, too few seeds, a dash where none was asked."""
        if self.comparison is None:
            return ("–", "–", "–")
        found = self.comparison
        return _cell(found.typical), _cell(found.reliable), _cell(found.matches)


class Judge:
    """Scores levels against the dense runs of their experiment."""

    def __init__(
        self, random_return: float | None, dense_rows: Sequence[LevelRow], margin: float, failed_below: float
    ) -> None:
        self.random_return = random_return
        self.margin = margin
        self.failed_below = failed_below
        self.dense = self._scores(dense_rows)
        best = _iqm(self.dense)
        self.problem = ""
        if random_return is None:
            self.problem = "experiment.json does not say what a random policy returns (settings.random_return)"
        elif not best > random_return:
            self.problem = "the dense agents are no better than a random policy"
        self.anchors = None if self.problem or random_return is None else Anchors(random_return, best)
        self.dense_scores = list(self._normalised(self.dense).values())

    @property
    def doubt(self) -> str:
        """Why a normalised return means little although there is a scale; empty where nothing speaks against it."""
        if self.anchors is None or len(self.dense) < 2:
            return ""
        scale, spread = self.anchors.dense - self.anchors.random, statistics.stdev(self.dense.values())
        if scale >= SPREADS * spread:
            return ""
        return (
            f"dense agents return {number(scale)} more than a random policy, and differ among themselves by "
            f"{number(spread)} (standard deviation)"
        )

    def level(self, rows: Sequence[LevelRow]) -> LevelSummary:
        """One search at one level, compared by itself."""
        scores = self._scores(rows)
        normal = self._normalised(scores)
        span = _interval(scores)
        return LevelSummary(
            search=rows[0].run.label,
            level=rows[0].run.level,
            density=statistics.mean(row.density for row in rows),
            scores=scores,
            returned=_iqm(scores),
            returned_interval=span,
            normalised=_iqm(normal) if self.anchors else None,
            normalised_scores=normal,
            normalised_interval=self._scaled(span),
            failed=sum(score < self.failed_below for score in normal.values()) if self.anchors else None,
            comparison=self._against_dense(normal) if rows[0].run.search != DENSE else None,
            diverged=sum(row.diverged for row in rows),
            unscored=sum(not math.isfinite(row.mean_return) for row in rows),
            collapsed=dict(sorted(Counter(name for row in rows for name in row.collapsed.split()).items())),
            problems=dict(sorted(Counter(row.problem for row in rows if row.problem).items())),
            cost=_cost(rows),
            effective=Effective.of(rows),
        )

    def _scores(self, rows: Sequence[LevelRow]) -> dict[int, float]:
        scores = {row.run.seed: row.mean_return for row in sorted(rows, key=lambda row: row.run)}
        instead = self.random_return
        if instead is None:
            return {seed: score for seed, score in scores.items() if math.isfinite(score)}
        return {seed: score if math.isfinite(score) else instead for seed, score in scores.items()}

    def _normalised(self, scores: Mapping[int, float]) -> dict[int, float]:
        if self.anchors is None or not scores:
            return {}
        values = self.anchors.normalise(list(scores.values()))
        return {seed: float(value) for seed, value in zip(scores, values, strict=True)}

    def _scaled(self, span: Interval | None) -> Interval | None:
        """An interval in units of the return, normalised: a scale moves both ends."""
        if self.anchors is None or span is None:
            return None
        low, high = (float(end) for end in self.anchors.normalise([span.low, span.high]))
        return Interval(low, high)

    def _against_dense(self, sparse: Mapping[int, float]) -> Comparison | None:
        if not sparse:
            return None
        return compare(list(sparse.values()), self.dense_scores, self.margin, failed_below=self.failed_below)


def _cost(rows: Sequence[LevelRow]) -> float | None:
    """Dense runs have no ticket to be found; those that diverged ended early, which saves nothing."""
    rows = [row for row in rows if not row.diverged]
    spent = [0 if row.run.search == DENSE else row.spent for row in rows]
    costs = [row.timesteps + steps for row, steps in zip(rows, spent, strict=True) if steps is not None]
    return statistics.mean(costs) if costs and len(costs) == len(rows) else None


def _cell(verdict: bool | None) -> str:
    return TOO_FEW if verdict is None else "yes" if verdict else "no"


def _iqm(scores: Mapping[int, float]) -> float:
    return float(iqm(list(scores.values()))) if scores else math.nan


def _interval(scores: Mapping[int, float]) -> Interval | None:
    return interval(list(scores.values())) if len(scores) > 1 else None
