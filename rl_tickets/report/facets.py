"""Return against density: one search against what stands beside it, a panel each, and the share of runs that fail."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter

from . import looks
from .judging import LevelSummary
from .looks import DENSE_LOOK, INK, MUTED, Look
from .summary import SearchSummary, Summary
from .wording import plain
from .zoom import crowded, enlarge_top

DEPTH = 0.2
"""How far below the random policy panels reach at most, in normalised return."""
DODGE = 0.14
"""By which part of the way to the next density two searches' dots stand left and right of theirs, and spread."""


def return_against_density(summary: Summary) -> Figure | None:
    """The first search against each of its controls and each other search, others against theirs; failures last.

    None where dense is all there is.
    """
    first = summary.first
    if first is None:
        return None
    others = sorted((each for each in summary.searches if each is not first), key=lambda each: _rank(each, first))
    named = {each.name: each for each in summary.searches}
    pairs: list[tuple[SearchSummary, SearchSummary | None]] = [
        (named.get(other.described.control_of or "", first), other) for other in others
    ] or [(first, None)]
    drawn = looks.by_place(summary.colours)
    count = len(pairs) + (not summary.problem)
    columns = looks.columns_for(count)
    rows = math.ceil(count / columns)
    figure = looks.sheet(3.7 * columns + 1.5, 3.0 * rows + 0.5)
    grid = list(figure.subplots(rows, columns, sharex=True, squeeze=False).flat)
    panels, rest = grid[: len(pairs)], grid[len(pairs) :]
    low, high = _limits(summary)
    room = DODGE * _gap(summary)
    scores = [*summary.dense.scores.values(), *_scores(first)]
    if zoomed := crowded(scores, low, high):
        every = [*scores, *(score for search in summary.searches for score in _scores(search))]
        high = max(filter(math.isfinite, [*every, summary.dense.returned])) + 0.01 * (high - low)
    for (search, other), axes in zip(pairs, panels, strict=True):
        _background(axes, summary)
        for side, each in enumerate(each for each in (search, other) if each is not None):
            _search(axes, summary, each, drawn[each.name], (1 - 2 * side if other else 0) * room, room, low)
        if zoomed:
            enlarge_top(axes, low, high)
        axes.set_ylim(low, high)
        against = "against " if search is first else f"{search.name} against "
        _head(axes, (other or search).name, against if other else "", drawn[(other or search).name])
        if axes not in panels[::columns]:
            axes.tick_params(labelleft=False)
    for axes in panels[::columns]:
        axes.set_ylabel("return", color=INK)
    if not summary.problem:
        _failures(rest[0], summary, drawn)
        rest = rest[1:]
    for unused in rest:
        unused.remove()
    for index, axes in enumerate(grid[:count]):
        looks.density_axis(axes, _measured(summary))
        looks.thin(axes, 6)
        axes.set_xlim(1 + room, min(_measured(summary)) * math.exp(-3 * room))
        if index + columns >= count:
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(_tell_networks(axes, first), color=INK)
    seeds = max(len(level.scores) for level in first.levels)
    enlarged = "; shaded: enlarged" if zoomed else ""
    looks.title(figure, f"{summary.name}: return against density (line: IQM; dot: one of {seeds} seeds{enlarged})")
    looks.legend(figure, panels[0], extra=_keys(summary, others, drawn))
    return figure


def _tell_networks(axes: Axes, first: SearchSummary) -> str:
    """Writes the densities of actor and critic below those of the axis, where they are known; what the axis is called.

    One density of both hides that a critic may keep most of the weights.
    """
    known = {
        level.density: "\n".join(plain(density, digits=2) for density in (level.density, each.actor, each.critic))
        for level in first.levels
        if (each := level.effective) is not None and each.actor is not None and each.critic is not None
    }
    if len(known) < len(first.levels):
        return "density"
    known[1.0] = "1\n1\n1"

    def label(place: float, _: object) -> str:
        near = min(known, key=lambda density: abs(math.log(density / place)))
        return known[near] if math.isclose(near, place, rel_tol=0.02) else plain(place, digits=2)

    axes.xaxis.set_major_formatter(FuncFormatter(label))
    return f"density; on a path: {first.name}'s actor, and critic"


def _scores(search: SearchSummary) -> list[float]:
    return [score for level in search.levels for score in level.scores.values()]


def _gap(summary: Summary) -> float:
    """The least way between two neighbouring densities of a search, in logarithms."""
    gaps = [
        math.log(denser.density / sparser.density)
        for search in summary.searches
        for denser, sparser in pairwise((summary.dense, *search.levels))
    ]
    return min((gap for gap in gaps if gap > 0.05), default=0.5)


def _rank(search: SearchSummary, first: SearchSummary) -> int:
    """Its own controls, other searches, controls of others."""
    if search.described.control_of is None:
        return 1
    return 0 if search.described.control_of == first.described.name else 2


