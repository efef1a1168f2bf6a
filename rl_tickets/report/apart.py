"""How far apart the masks of one training are: heat maps of their distances, for each network."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from . import looks
from .drawn import NETWORKS, Drawn
from .looks import INK

SIDE = 2.15
"""Inches."""
COLOURS = "viridis"


def apart_maps(drawn: Sequence[Drawn], title: str) -> Figure:
    """A row for each search and density, a column for each network; means over seeds, 1 is chance."""
    networks = [name for name in NETWORKS if any(_compared(_mean(each, name)) for each in drawn)]
    figure = looks.sheet(SIDE * len(networks) + 2.0, (SIDE - 0.15) * len(drawn) + 0.9)
    grid = figure.subplots(len(drawn), len(networks), squeeze=False, sharex=True, sharey=True)
    for row, each in zip(grid, drawn, strict=True):
        for axes, network in zip(row, networks, strict=True):
            image = _map(axes, _mean(each, network), _steps(each))
            if axes in grid[0]:
                axes.set_title(network, fontsize=10, color=INK, loc="left", fontweight="bold")
            if axes in grid[-1]:
                axes.set_xlabel("drawn at step", color=INK)
        row[0].set_ylabel(f"{each.name}\ndrawn at step", color=INK, fontsize=9)
    figure.colorbar(image, ax=grid, label="distance / chance", shrink=0.6)
    looks.title(figure, title)
    return figure


def _steps(drawn: Drawn) -> tuple[int, ...]:
    """Those of the runs that trained longest."""
    return max((run.steps for run in drawn.settling["whole"].values()), key=len)


def _mean(drawn: Drawn, network: str) -> NDArray[np.float64]:
    """Over the seeds that drew all masks: a run that diverged has fewer."""
    runs = [run.apart for run in drawn.settling[network].values() if run.steps == _steps(drawn)]
    return np.asarray(np.mean(runs, axis=0))


def _compared(values: NDArray[np.float64]) -> bool:
    """Whether any two masks were compared: an agent need not have that network."""
    return bool(np.isfinite(values[~np.eye(len(values), dtype=bool)]).any())


def _map(axes: Axes, values: NDArray[np.float64], steps: Sequence[int]) -> AxesImage:
    end = steps[-1]
    shown = np.ma.masked_invalid(values)
    image = axes.imshow(shown, cmap=COLOURS, vmin=0, vmax=1, origin="lower", extent=(0, end, 0, end))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(FuncFormatter(lambda value, _: looks.short(value)))
    axes.tick_params(labelsize=8)
    axes.tick_params(length=2)
    axes.spines[:].set_visible(False)
    return image
