"""Learning curves: what training returned on the way, level by level."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import stats

from rl_tickets.search.plan import DENSE

from . import looks
from .looks import DENSE_LOOK
from .rows import Series
from .wording import plain

SHOWN_LEVELS = 5
GRID = 60
WINDOW = 0.1
"""Of a training, over which the mean is taken at least."""
AFTER_CUT = 0.04
"""Of a training, that counts for nothing after a cut."""
ALIKE = 0.05
"""Logarithm of a ratio of densities that share a colour: a small dense agent has nearly a ticket's."""
Curve = NDArray[np.float64]
"""Environment steps and mean returns, shape (2, stretches)."""


def learning_curves(
    rows: Sequence[Series],
    names: Sequence[str],
    densities: Mapping[tuple[str, int], float] | None = None,
    *,
    segment: int = 0,
) -> Figure | None:
    """Training return over environment steps, mean of the seeds with its interval: a panel per search, sparser lighter.

    Each point is a moving mean over a tenth of the training. Where training is cut, all environments are reset, and
    the first episodes to end after it are the short ones: the mean is taken over whole segments, and where these are
    longer than a tenth, what ends soon after a cut is left out. None where no run has two stretches to draw a line
    between.

    Args:
        rows: the table "curves".
        names: searches in their order.
        densities: which density a search has at a level, for the legend; without it, levels are counted.
        segment: environment steps between two cuts, 0 where nothing is cut.
    """
    curves = _curves(rows, segment)
    if not curves:
        return None
    shown = [name for name in names if any(search == name and level > 0 for search, level in curves)] or [DENSE]
    figure, panels = looks.panels(shown, "environment steps", "training return")
    chosen = [
        (name, level)
        for name in shown
        for level in looks.few(sorted(level for search, level in curves if search == name and level > 0), SHOWN_LEVELS)
    ]
    shades = _shades(chosen, densities)
    labelled: dict[str, tuple[float, str]] = {}
    for name, axes in zip(shown, panels, strict=True):
        _draw(axes, curves.get((DENSE, 0), []), DENSE_LOOK.colour, _DENSE_LABEL)
        for search, level in sorted(chosen):
            if search == name:
                place, label = shades[search, level]
                _draw(axes, curves[search, level], looks.ramp()(place))
                labelled[label] = (place, label)
        looks.thousands(axes)
    for place, label in sorted(labelled.values()):
        panels[0].plot([], [], color=looks.ramp()(place), linewidth=2.2, label=label)
    looks.title(figure, "Learning curves (moving mean; band: 95 % interval of the mean of the seeds)")
    looks.legend(figure, panels[0], "density" if densities is not None else "level")
    return figure


_DENSE_LABEL = "1 (dense)"


def _curves(rows: Sequence[Series], segment: int) -> dict[tuple[str, int], list[Curve]]:
    """Search and level -> the curve of each seed that has two stretches with a finite return."""
    found: dict[tuple[str, int], list[Curve]] = {}
    for row in rows:
        steps, sums, episodes = (
            np.asarray(row.columns[name], dtype=np.float64) for name in ("timesteps", "total_return", "episodes")
        )
        finite = np.isfinite(sums)
        if finite.sum() > 1:
            curve = _moving(steps[finite], sums[finite], episodes[finite], segment)
            if curve.shape[1] > 1:
                found.setdefault((row.run.label, row.run.level), []).append(curve)
    return found


def _moving(
    steps: NDArray[np.float64], sums: NDArray[np.float64], episodes: NDArray[np.float64], segment: int
) -> Curve:
    """At the end of each stretch, the mean return of the window that ends there, each stretch by its length.

    Not by its episodes: a thousand short ones at the beginning would hide all that follows.
    """
    lengths = np.diff(steps)
    lengths = np.concatenate([[np.median(lengths)], lengths])
    whole = steps[-1] - steps[0] + lengths[0]
    window = WINDOW * whole
    if 0 < segment <= window:
        window = math.ceil(window / segment) * segment
    elif segment:
        begins = steps - lengths
        uncut = begins // segment == (steps - 1) // segment
        settled = uncut & (begins % segment >= AFTER_CUT * whole)
        lengths = np.where(settled | (steps < segment), lengths, 0.0)
    first = np.searchsorted(steps, steps - window, side="right")
    totals = [np.concatenate([[0.0], np.cumsum(values)]) for values in (lengths * sums / episodes, lengths)]
    ends = np.arange(1, len(steps) + 1)
    returned, counted = (total[ends] - total[first] for total in totals)
    known = counted > 0
    return np.stack([steps[known], returned[known] / counted[known]])


def _draw(axes: Axes, curves: Sequence[Curve], colour: object, label: str = "") -> None:
    """Mean over the seeds, each interpolated to the same steps, as far as half of them train: some diverge or stop."""
    if not curves:
        return
    grid = np.linspace(max(steps[0] for steps, _ in curves), max(steps[-1] for steps, _ in curves), GRID)
    returns = np.stack([np.interp(grid, steps, at, left=np.nan, right=np.nan) for steps, at in curves])
    seeds = np.isfinite(returns).sum(axis=0)
    half_of_them = 2 * seeds >= len(curves)
    grid, returns, seeds = grid[half_of_them], returns[:, half_of_them], seeds[half_of_them]
    mean = np.nanmean(returns, axis=0)
    axes.plot(grid, mean, color=colour, linewidth=1.6, label=label or None)
    if (several := seeds > 1).any():
        error = np.nanstd(returns[:, several], axis=0, ddof=1) / np.sqrt(seeds[several])
        half = stats.t.ppf(0.975, seeds[several] - 1) * error
        low, high = mean[several] - half, mean[several] + half
        axes.fill_between(grid[several], low, high, color=colour, alpha=0.14, linewidth=0)


def _shades(
    chosen: Sequence[tuple[str, int]], densities: Mapping[tuple[str, int], float] | None
) -> dict[tuple[str, int], tuple[float, str]]:
    """Place on the colour ramp, from 0 to 1, and label of each curve: nearly the same density, the same colour."""
    if densities is None:
        depth = {key: float(key[1]) for key in chosen}
        labels = {depth[key]: str(key[1]) for key in chosen}
    else:
        depth, labels = {}, {}
        for key in chosen:
            density = densities.get(key, 1.0)
            own = -math.log(density)
            depth[key] = next((other for other in labels if abs(other - own) < ALIKE), own)
            labels.setdefault(depth[key], plain(density, digits=2))
    low, high = min(labels, default=0.0), max(labels, default=0.0)
    return {key: ((own - low) / ((high - low) or 1.0), labels[own]) for key, own in depth.items()}
