"""Learning curves: what training returned on the way, level by level."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import looks as style
from .looks import DENSE_LOOK
from .results import DENSE
from .rows import CurveRow
from .wording import plain

SHOWN_LEVELS = 5
GRID = 40


def learning_curves(rows: Sequence[CurveRow], densities: Mapping[tuple[str, int], float] | None = None) -> Figure:
    """Training return over environment steps, mean of the seeds: a panel per search, sparser levels lighter.

    `densities` says which density a search has at a level, for the legend; without it, levels are counted.
    """
    rows = [row for row in rows if math.isfinite(row.mean_return)]
    found = {(row.search, row.level) for row in rows}
    names = style.ordered({search for search, level in found if search != DENSE and level > 0}) or [DENSE]
    figure, panels = style.panels(names, "environment steps", "training return (mean of the seeds)")
    chosen = {
        (name, level)
        for name in names
        for level in style.few(sorted(level for search, level in found if search == name and level > 0), SHOWN_LEVELS)
    }
    shades = _shades(chosen, densities)
    labelled: dict[str, tuple[float, str]] = {}
    for name, axes in zip(names, panels, strict=True):
        axes.plot(*_mean_curve(rows, DENSE, 0), color=DENSE_LOOK.colour, linewidth=1.6, label=_DENSE_LABEL)
        for search, level in sorted(chosen):
            if search == name:
                place, label = shades[search, level]
                colour = style.ramp()(place)
                axes.plot(*_mean_curve(rows, search, level), color=colour, linewidth=1.6)
                labelled[label] = (place, label)
        style.thousands(axes)
    for place, label in sorted(labelled.values()):
        panels[0].plot([], [], color=style.ramp()(place), linewidth=2.2, label=label)
    style.title(figure, "Learning curves")
    style.legend(figure, panels[0], "density" if densities is not None else "level")
    return figure


_DENSE_LABEL = "1 (dense)"


def _mean_curve(rows: Sequence[CurveRow], search: str, level: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the seeds, each interpolated to the same steps: stretches of different seeds end at different ones."""
    seeds: dict[int, list[tuple[int, float]]] = {}
    for row in rows:
        if (row.search, row.level) == (search, level):
            seeds.setdefault(row.seed, []).append((row.timesteps, row.mean_return))
    curves = [np.array(sorted(points), dtype=np.float64).T for points in seeds.values()]
    if not curves:
        return np.empty(0), np.empty(0)
    grid = np.linspace(max(steps[0] for steps, _ in curves), min(steps[-1] for steps, _ in curves), GRID)
    return grid, np.mean([np.interp(grid, steps, returns) for steps, returns in curves], axis=0)


def _shades(
    chosen: set[tuple[str, int]], densities: Mapping[tuple[str, int], float] | None
) -> dict[tuple[str, int], tuple[float, str]]:
    """Place on the colour ramp, from 0 to 1, and label of each curve: the same density, the same colour."""
    if densities is None:
        depth = {key: float(key[1]) for key in chosen}
        labels = {key: str(key[1]) for key in chosen}
    else:
        labels = {key: plain(densities.get(key, 1.0), digits=2) for key in chosen}
        depth = {key: -math.log(float(label)) for key, label in labels.items()}
    low, high = min(depth.values(), default=0.0), max(depth.values(), default=0.0)
    return {key: ((depth[key] - low) / ((high - low) or 1.0), labels[key]) for key in chosen}
