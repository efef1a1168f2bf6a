"""An axis of returns that enlarges its top, where agents that solve their task crowd together."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from numpy.typing import NDArray

from .looks import GRID
from .wording import number

TOP = 0.1
"""Of the axis's range, what is enlarged."""
SHARE = 0.4
"""Of the axis's length, what the top takes then."""
CROWDED = 0.5
"""Of the scores, from which on the top is enlarged."""
_ROUND = MaxNLocator(3, steps=[1, 2, 2.5, 5, 10])


def crowded(scores: Sequence[float], low: float, high: float) -> bool:
    """Whether so many scores lie at the top of the range that an even axis would hide their differences.

    >>> crowded([100.0, 99.0, 20.0], 0.0, 100.0)
    True
    """
    finite = [score for score in scores if math.isfinite(score)]
    knee = high - TOP * (high - low)
    return sum(score >= knee for score in finite) > CROWDED * len(finite)


def enlarge_top(axes: Axes, low: float, high: float) -> None:
    """Draws the top of the range from `low` to `high` several times as large as the rest, shaded."""
    knee = high - TOP * (high - low)
    values, places = np.array([low, knee, high]), np.array([0.0, 1 - SHARE, 1.0])

    def forward(value: NDArray[np.float64]) -> NDArray[np.float64]:
        return _lines(np.asarray(value, dtype=np.float64), values, places)

    def backward(place: NDArray[np.float64]) -> NDArray[np.float64]:
        return _lines(np.asarray(place, dtype=np.float64), places, values)

    axes.set_yscale("function", functions=(forward, backward))
    below = [tick for tick in _ROUND.tick_values(low, knee) if low <= tick < knee - 0.05 * (high - low)]
    above = [tick for tick in _ROUND.tick_values(knee, high) if knee <= tick <= high]
    axes.yaxis.set_major_locator(FixedLocator([*below, *above]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value).rstrip("0").rstrip(".")))
    axes.axhspan(knee, high, color=GRID, alpha=0.45, linewidth=0, zorder=0)


def _lines(at: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Straight lines through three points, that go on beyond the outer two."""
    slopes = np.diff(y) / np.diff(x)
    upper = at > x[1]
    lines: NDArray[np.float64] = y[1] + np.where(upper, slopes[1], slopes[0]) * (at - x[1])
    return lines
