"""Rows of the benchmark's table: a figure with its spread, and the goal it is held against."""

import statistics
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """Median, smallest and largest of several measurements."""

    measured: str
    median: float
    low: float
    high: float
    goal: str


def row(name: str, values: Sequence[float], goal: str = "") -> Row:
    """Of measurements of one figure."""
    return Row(name, statistics.median(values), min(values), max(values), goal)


def pairs_of(first: Callable[[], float], second: Callable[[], float], pairs: int) -> list[tuple[float, float]]:
    """Both measured in turn, the order swapped every time."""
    found = []
    for index in range(pairs):
        if index % 2:
            b, a = second(), first()
        else:
            a, b = first(), second()
        found.append((a, b))
    return found


def ratios(first: Callable[[], float], second: Callable[[], float], pairs: int) -> list[float]:
    """first / second, measured in turn."""
    return [a / b for a, b in pairs_of(first, second, pairs)]
