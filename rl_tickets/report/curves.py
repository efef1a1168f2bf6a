"""Learning curves: what training returned on the way, level by level."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from . import looks
from .looks import DENSE_LOOK
from .rows import Series
from .searches import DENSE
from .wording import plain

SHOWN_LEVELS = 5
GRID = 40
Curve = NDArray[np.float64]
"""Environment steps and mean returns, shape (2, stretches)."""


def learning_curves(
    rows: Sequence[Series], names: Sequence[str], densities: Mapping[tuple[str, int], float] | None = None
) -> Figure | None:
    """Training return over environment steps, mean of the seeds: a panel per search, sparser levels lighter.

    None where no run has two stretches to draw a line between.

    Args:
        rows: the table "curves".
        names: searches in their order.
        densities: which density a search has at a level, for the legend; without it, levels are counted.
    """
    curves = _curves(rows)
    if not curves:
        return None
    shown = [name for name in names if any(search == name and level > 0 for search, level in curves)] or [DENSE]
    figure, panels = looks.panels(shown, "environment steps", "training return (mean of the seeds)")
    chosen = {
        (name, level)
        for name in shown
        for level in looks.few(sorted(level for search, level in curves if search == name and level > 0), SHOWN_LEVELS)
    }
    shades = _shades(chosen, densities)
    labelled: dict[str, tuple[float, str]] = {}
    for name, axes in zip(shown, panels, strict=True):
        axes.plot(*_mean_curve(curves.get((DENSE, 0), [])), color=DENSE_LOOK.colour, linewidth=1.6, label=_DENSE_LABEL)
        for search, level in sorted(chosen):
            if search == name:
                place, label = shades[search, level]
                axes.plot(*_mean_curve(curves[search, level]), color=looks.ramp()(place), linewidth=1.6)
                labelled[label] = (place, label)
        looks.thousands(axes)
    for place, label in sorted(labelled.values()):
        panels[0].plot([], [], color=looks.ramp()(place), linewidth=2.2, label=label)
    looks.title(figure, "Learning curves")
    looks.legend(figure, panels[0], "density" if densities is not None else "level")
    return figure


_DENSE_LABEL = "1 (dense)"


def _curves(rows: Sequence[Series]) -> dict[tuple[str, int], list[Curve]]:
    """Search and level -> the curve of each seed that has two stretches with a finite return."""
    found: dict[tuple[str, int], list[Curve]] = {}
    for row in rows:
        steps, sums, episodes = (
            np.asarray(row.columns[name], dtype=np.float64) for name in ("timesteps", "total_return", "episodes")
        )
        curve = np.stack([steps, sums / episodes])
        curve = curve[:, np.isfinite(curve[1])]
        if curve.shape[1] > 1:
            found.setdefault((row.run.label, row.run.level), []).append(curve)
    return found


def _mean_curve(curves: Sequence[Curve]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean over the seeds, each interpolated to the same steps: stretches of different seeds end at different ones."""
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
