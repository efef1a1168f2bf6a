"""Forest plot: what a search returns more than each of its controls and rivals, paired by seed."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from . import looks
from .contrasts import Beside
from .looks import INK, MUTED
from .summary import Summary
from .wording import between, p_value, plain

ROW = 0.62
"""Inches."""
SPREAD = 0.3
"""Of a row, which the densities take above and below its middle."""


def forest(summary: Summary, when: str = "") -> Figure | None:
    """A row for each pair of searches: the mean over densities with its interval, and each density, sparser lighter.

    None where nothing stands beside a search.

    Args:
        summary: whose contrasts are drawn.
        when: it was returned, for the title.
    """
    found = summary.contrasts
    if not found:
        return None
    densities = sorted({plain(at.density, digits=2) for each in found for at in each.levels}, key=float, reverse=True)
    figure = looks.sheet(9.0, ROW * len(found) + 1.3)
    axes = figure.subplots()
    looks.quiet(axes)
    axes.grid(False, axis="y")
    axes.axvline(0, color=INK, linewidth=1.0)
    for row, each in enumerate(found):
        _row(axes, -row, each, densities)
    axes.set_yticks([-row for row in range(len(found))], [_name(each, found) for each in found])
    axes.set_ylim(-len(found) + 0.45, 0.55)
    axes.tick_params(axis="y", length=0, labelsize=9.5)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("difference in normalised return (0: random policy, 1: dense), 95 % interval", color=INK)
    if len(densities) > 1:
        for place, density in enumerate(densities):
            axes.plot([], [], "o", color=looks.ramp()(place / (len(densities) - 1)), markersize=5, label=density)
        looks.legend(figure, axes, "density")
    seeds = max(each.mean.seeds for each in found)
    looks.title(figure, f"{summary.name}: what it returns more{when}, paired by seed ({seeds} seeds)")
    return figure


def _row(axes: Axes, middle: float, each: Beside, densities: Sequence[str]) -> None:
    """The densities from dense above to sparse below, and their mean over all of them."""
    one = len(densities) == 1
    for at in each.levels:
        if one:
            break
        place = densities.index(plain(at.density, digits=2)) / (len(densities) - 1)
        height, span = middle + SPREAD * (1 - 2 * place), at.contrast.interval
        colour = looks.ramp()(place)
        axes.plot([span.low, span.high], [height, height], color=colour, linewidth=1.0, alpha=0.45, zorder=2)
        axes.plot(at.contrast.difference, height, "o", color=colour, markersize=3.6, alpha=0.85, zorder=2)
    span = each.mean.interval
    axes.plot([span.low, span.high], [middle, middle], color=INK, linewidth=2.6, solid_capstyle="butt", zorder=3)
    axes.plot(each.mean.difference, middle, "D", color=INK, markersize=7, markeredgecolor="white", zorder=4)
    text = between(each.mean.difference, each.mean.interval)
    text += f"\n{p_value(each.p)}" if each.mean.enough else "\ntoo few seeds"
    axes.annotate(
        text, (1.01, middle), xycoords=("axes fraction", "data"), fontsize=8.5, color=MUTED, va="center", ha="left"
    )


def _name(each: Beside, found: Sequence[Beside]) -> str:
    """Of the one beside it; of both where several searches have controls."""
    alone = len({one.search for one in found}) == 1
    kind = "" if each.control else " (search)"
    return f"less {each.other}{kind}" if alone else f"{each.search} less {each.other}{kind}"
