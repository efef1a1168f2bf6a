"""The plots of a report; each takes rows or a summary and returns a Figure."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import looks
from .curves import learning_curves
from .facets import return_against_density
from .looks import GRID, INK, MUTED, save
from .rows import LayerRow, Series
from .wording import counted, plain

__all__ = ["distance_matrix", "layer_densities", "learning_curves", "return_against_density", "save"]
STEPS = ("step", "other_step")


def layer_densities(rows: Sequence[LayerRow], names: Sequence[str]) -> Figure | None:
    """Density of each layer over the levels, mean of the seeds: where each search takes the weights from.

    None where no level was pruned; `names` are the searches in their order.
    """
    density = _densities(rows)
    shown = [name for name in names if any(search == name and level > 0 for search, _, level in density)]
    if not shown:
        return None
    layers = list(dict.fromkeys(layer for row in rows for layer in row.counts))
    figure, panels = looks.panels(shown, "level", "density (log scale)")
    for name, axes in zip(shown, panels, strict=True):
        for index, layer in enumerate(layers):
            place = index / max(1, len(layers) - 1)
            _layer_line(axes, density, name, layer, looks.ramp()(place), "osDv^P"[index % 6])
        _layer_line(axes, density, name, "", MUTED, "")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    least = min(value for (name, _, _), value in density.items() if name in shown)
    looks.density_axis(panels[0], _halves(least), vertical=True)
    looks.title(figure, "Density of each layer")
    looks.legend(figure, panels[0], "layer, from the input")
    return figure


def _densities(rows: Sequence[LayerRow]) -> dict[tuple[str, str, int], float]:
    """Search, layer and level -> density over all seeds; layer "" is the whole network. Empty layers are left out."""
    sums: dict[tuple[str, str, int], list[int]] = {}
    for row in rows:
        for name, (kept, total) in row.counts.items():
            for layer in (name, ""):
                pair = sums.setdefault((row.run.label, layer, row.run.level), [0, 0])
                pair[0] += kept
                pair[1] += total
    return {key: part / whole for key, (part, whole) in sums.items() if part}


def _layer_line(
    axes: Axes,
    density: Mapping[tuple[str, str, int], float],
    search: str,
    layer: str,
    colour: object,
    marker: str,
) -> None:
    """One layer, or the whole network where `layer` is empty; searches without a dense level start from 1."""
    points = {level: value for (name, own, level), value in density.items() if (name, own) == (search, layer)}
    points.setdefault(0, 1.0)
    levels = sorted(points)
    axes.plot(
        levels,
        [points[level] for level in levels],
        color=colour,
        linestyle="-" if layer else (0, (4, 2)),
        linewidth=1.7 if layer else 2.2,
        marker=marker or None,
        markersize=4,
        label=layer or "whole network",
    )


def _halves(least: float) -> list[float]:
    """Round densities down to the least: 0.5, 0.2, 0.1, 0.05, ..."""
    places = [step * 10.0**-power for power in range(1, 9) for step in (5, 2, 1)]
    return [place for place in places if place >= least] or [least]


def distance_matrix(rows: Sequence[Series], names: Sequence[str]) -> Figure | None:
    """How far apart the masks are that early-bird drew at two steps of a run; pale means that they agree.

    None where no run drew more than two. `rows` are the table "distances", `names` the searches in their order.
    """
    shown = [name for name in names if any(row.run.label == name and len(row) > 1 for row in rows)]
    if not shown:
        return None
    figure = looks.sheet(5.0 * len(shown) + 0.6, 4.6)
    grid = figure.subplots(1, len(shown), squeeze=False)
    top = max(distance for row in rows for distance in row.columns["distance"]) or 1.0
    for name, axes in zip(shown, grid.flat, strict=True):
        own = [row for row in rows if row.run.label == name]
        steps = sorted({int(step) for row in own for column in STEPS for step in row.columns[column]})
        image = axes.imshow(_matrix(own, steps), cmap="YlGnBu", vmin=0, vmax=top, origin="lower")
        ticks = range(0, len(steps), math.ceil(len(steps) / 8))
        axes.set_xticks(ticks, [looks.short(steps[tick]) for tick in ticks])
        axes.set_yticks(ticks, [looks.short(steps[tick]) for tick in ticks])
        looks.quiet(axes)
        axes.grid(False)
        axes.set_facecolor(GRID)
        seeds = counted(len({row.run.seed for row in own}), "seed")
        axes.set_title(f"{name}, {seeds}", fontsize=10.5, color=INK, loc="left", fontweight="bold")
        axes.set_xlabel("mask drawn at environment step", color=INK)
        axes.set_ylabel("against the mask at step", color=INK)
    chances = [chance for row in rows for chance in row.columns["chance"]]
    bar = figure.colorbar(image, ax=list(grid.flat), shrink=0.86)
    bar.set_label(f"mask distance (chance: {plain(math.fsum(chances) / len(chances), digits=2)})", color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(colors=MUTED, labelcolor=INK, labelsize=9, length=3)
    looks.title(figure, "Early-bird: distance between masks")
    return figure


def _matrix(rows: Sequence[Series], steps: Sequence[int]) -> np.ndarray:
    """Mean distance over the runs, symmetric; NaN where none drew both masks."""
    index = {step: place for place, step in enumerate(steps)}
    total, count = np.zeros((2, len(steps), len(steps)))
    for row in rows:
        for step, other, distance in zip(*(row.columns[name] for name in (*STEPS, "distance")), strict=True):
            for pair in ((index[int(step)], index[int(other)]), (index[int(other)], index[int(step)])):
                total[pair] += distance
                count[pair] += 1
    with np.errstate(invalid="ignore"):
        matrix: np.ndarray = total / count
    np.fill_diagonal(matrix, 0.0)
    return matrix
