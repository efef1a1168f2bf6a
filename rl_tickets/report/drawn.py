"""Tickets drawn early: what they return less than the final one, and what early-bird would have made of their run."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from matplotlib.figure import Figure

from rl_tickets.analysis.settling import Settling
from rl_tickets.evaluation.contrasts import Contrast, adjusted, contrast
from rl_tickets.evaluation.failures import share_interval

from . import looks
from .looks import BLUE, INK, MUTED
from .markdown_table import markdown_table
from .rows import Series
from .shown import emphasised, p_or_few
from .summary import Summary
from .wording import between, plain, ratio, signed

NETWORKS = ("whole", "actor", "critic")
HEADS = (
    "search",
    "density",
    "threshold",
    "stopped",
    "at step",
    "steps saved",
    "false stops [95 %]",
    "return of its ticket less the final one's [95 %]",
    "p, Holm",
    "worse by the margin",
    "so is the final one again",
)


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Tickets of one density, drawn at several steps of one dense run of each seed.

    Args:
        search: whose tickets they are.
        density: of the tickets, in (0, 1).
        settling: network -> seed -> distances of the masks along the dense run.
        early: step -> seed -> normalised return of the ticket that was drawn there.
        final: seed -> that of the ticket drawn at the end.
        failed: how many of these have failed: they have nothing to lose.
        again: seed -> the same ticket's, trained with other draws.
        trained: environment steps of one ticket's own training.
        margin: by how much a ticket must return less to be called worse, in normalised return.
    """

    search: str
    density: float
    settling: Mapping[str, Mapping[int, Settling]]
    early: Mapping[int, Mapping[int, float]]
    final: Mapping[int, float]
    failed: int
    again: Mapping[int, float]
    trained: float
    margin: float

    @classmethod
    def of(
        cls,
        summary: Summary,
        distances: Sequence[Series],
        search: str,
        level: int,
        density: float,
        variants: Mapping[int, str],
        again: str,
    ) -> Self:
        """Of a finished experiment.

        Args:
            summary: of it.
            distances: its table "mask_distances".
            search: label of the final tickets.
            level: of the tickets.
            density: that they aim at.
            variants: step -> label of the tickets drawn there.
            again: label of the final tickets that trained with other draws.

        Raises:
            ValueError: a label that the experiment does not have, or scores that have no scale.
        """
        found = {each.name: next((at for at in each.levels if at.level == level), None) for each in summary.searches}
        for label in (*variants.values(), search, again):
            if (at := found.get(label)) is None or not at.normalised_scores:
                why = summary.problem or f"it has no {label!r} at level {level}"
                raise ValueError(f"{summary.name}: tickets drawn early cannot be compared, since {why}")
        scores = {label: dict(at.normalised_scores) for label, at in found.items() if at is not None}
        final = found[search]
        assert final is not None
        assert final.cost is not None
        runs = {row.run.seed: row for row in distances if row.run.search == search and row.run.level == 0}
        settling = {
            network: {seed: Settling.of(row.columns, density, network) for seed, row in sorted(runs.items())}
            for network in NETWORKS
        }
        early = {step: scores[label] for step, label in variants.items()}
        dense = statistics.mean(each.steps[-1] for each in settling["whole"].values())
        trained, failed = final.cost - dense, final.failed or 0
        return cls(search, density, settling, early, scores[search], failed, scores[again], trained, summary.margin)

    @property
    def name(self) -> str:
        """As figures call it."""
        return f"{self.search}, density {plain(self.density)}"

    @property
    def mean(self) -> float:
        """Normalised return of the final tickets, over seeds."""
        return statistics.mean(self.final.values())

    def less_final(self, scores: Mapping[int, float]) -> Contrast:
        """Scores less those of the final tickets, paired by seed."""
        seeds = sorted({*scores} & {*self.final})
        return contrast([scores[seed] for seed in seeds], [self.final[seed] for seed in seeds])

    def stopped(self, threshold: float, window: int, after: int) -> "Stopped":
        """Had early-bird watched the dense runs."""
        runs = self.settling["whole"]
        stops = {seed: run.stop(threshold, window=window, after=after) for seed, run in runs.items()}
        false = sum(run.false_stop(threshold, window=window, after=after) is True for run in runs.values())
        return Stopped(self, threshold, stops, false)


