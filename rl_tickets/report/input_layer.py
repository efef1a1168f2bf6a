"""A picture of the input layer: which dimensions of the observation tickets read, network by network."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from . import looks
from .looks import GRID, INK, MUTED
from .reading import Reading, sparsest, telling
from .wording import percent, plain

DENSITIES = 4
"""Of each search, that are drawn."""
MOST = 24
"""Dimensions that are drawn: of more, those that the sparsest tickets read most."""


def input_layer(found: Sequence[Reading]) -> Figure | None:
    """A row of panels for each search, a column for each network: the share of the weights that read each dimension.

    Dots are means over seeds with Student's 95 % intervals, from dense to sparse in colour; a grey mark is the share in
    the dense network. Searches that read all alike, as those of whole neurons do, have nothing to show; None where no
    other is known.
    """
    if not (shown := [reading for reading in telling(found) if len(reading.shares)]):
        return None
    searches = list(dict.fromkeys(reading.search for reading in shown))
    networks = list(dict.fromkeys(reading.network for reading in shown))
    places = _places(shown)
    tall = 0.36 * len(places) + 0.55
    figure = looks.sheet(3.5 * len(networks) + 2.6, tall * len(searches) + 0.9)
    grid = figure.subplots(len(searches), len(networks), sharex=True, sharey=True, squeeze=False)
    colours = _colours(shown, searches)
    for row, search in enumerate(searches):
        for column, network in enumerate(networks):
            axes = grid[row, column]
            own = [reading for reading in shown if (reading.search, reading.network) == (search, network)]
            _panel(axes, own, places, colours)
            name = network if len(searches) == 1 else f"{search}: {network}"
            axes.set_title(name, fontsize=10.5, color=INK, loc="left", fontweight="bold")
            axes.tick_params(labelleft=column == 0, labelbottom=row == len(searches) - 1)
    grid[0, 0].set_yticks(range(len(places)), [shown[0].dimensions[place] for place in places])
    for axes in grid[-1]:
        axes.set_xlabel("share of the weights that read the observation", color=INK)
    if len(places) < len(shown[0].dimensions):
        grid[0, 0].set_ylabel(f"{len(places)} of {len(shown[0].dimensions)} dimensions, those read most", color=INK)
    elif shown[0].dimensions == tuple(map(str, range(len(places)))):
        grid[0, 0].set_ylabel("dimension of the observation", color=INK)
    looks.title(figure, "What tickets read of the observation")
    _legend(figure, grid[0, 0], colours)
    return figure


def _places(shown: Sequence[Reading]) -> list[int]:
    """The dimensions that are drawn, in their order."""
    read = np.mean([reading.mean for reading in sparsest(shown)], axis=0)
    return sorted(np.argsort(-read, kind="stable")[:MOST].tolist())


def _colours(shown: Sequence[Reading], searches: Sequence[str]) -> dict[tuple[str, int], tuple[str, object]]:
    """Label and colour of each search's levels that are drawn: the same density, the same colour."""
    chosen: dict[tuple[str, int], float] = {}
    for search in searches:
        levels = {reading.level: reading.density for reading in shown if reading.search == search}
        chosen |= {(search, level): levels[level] for level in looks.few(sorted(levels), DENSITIES)}
    labels = {key: plain(density, digits=2) for key, density in chosen.items()}
    depths = {key: -math.log(float(label)) for key, label in labels.items()}
    low, high = min(depths.values()), max(depths.values())
    return {key: (labels[key], looks.ramp()((depths[key] - low) / ((high - low) or 1.0))) for key in chosen}


def _panel(
    axes: Axes,
    own: Sequence[Reading],
    places: Sequence[int],
    colours: Mapping[tuple[str, int], tuple[str, object]],
) -> None:
    looks.quiet(axes)
    axes.grid(False, axis="y")
    for line in range(1, len(places)):
        axes.axhline(line - 0.5, color=GRID, linewidth=0.8, zorder=0)
    levels = [level for search, level in colours if search in {reading.search for reading in own}]
    offsets = dict(zip(levels, np.linspace(-0.28, 0.28, len(levels)) if len(levels) > 1 else [0.0], strict=False))
    lines = np.arange(len(places))
    for reading in (reading for reading in own if reading.level in offsets):
        offset, (_, colour) = offsets[reading.level], colours[reading.search, reading.level]
        mean, half = reading.mean[places], np.nan_to_num(reading.half[places])
        ends = [mean - np.maximum(mean - half, 0.0), np.minimum(mean + half, 1.0) - mean]
        axes.errorbar(mean, lines + offset, xerr=ends, fmt="o", color=colour, markersize=4, linewidth=1.3)
    if own:
        axes.vlines(own[0].even[places], lines - 0.4, lines + 0.4, color=MUTED, linewidth=1.4, linestyle=(0, (2, 1.5)))
    else:
        axes.text(
            0.5, 0.5, "reads nothing", transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=9
        )
    axes.set_ylim(len(places) - 0.5, -0.5)
    axes.set_xlim(left=0.0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda share, _: percent(share)))


def _legend(figure: Figure, axes: Axes, colours: Mapping[tuple[str, int], tuple[str, object]]) -> None:
    """Every density that is drawn, from dense to sparse."""
    axes.plot([], [], color=MUTED, linewidth=1.4, linestyle=(0, (2, 1.5)), label="dense")
    for label, colour in sorted(dict(colours.values()).items(), key=lambda entry: -float(entry[0])):
        axes.plot([], [], "o", color=colour, markersize=4, label=label)
    looks.legend(figure, axes, "density")
