"""Where each search takes its weights from: the density of every layer, level by level."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from . import looks
from .looks import MUTED
from .rows import LayerRow


def layer_densities(rows: Sequence[LayerRow], names: Sequence[str]) -> Figure | None:
    """Density of each layer over the levels, mean of the seeds: where each search takes the weights from.

    None where no level was pruned; `names` are the searches in their order. Small dense agents prune nothing.
    """
    density = _densities(rows)
    pruned = {search for (search, _, level), kept in density.items() if level > 0 and kept < 1}
    shown = [name for name in names if name in pruned]
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
