"""Tickets of which copies were trained apart: whether those that are stable are those that match (Frankle et al. 2020,
arXiv 1912.05671)."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scipy import stats

import rl_tickets as rt
from rl_tickets.analysis.stability import Stability
from rl_tickets.evaluation.contrasts import mean_over_seeds
from rl_tickets.report.barriers import BarrierRow, rounded_density, stabilities
from rl_tickets.report.judging import LevelSummary
from rl_tickets.report.markdown_table import markdown_table
from rl_tickets.report.wording import between, p_value

HEADS = (
    "search",
    "density",
    "starts at",
    "barrier less floor, normalised [95 %]",
    "",
    "normalised return",
    "typical",
)


def margin(summary: rt.Summary) -> float:
    """By how much a barrier may exceed its noise floor: as much as a ticket may return less than dense and match."""
    anchors = summary.judge.anchors
    return 0.0 if anchors is None else summary.margin * (anchors.dense - anchors.random)


@dataclass(frozen=True)
class CopiedTicket:
    """A ticket, how stable it is from where its own training starts, and how well it does.

    Args:
        level: what it returns.
        start: of its training, in environment steps.
        stability: of copies from there.
        excess: seed -> barrier of its copies less their noise floor.
    """

    level: LevelSummary
    start: int
    stability: Stability
    excess: Mapping[int, float]

    @classmethod
    def all(cls, rows: list[BarrierRow], starts: Mapping[str, int], summary: rt.Summary) -> list["CopiedTicket"]:
        """Those of searches that start at these steps, and of which there are copies that did not diverge."""
        found = stabilities(rows, margin(summary))
        copied = {
            (search.name, rounded_density(level.density), starts[search.name]): level
            for search in summary.searches
            if search.name in starts
            for level in search.levels
        }
        return [
            cls(level, of[-1], found[of], {row.seed: row.barrier - row.floor for row in rows if row.of == of})
            for of, level in copied.items()
            if of in found
        ]

    @property
    def typical(self) -> bool | None:
        """Whether it typically does as well as dense."""
        return None if self.level.comparison is None else self.level.comparison.typical


def claim(tickets: Sequence[CopiedTicket], summary: rt.Summary) -> Iterator[str]:
    """Whether those that are stable are those that match, as a sentence and a table."""
    cells = Counter((each.stability.stable, each.typical) for each in tickets)
    agree, differ = cells[True, True] + cells[False, False], cells[True, False] + cells[False, True]
    yield (
        f"Of {len(tickets)} tickets, {cells[True, True]} are stable from their start and typically do as well as "
        f"dense, {cells[False, False]} are neither: that is {agree} as the claim has it. {cells[True, False]} are "
        f"stable and not typical, {cells[False, True]} unstable and typical: {differ} against it. Of the other "
        f"{len(tickets) - agree - differ}, one or the other is undecided. They share seeds and dense runs, so that "
        "these are counts, of which no test is made."
    )
    yield association(tickets)
    yield ticket_table(tickets, summary)
    yield f"All trainings and verdicts: [{summary.name}]({summary.name}/report.md)."


def association(tickets: Sequence[CopiedTicket]) -> str:
    """Whether the tickets of one seed return less, the higher the barriers of their copies are; tested over seeds."""
    seeds = set.intersection(*({*each.excess} & {*each.level.normalised_scores} for each in tickets)) if tickets else ()
    if len(tickets) < 3 or not seeds:
        return "Too few tickets have a barrier and a normalised return in every seed to rank them."
    ranked = [
        rank_correlation(
            [each.excess[seed] for each in tickets], [each.level.normalised_scores[seed] for each in tickets]
        )
        for seed in sorted(seeds)
    ]
    found = mean_over_seeds(ranked)
    return (
        "Within a seed, barriers (less their noise floors) and returns of its tickets have a rank correlation of "
        f"{between(found.difference, found.interval)} ({p_value(found.p)}; Spearman's, mean over {len(ranked)} seeds): "
        "negative where tickets with higher barriers return less."
    )


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Spearman's; 0 where either is the same throughout."""
    if len({*one}) == 1 or len({*other}) == 1:
        return 0.0
    return float(stats.spearmanr(one, other).statistic)


def ticket_table(tickets: Sequence[CopiedTicket], summary: rt.Summary) -> str:
    """As Markdown, a row for each ticket; barriers in units of what dense returns more than a random policy."""
    rows = []
    anchors = summary.judge.anchors
    for each in tickets:
        barrier = "–" if anchors is None else excess_of(each, anchors.dense - anchors.random)
        score = "–" if each.level.normalised is None else f"{each.level.normalised:.2f}"
        typical, _, _ = each.level.verdicts
        told = (each.level.search, f"{each.level.density:.3g}", f"{each.start:,}", barrier, each.stability.verdict)
        rows.append((*told, score, typical))
    return markdown_table(HEADS, rows, words=(0, 4, 6))


def excess_of(ticket: CopiedTicket, scale: float) -> str:
    """Barrier less noise floor in units of a scale of returns, with its interval."""
    seeds = [excess / scale for excess in ticket.excess.values()]
    found = mean_over_seeds(seeds)
    return between(found.difference, found.interval)
