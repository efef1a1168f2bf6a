"""How many runs fail: shares, their intervals, and by how much one share exceeds another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from .statistics import CONFIDENCE, Interval, Scores

FAILED_BELOW = 0.5
"""The normalised score below which a run has failed."""
EXCESS = 0.10
"""How many more runs may fail, as a share of all: ten points."""


def wilson(failed: ArrayLike, runs: ArrayLike, z: ArrayLike) -> tuple[Scores, Scores]:
    """Both ends of Wilson's score interval of a share, each `z` standard errors away; all broadcast.

    Wilson 1927, "Probable Inference, the Law of Succession, and Statistical Inference", doi:10.2307/2276774.
    """
    # As scipy.stats.binomtest(failed, runs).proportion_ci(method="wilson"), which takes one pair of numbers at a time.
    count, total, width = (np.asarray(values, dtype=np.float64) for values in (failed, runs, z))
    squared = width**2
    centre = count + squared / 2
    half = width * np.sqrt(count * (total - count) / total + squared / 4)
    low, high = (centre - half) / (total + squared), (centre + half) / (total + squared)
    return np.where(count == 0, 0.0, low), np.where(count == total, 1.0, high)


def share_interval(failed: int, runs: int) -> Interval:
    """The two-sided 95 % interval of a share of failed runs (Wilson).

    >>> round(share_interval(0, 20).high, 3)
    0.161
    """
    low, high = wilson(failed, runs, stats.norm.isf((1 - CONFIDENCE) / 2))
    return Interval(float(low), float(high))


def excess_bound(failed: ArrayLike, runs: ArrayLike, others: ArrayLike, other_runs: ArrayLike, z: ArrayLike) -> Scores:
    """The upper bound, at `z` standard errors, of the first share less the second; all broadcast.

    Newcombe 1998, "Interval Estimation for the Difference Between Independent Proportions: Comparison of Eleven
    Methods", method 10, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I.
    """
    share = np.asarray(failed, dtype=np.float64) / np.asarray(runs)
    other = np.asarray(others, dtype=np.float64) / np.asarray(other_runs)
    high, low = wilson(failed, runs, z)[1], wilson(others, other_runs, z)[0]
    return np.asarray(share - other + np.hypot(high - share, other - low), dtype=np.float64)


def excess_p(failed: ArrayLike, runs: ArrayLike, others: ArrayLike, other_runs: ArrayLike) -> Scores:
    """The least one-sided level at which `excess_bound` lies below `EXCESS`; 1 where the shares themselves do not."""
    shape = np.broadcast_shapes(*(np.shape(values) for values in (failed, runs, others, other_runs)))
    low, high = np.zeros(shape), np.full(shape, 40.0)
    for _ in range(50):  # The bound grows with z: halve until it is found.
        middle = (low + high) / 2
        below = excess_bound(failed, runs, others, other_runs, middle) < EXCESS
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    share = np.asarray(failed, dtype=np.float64) / np.asarray(runs)
    excess = share - np.asarray(others, dtype=np.float64) / np.asarray(other_runs)
    return np.where(excess < EXCESS, stats.norm.sf(low), 1.0)


def count(scores: NDArray[Any], failed_below: float) -> NDArray[np.int64]:
    """Failed runs along the last axis."""
    return np.asarray(np.sum(scores < failed_below, axis=-1), dtype=np.int64)
