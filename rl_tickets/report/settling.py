"""When a mask settles: what early-bird saw on the way, against the threshold that it waits for."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

from . import looks
from .looks import BLUE, INK, ORANGE
from .rows import Run, Series
from .wording import counted, plain


@dataclasses.dataclass(frozen=True)
class Watch:
    """When a search takes its mask as settled."""

    threshold: float
    """Largest distance, as a fraction of chance."""
    window: int
    """Earlier masks that the newest is held against, once there are so many."""

    @classmethod
    def all(cls, settings: Mapping[str, Any]) -> dict[str, Self]:
        """By name of the search, of those that have an early-bird among their settings."""
        entries = settings.get("searches")
        found = {}
        for name, entry in (entries if isinstance(entries, dict) else {}).items():
            for value in _nested(entry):
                if value.get("type") == "EarlyBird" and {"threshold", "window"} <= value.keys():
                    found[name] = cls(float(value["threshold"]), int(value["window"]))
        return found


def _nested(value: object) -> list[dict[str, Any]]:
    """All dictionaries in plain data."""
    if isinstance(value, dict):
        return [value, *(inner for part in value.values() for inner in _nested(part))]
    return [inner for part in value for inner in _nested(part)] if isinstance(value, list) else []


def settling(
    rows: Sequence[Series], names: Sequence[str], watches: Mapping[str, Watch], stopped: Mapping[Run, int]
) -> Figure | None:
    """Largest distance of each new mask from the window of masks before it, over chance, a line for each seed.

    None where no run drew as many masks as make two points.

    Args:
        rows: the table "distances".
        names: labels of the searches in their order.
        watches: by name of the search; without one, the fewest masks make a window.
        stopped: environment steps trained by each run that ended before its budget.
    """
    lines = {row.run: _largest(row, watches.get(row.run.search)) for row in rows}
    shown = [name for name in names if any(run.label == name and len(line[0]) > 1 for run, line in lines.items())]
    if not shown:
        return None
    figure, panels = looks.panels(shown, "environment steps", "largest distance / chance (log scale)")
    for name, axes in zip(shown, panels, strict=True):
        own = {run: line for run, line in lines.items() if run.label == name and len(line[0])}
        ended = sum(_line(axes, line, stopped.get(run)) for run, line in own.items())
        for watch in {watches[run.search] for run in own if run.search in watches}:
            label = f"threshold {plain(watch.threshold, digits=2)}"
            axes.axhline(watch.threshold, color=ORANGE, linewidth=1.4, linestyle=(0, (4, 2)), label=label)
        head = f"{name}: {ended} of {counted(len(own), 'run')} stopped"
        axes.set_title(head, fontsize=10.5, color=INK, loc="left", fontweight="bold")
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value, digits=2)))
        axes.yaxis.set_minor_formatter(NullFormatter())
        looks.thousands(axes)
    panels[0].plot([], [], color=BLUE, linewidth=1.2, label="one run")
    panels[0].plot([], [], "o", color=ORANGE, markersize=6, label="stopped here")
    looks.title(figure, "Early-bird: when the mask settles")
    looks.legend(figure, panels[0])
    return figure


Line = tuple[NDArray[np.float64], NDArray[np.float64]]
"""Steps at which a mask was drawn with a full window before it, and its largest distance from them, over chance."""


def _line(axes: Axes, line: Line, stopped: int | None) -> bool:
    """Draws one run; whether it was stopped."""
    steps, largest = line
    axes.plot(steps, largest, color=BLUE, linewidth=1.0, alpha=0.5)
    if stopped is None:
        return False
    axes.plot(steps[-1], largest[-1], "o", color=ORANGE, markersize=6, zorder=3)
    return True


def _largest(row: Series, watch: Watch | None) -> Line:
    names = ("step", "other_step", "distance", "chance")
    step, other, distance, chance = (np.asarray(row.columns[name], dtype=np.float64) for name in names)
    newest, relative = np.maximum(step, other), distance / chance
    steps = np.array([each for each in np.unique(newest) if sum(newest == each) >= (watch.window if watch else 1)])
    return steps, np.array([relative[newest == each].max() for each in steps])
