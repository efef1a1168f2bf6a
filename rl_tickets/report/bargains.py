"""Bargains: what cheap searches save of all their steps, against the return that their tickets lose."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from itertools import cycle, takewhile
from typing import Self

import numpy as np
from matplotlib.figure import Figure

from rl_tickets.evaluation.contrasts import Contrast, adjusted, mean_over_seeds

from . import looks
from .looks import BLUE, GREEN, INK, MUTED, ORANGE, WINE, Look
from .markdown_table import markdown_table
from .shown import p_or_few
from .summary import Summary
from .wording import between, plain, ratio

HEADS = (
    "search",
    "threshold",
    "seeds",
    "steps in all",
    "every level to its end",
    "saved",
    "full search's return",
    "return less the full search's [95 %]",
    "p, Holm",
)

LOOKS = (Look(BLUE, "o"), Look(ORANGE, "s"), Look(GREEN, "^"), Look(WINE, "D"))


@dataclasses.dataclass(frozen=True)
class Bargain:
    """A cheap search against the full one.

    Args:
        family: what cheap searches of one kind have in common, such as the criterion.
        search: label of the cheap search.
        threshold: at which it takes a mask as settled.
        taken: environment steps until its sparsest ticket is trained, mean over seeds.
        whole: the same with every level trained to its end.
        less: seed -> normalised return of its sparsest ticket less that of the full search's.
        full: that of the full search's, mean over seeds: what has failed has nothing to lose.
    """

    family: str
    search: str
    threshold: float
    taken: float
    whole: float
    less: Mapping[int, float]
    full: float

    @property
    def lost(self) -> Contrast:
        """The same over seeds."""
        return mean_over_seeds([*self.less.values()])

    @classmethod
    def of(cls, summary: Summary, family: str, search: str, full: str, threshold: float) -> Self:
        """Of a finished experiment; `full` is the label of the full search.

        Raises:
            ValueError: a search that is not there, or scores that have no scale.
        """
        ours, theirs = (summary.search(name).levels for name in (search, full))
        last = max(ours, key=lambda level: level.level)
        twin = next((level for level in theirs if level.level == last.level), None)
        seeds = sorted({*last.normalised_scores} & {*(twin.normalised_scores if twin else ())})
        if twin is None or not seeds or last.cost is None or twin.cost is None:
            why = summary.problem or f"{full!r} has no level {last.level} of the same seeds"
            raise ValueError(f"{summary.name}: {search!r} cannot be compared, since {why}")
        less = {seed: last.normalised_scores[seed] - twin.normalised_scores[seed] for seed in seeds}
        full_return = statistics.mean(twin.normalised_scores[seed] for seed in seeds)
        return cls(family, search, threshold, last.cost, twin.cost, less, full_return)

    @property
    def saved(self) -> float:
        """Fraction of the full search's steps."""
        return 1 - self.taken / self.whole

    def cells(self, p: float) -> tuple[str, ...]:
        """A row under `HEADS`; p of what is lost, adjusted."""
        steps = (f"{self.taken:,.0f}", f"{self.whole:,.0f}", f"{100 * self.saved:.0f} %")
        lost = between(self.lost.difference, self.lost.interval)
        shown = p_or_few(self.lost, p)
        return self.search, plain(self.threshold), str(self.lost.seeds), *steps, ratio(self.full), lost, shown


def pooled(bargains: Sequence[Bargain]) -> dict[float, Contrast]:
    """For each threshold what its tickets return less, mean over families, seed by seed."""
    found = {}
    for threshold in sorted({each.threshold for each in bargains}):
        families = [each.less for each in bargains if each.threshold == threshold]
        seeds = sorted(set.intersection(*({*less} for less in families)))
        found[threshold] = mean_over_seeds([statistics.mean(less[seed] for less in families) for seed in seeds])
    return found


def by_family(bargains: Sequence[Bargain]) -> dict[str, list[Bargain]]:
    """Family -> its searches."""
    families = dict.fromkeys(each.family for each in bargains)
    return {family: [each for each in bargains if each.family == family] for family in families}


def largest_harmless(bargains: Sequence[Bargain], margin: float) -> float | None:
    """The largest threshold up to which tickets of every family are shown to return less by no more than the margin.

    None where that is not shown of the smallest, be it for want of seeds. It must be shown of each family by itself,
    by the interval, and of all smaller thresholds, which needs no adjusting.
    """
    found = [harmless_in(pooled(own), margin) for own in by_family(bargains).values()]
    return None if None in found else min(threshold for threshold in found if threshold is not None)


def harmless_in(lost: Mapping[float, Contrast], margin: float) -> float | None:
    """The same of one contrast for each threshold."""
    shown = takewhile(lambda each: each[1].enough and each[1].interval.low > -margin, sorted(lost.items()))
    return max((threshold for threshold, _ in shown), default=None)


def bargain_table(bargains: Sequence[Bargain]) -> str:
    """As Markdown."""
    ps = adjusted([each.lost for each in bargains])
    return markdown_table(HEADS, [each.cells(p) for each, p in zip(bargains, ps, strict=True)])


def bargain_plot(bargains: Sequence[Bargain], title: str, margin: float) -> Figure:
    """A line for each family through its thresholds; dashed is the margin by which a ticket may return less."""
    figure = looks.sheet(7.2, 4.4)
    axes = figure.subplots()
    looks.quiet(axes)
    axes.axhline(0, color=INK, linewidth=1)
    axes.axhline(-margin, color=MUTED, linewidth=1, linestyle=(0, (4, 2)), label=f"margin, {plain(margin)}")
    for (family, own), look in zip(by_family(bargains).items(), cycle(LOOKS)):
        own = sorted(own, key=lambda each: each.threshold)
        across, up = [100 * each.saved for each in own], [each.lost.difference for each in own]
        axes.plot(across, up, look.line, marker=look.marker, color=look.colour, markersize=6, label=family)
        for each, x in zip(own, across, strict=True):
            if np.isfinite(each.lost.interval.low):
                span = [each.lost.interval.low, each.lost.interval.high]
                axes.plot([x, x], span, color=look.colour, linewidth=1.2, alpha=0.5)
            axes.annotate(
                plain(each.threshold),
                (x, each.lost.difference),
                xytext=(6, 6),
                textcoords="offset points",
                fontsize=8.5,
                color=look.colour,
            )
    axes.set_xlabel("steps of the whole search saved, %", color=INK)
    axes.set_ylabel("return less the full search's", color=INK)
    looks.legend(figure, axes)
    looks.title(figure, title)
    return figure