def _head(axes: Axes, name: str, before: str, look: Look) -> None:
    axes.set_title(before + name, fontsize=10.5, color=look.colour, loc="left", fontweight="bold")


def _background(axes: Axes, summary: Summary) -> None:
    """Dense with its interval, and the random policy."""
    looks.quiet(axes)
    dense = summary.dense
    axes.axhline(dense.returned, color=DENSE_LOOK.colour, linewidth=1.3, label="dense", zorder=2)
    if dense.returned_interval is not None:
        span = dense.returned_interval
        axes.axhspan(span.low, span.high, color=DENSE_LOOK.colour, alpha=0.1, linewidth=0, zorder=1)
    if summary.random_return is not None:
        axes.axhline(summary.random_return, color=MUTED, linewidth=1.2, linestyle=(0, (1, 2)), label="random policy")


def _search(
    axes: Axes, summary: Summary, search: SearchSummary, look: Look, aside: float, room: float, lowest: float
) -> None:
    """Its IQM as a line with a band; its seeds as dots beside the density, crosses where they failed.

    What lies below the panel stands on its `lowest` edge.
    """
    levels = [level for level in search.levels if math.isfinite(level.returned)]
    where = [level.density for level in levels]
    spans = [level.returned_interval for level in levels]
    low = [level.returned if span is None else span.low for level, span in zip(levels, spans, strict=True)]
    high = [level.returned if span is None else span.high for level, span in zip(levels, spans, strict=True)]
    axes.fill_between(where, low, high, color=look.colour, alpha=0.12, linewidth=0, zorder=2)
    values = [level.returned for level in levels]
    axes.plot(
        where,
        values,
        color=look.colour,
        linestyle=look.line,
        linewidth=1.8,
        marker=look.marker,
        markersize=5,
        markeredgecolor="white",
        markeredgewidth=0.7,
        zorder=5,
    )
    for level in levels:
        across, up, failed = _dots(summary, level, aside, room)
        up = np.maximum(up, lowest)
        axes.scatter(across[~failed], up[~failed], s=9, color=look.colour, alpha=0.45, linewidths=0, zorder=4)
        axes.scatter(
            across[failed], up[failed], s=14, color=look.colour, alpha=0.6, linewidths=0.9, marker="x", zorder=4
        )


def _dots(
    summary: Summary, level: LevelSummary, aside: float, room: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the seeds' dots stand, each of shape (seeds,), and which of them failed."""
    up = np.array(list(level.scores.values()))
    spread = (np.arange(len(up)) * 0.618) % 1 - 0.5  # Evenly, in no order, and the same every time.
    across = level.density * np.exp(aside + room * spread)
    below = np.array([level.normalised_scores.get(seed, math.inf) for seed in level.scores])
    return across, up, below < summary.failed_below


def _failures(axes: Axes, summary: Summary, drawn: dict[str, Look]) -> None:
    """The share of runs that failed, of every search."""
    looks.quiet(axes)
    dense = summary.dense
    axes.axhline((dense.failed or 0) / len(dense.scores), color=DENSE_LOOK.colour, linewidth=1.3, zorder=2)
    for search in summary.searches:
        look = drawn[search.name]
        shares = [(level.failed or 0) / len(level.scores) for level in search.levels]
        axes.plot(
            [level.density for level in search.levels],
            shares,
            color=look.colour,
            linestyle=look.line,
            marker=look.marker,
            markersize=4,
            linewidth=1.5,
        )
    axes.set_ylim(-0.04, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_title(
        f"runs that fail (below {summary.failed_below:g})", fontsize=10.5, color=INK, loc="left", fontweight="bold"
    )


def _keys(summary: Summary, others: Sequence[SearchSummary], drawn: dict[str, Look]) -> list[tuple[str, Look]]:
    first = summary.first
    assert first is not None
    return [(each.name, drawn[each.name]) for each in (first, *others)]


def _limits(summary: Summary) -> tuple[float, float]:
    """All that the lines reach, and not far below the random policy: one search that fails would flatten the others."""
    levels = [level for level in summary.levels if math.isfinite(level.returned)]
    ends = [end for level in levels for end in (level.returned, *_ends(level))]
    if summary.random_return is not None:
        ends.append(summary.random_return)
    highest = max(max(level.scores.values()) for level in levels)
    low, high = min(ends), max(*ends, highest)
    if summary.random_return is not None and not summary.problem:
        low = max(low, summary.random_return - DEPTH * (summary.dense.returned - summary.random_return))
    room = 0.05 * ((high - low) or 1.0)
    return low - room, high + room


def _ends(level: LevelSummary) -> tuple[float, ...]:
    return () if level.returned_interval is None else (level.returned_interval.low, level.returned_interval.high)


def _measured(summary: Summary) -> list[float]:
    """What the axis is labelled with: the densities of the longest search, and the sparsest of all."""
    searches = summary.searches
    longest = max(searches, key=lambda search: len(search.levels))
    return [level.density for level in longest.levels] + [
        min(level.density for search in searches for level in search.levels)
    ]
