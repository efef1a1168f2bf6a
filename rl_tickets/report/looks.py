"""The look that all plots share: colours that colour-blind eyes tell apart, quiet axes, plain densities."""

import dataclasses
import io
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from PIL import Image

from rl_tickets.tickets.archive import write_whole

from .wording import plain

INK, MUTED, GRID, PAPER = "#1f2430", "#5c6370", "#e6e8ec", "#ffffff"
DPI = 150
COLOURS = 256


@dataclasses.dataclass(frozen=True)
class Look:
    """How one search is drawn in every plot."""

    colour: str
    marker: str
    line: str = "-"


# Okabe and Ito's palette, which keeps apart under every common form of colour blindness.
BLUE, ORANGE, GREEN, PURPLE, SKY, AMBER = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
GREY, WINE = "#4D4D4D", "#882255"
DENSE_LOOK = Look(INK, "")
LOOKS = tuple(map(Look, (BLUE, SKY, GREY, GREEN, ORANGE, WINE, AMBER, PURPLE), "osp^DPvX"))


def by_place(names: Sequence[str]) -> dict[str, Look]:
    """A look for each search by its place among the names, so that it has the same one in every plot of a report."""
    lines = itertools.chain(("-", "--"), itertools.repeat(":"))
    every = (dataclasses.replace(look, line=line) for line in lines for look in LOOKS)
    return dict(zip(names, every, strict=False))


def sheet(width: float, height: float) -> Figure:
    """An empty white figure that makes room for its own labels and legends."""
    return Figure(figsize=(width, height), facecolor=PAPER, layout="constrained")


def columns_for(panels: int) -> int:
    """How many panels stand beside each other: three as a rule, other numbers where one would be left alone below.

    >>> [columns_for(panels) for panels in (2, 4, 6, 7, 10)]
    [2, 2, 3, 4, 4]
    """
    if panels % 3 == 1 and panels > 1:
        return 2 if panels == 4 else 4
    return min(3, panels)


def panels(names: Sequence[str], across: str, up: str) -> tuple[Figure, list[Axes]]:
    """One panel per search on shared axes labelled `across` and `up`."""
    columns = columns_for(len(names))
    lines = math.ceil(len(names) / columns)
    figure = sheet(3.6 * columns + 1.6, 3.0 * lines + 0.5)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    axes = list(grid.flat)
    for unused in axes[len(names) :]:
        unused.remove()
    for index, (name, each) in enumerate(zip(names, axes, strict=False)):
        quiet(each)
        each.set_title(name, fontsize=10.5, color=INK, loc="left", fontweight="bold")
        if index + columns >= len(names):
            each.tick_params(labelbottom=True)
            each.set_xlabel(across, color=INK)
        if index % columns == 0:
            each.set_ylabel(up, color=INK)
    return figure, axes[: len(names)]


def ramp() -> Colormap:
    """Viridis without its palest end, which fades into white paper."""
    return LinearSegmentedColormap.from_list("ramp", colormaps["viridis"](np.linspace(0.05, 0.88, 64)))


def quiet(axes: Axes) -> None:
    """Only the lines that help reading."""
    axes.set_facecolor(PAPER)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=9, length=3)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)


def title(figure: Figure, text: str) -> None:
    """The figure's title, small enough to leave the stage to the data."""
    figure.suptitle(text, fontsize=12, color=INK, x=0.01, ha="left", fontweight="bold")


def legend(figure: Figure, axes: Axes, heading: str = "", extra: Sequence[tuple[str, Look]] = ()) -> None:
    """All labelled lines of `axes`, and `extra` ones that no panel has alone, beside the data and never over it.

    Halfway up, where no title reaches.
    """
    handles, labels = axes.get_legend_handles_labels()
    for name, look in extra:
        line = Line2D([], [], color=look.colour, marker=look.marker, markersize=5, linewidth=1.8)
        line.set_linestyle(look.line)  # type: ignore[arg-type]
        handles, labels = [*handles, line], [*labels, name]
    figure.legend(
        handles,
        labels,
        loc="outside right center",
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        title=heading or None,
        title_fontproperties={"size": 9, "weight": "bold"},
        handlelength=3.2,  # Dashes show on both sides of a marker.
        alignment="left",
    )


def thin(axes: Axes, most: int) -> None:
    """So many labels at most on an axis of densities, for a narrow panel."""
    places = sorted((float(place) for place in axes.xaxis.get_majorticklocs()), reverse=True)
    axes.xaxis.set_major_locator(FixedLocator(spread(places, most) if len(places) > most else places))


def density_axis(axes: Axes, densities: Iterable[float], *, vertical: bool = False) -> None:
    """A log axis that runs from dense to sparse, with densities that were measured as its labels."""
    measured = sorted({1.0, *densities}, reverse=True)
    places = spread(measured, 12 if not vertical else 9)
    axis = axes.yaxis if vertical else axes.xaxis
    (axes.set_yscale if vertical else axes.set_xscale)("log")
    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value, digits=2)))
    if not vertical:
        axes.set_xlim(1.06, measured[-1] / 1.06)


def spread(densities: Sequence[float], most: int) -> list[float]:
    """So many of the decreasing densities that their labels keep clear of each other on a log axis."""
    gap = math.log(densities[0] / densities[-1]) / most
    kept = [densities[0]]
    for density in densities[1:]:
        if math.log(kept[-1] / density) > 0.999 * gap:
            kept.append(density)
    return kept


def few(values: Sequence[int], most: int) -> list[int]:
    """At most so many of the sorted values, evenly spread, first and last among them."""
    if len(values) <= most:
        return list(values)
    return [values[round(index * (len(values) - 1) / (most - 1))] for index in range(most)]


def thousands(axes: Axes) -> None:
    """Environment steps on the x axis as 20k, 1.5M."""
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def short(steps: float) -> str:
    """A count of steps as 500, 20k, 1.5M."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(steps) >= size:
            return f"{steps / size:.4g}{unit}"
    return f"{steps:.4g}"


def save(figure: Figure, path: Path) -> None:
    """The figure as PNG: whole or not at all, and the same bytes for the same data.

    The palette covers all colours of the figure evenly: one by how much is drawn in each leaves bands in a colour bar.
    """
    drawn, image = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, metadata={"Software": None})
    with Image.open(drawn) as full:
        drawing = full.convert("RGB")
    drawing.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE).save(
        image, format="png", optimize=True
    )
    write_whole(path, image.getvalue())