@dataclasses.dataclass(frozen=True)
class Stopped:
    """What early-bird with one threshold would have made of the dense runs.

    Args:
        drawn: the runs, and the tickets.
        threshold: as a fraction of chance.
        stops: seed -> step at which it would have stopped, or None.
        false: how many stops had a mask that moved farther than the threshold until the end.
    """

    drawn: Drawn
    threshold: float
    stops: Mapping[int, int | None]
    false: int

    @property
    def count(self) -> int:
        """Runs that it would have stopped."""
        return sum(stop is not None for stop in self.stops.values())

    @property
    def step(self) -> float:
        """Mean over seeds; a run that would not have stopped counts whole."""
        runs = self.drawn.settling["whole"]
        return statistics.mean(runs[seed].steps[-1] if stop is None else stop for seed, stop in self.stops.items())

    @property
    def saved(self) -> float:
        """Fraction of the steps of the whole search: the dense run and its ticket's own training."""
        dense = statistics.mean(run.steps[-1] for run in self.drawn.settling["whole"].values())
        return (dense - self.step) / (dense + self.drawn.trained)

    @property
    def scores(self) -> dict[int, float]:
        """Seed -> normalised return of the last ticket that was drawn by the stop; of the first where none was yet."""
        found = {}
        for seed, stop in self.stops.items():
            by_then = [step for step in self.drawn.early if stop is not None and step <= stop]
            at = max(by_then, default=min(self.drawn.early))
            found[seed] = self.drawn.final[seed] if stop is None else self.drawn.early[at][seed]
        return found

    def worse(self, scores: Mapping[int, float]) -> int:
        """In how many of the runs that it would have stopped they are lower than the final one's by over the margin."""
        stopped = [seed for seed, stop in self.stops.items() if stop is not None and seed in scores]
        return sum(scores[seed] < self.drawn.final[seed] - self.drawn.margin for seed in stopped)

    @property
    def lost(self) -> Contrast:
        """What its ticket returns less than the final one, over seeds."""
        return self.drawn.less_final(self.scores)

    def cells(self, p: float) -> tuple[str, ...]:
        """A row under `HEADS`; p of what is lost, adjusted."""
        lost, seeds = self.lost, len(self.stops)
        false = "–"
        if self.count:
            span = share_interval(self.false, self.count)
            false = f"{self.false} of {self.count} [{100 * span.low:.0f} %, {100 * span.high:.0f} %]"
        return (
            self.drawn.search,
            plain(self.drawn.density),
            plain(self.threshold),
            f"{self.count} of {seeds}",
            f"{self.step:,.0f}",
            f"{100 * self.saved:.0f} %",
            false,
            between(lost.difference, lost.interval),
            p_or_few(lost, p),
            f"{self.worse(self.scores)} of {self.count}",
            f"{self.worse(self.drawn.again)} of {self.count}",
        )


def stops_table(drawn: Sequence[Drawn], thresholds: Sequence[float], window: int, after: int) -> str:
    """As Markdown: a row for each search, density and threshold."""
    found = [each.stopped(threshold, window, after) for each in drawn for threshold in thresholds]
    ps = adjusted([each.lost for each in found])
    return markdown_table(HEADS, [stopped.cells(p) for stopped, p in zip(found, ps, strict=True)])


def drawn_table(drawn: Sequence[Drawn]) -> str:
    """As Markdown: what the tickets of each step return less than the final one, and what noise does.

    Bold is what is shown, adjusted over the table (Holm), noise left out.
    """
    steps = sorted({step for each in drawn for step in each.early})
    heads = ("search", "density", "final's return", "failed", *(f"{step:,}" for step in steps), "other draws")
    less = [[each.less_final(each.early[step]) for step in steps] for each in drawn]
    ps = iter(adjusted([at for row in less for at in row]))
    rows = []
    for each, row in zip(drawn, less, strict=True):
        told = [emphasised(at, next(ps)) for at in row]
        noise = each.less_final(each.again)
        told.append(between(noise.difference, noise.interval))
        final = (each.search, plain(each.density), ratio(each.mean), f"{each.failed} of {len(each.final)}")
        rows.append((*final, *told))
    return markdown_table(heads, rows)


def drawn_plot(drawn: Sequence[Drawn], title: str) -> Figure:
    """A panel for each search and density; shaded is the interval of the final ticket's second training."""
    figure, panels = looks.panels([each.name for each in drawn], "drawn at step", "return less the final ticket's")
    for each, axes in zip(drawn, panels, strict=True):
        noise = each.less_final(each.again)
        if np.isfinite(noise.interval.low):
            axes.axhspan(noise.interval.low, noise.interval.high, color=MUTED, alpha=0.16, linewidth=0, label="_noise")
        axes.axhline(0, color=INK, linewidth=1)
        found = {step: each.less_final(scores) for step, scores in sorted(each.early.items())}
        axes.plot([*found], [at.difference for at in found.values()], "o-", color=BLUE, markersize=5)
        for step, at in found.items():
            if np.isfinite(at.interval.low):
                axes.plot([step, step], [at.interval.low, at.interval.high], color=BLUE, linewidth=1.2, alpha=0.7)
        looks.thousands(axes)
        text = f"final {ratio(each.mean)}, noise {signed(noise.difference)}"
        axes.annotate(text, (0.98, 0.04), xycoords="axes fraction", ha="right", fontsize=8.5, color=MUTED)
    looks.title(figure, title)
    return figure
