"""Statistics over training seeds, after Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the
Statistical Precipice" (arXiv 2108.13264)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Scores = NDArray[np.float64]

CONFIDENCE = 0.95
TRIM = 0.25
"""Of the scores that are left out at each end: what is left is the interquartile mean."""


@dataclass(frozen=True)
class Interval:
    """A two-sided confidence interval, in the units of the scores."""

    low: float
    high: float


def iqm(scores: ArrayLike) -> float:
    """Interquartile mean: the mean of all entries without the lowest and the highest quarter (rounded down).

    `scores` has shape (seeds,) or (seeds, tasks). Raises ValueError if it is empty or not finite.

    >>> iqm([0.0, 1.0, 2.0, 100.0])
    1.5
    """
    return float(stats.trim_mean(checked("scores", scores), TRIM, axis=None))


def interval(
    scores: ArrayLike,
    statistic: Callable[[Scores], float] = iqm,
    *,
    confidence: float = CONFIDENCE,
    resamples: int = 20_000,
    seed: int = 0,
) -> Interval:
    """Stratified bootstrap interval of `statistic`: seeds are resampled for each task apart.

    `scores` has shape (seeds,) or (seeds, tasks); `statistic` maps an array of that shape to a number. The
    same `seed` gives the same interval. A nominal 95 % covers about 90 % with 5 seeds, 94 % with 20. Raises
    ValueError for fewer than 2 seeds, for scores that are not finite and for a confidence outside (0, 1).

    >>> interval([1.0, 1.0, 1.0])
    Interval(low=1.0, high=1.0)
    """
    found = checked("scores", scores)
    if len(found) < 2:
        raise ValueError(f"an interval needs at least 2 seeds, got {len(found)}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, like 0.95, got {confidence}")

    def of_resamples(*tasks: Scores, axis: int) -> Scores:
        drawn = np.stack(tasks, axis=-1).reshape(-1, *found.shape)
        if statistic is iqm:  # all resamples at once, tens of times as fast as one by one
            return np.asarray(stats.trim_mean(drawn.reshape(len(drawn), -1), TRIM, axis=1))
        return np.array([statistic(sample) for sample in drawn])

    # Percentile, not BCa: over normal, lognormal, saturated and bimodal scores of 1 and 4 tasks it covered
    # the true IQM in 0.88-0.92, 0.90-0.94, 0.93-0.95 of 600 simulations with 5, 10, 20 seeds, BCa in
    # 0.84-0.92, 0.90-0.95, 0.93-0.95. BCa turns nan where scores saturate. rliable, too, uses percentile.
    bounds = stats.bootstrap(
        tuple(found.reshape(len(found), -1).T),
        of_resamples,
        n_resamples=resamples,
        confidence_level=confidence,
        method="percentile",
        vectorized=True,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(bounds.low), float(bounds.high))


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """Probability that a run of X beats a run of Y, ties counting half: mean over all pairs, then over tasks.

    `x` and `y` have shape (seeds,) or (seeds, tasks); they may differ in seeds, not in tasks (ValueError).

    >>> probability_of_improvement([1.0, 2.0], [1.0, 0.0])
    0.875
    """
    first, second = checked("x", x), checked("y", y)
    if first.shape[1:] != second.shape[1:]:
        raise ValueError(f"x and y must have the same tasks, got shapes {first.shape} and {second.shape}")
    return float(np.mean((first[:, None] > second) + 0.5 * (first[:, None] == second)))


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> Scores:
    """Fraction of runs that score above each threshold, over all seeds and tasks.

    `scores` has shape (seeds,) or (seeds, tasks), `thresholds` (thresholds,) in the same units; the result
    has shape (thresholds,). Raises ValueError if either is empty or not finite.

    >>> performance_profile([0.2, 0.5, 0.9], [0.0, 0.5, 1.0]).round(2).tolist()
    [1.0, 0.33, 0.0]
    """
    runs, levels = checked("scores", scores).ravel(), checked("thresholds", thresholds, dimensions=(1,))
    return np.asarray(np.mean(runs > levels[:, None], axis=1), dtype=np.float64)


@dataclass(frozen=True)
class Anchors:
    """The two mean returns of one environment that become the scores 0 and 1."""

    random: float
    dense: float

    def normalise(self, returns: ArrayLike) -> Scores:
        """Returns as scores of the same shape: 0 is the random policy, 1 the IQM of the dense agents.

        Raises ValueError if the anchors are equal or not finite. Dense below random turns the scale around.

        >>> Anchors(random=20.0, dense=500.0).normalise([20.0, 260.0, 500.0]).tolist()
        [0.0, 0.5, 1.0]
        """
        for name, value in (("random", self.random), ("dense", self.dense)):
            if not np.isfinite(value):
                raise ValueError(f"the {name} return must be finite to normalise by it, got {value}")
        if self.random == self.dense:
            raise ValueError(
                f"dense and random agents both return {self.dense}, which leaves no scale to normalise to: "
                "train the dense agents for longer"
            )
        return (np.asarray(returns, dtype=np.float64) - self.random) / (self.dense - self.random)


def checked(name: str, values: ArrayLike, dimensions: tuple[int, ...] = (1, 2)) -> Scores:
    """The values as floats; ValueError where they have other dimensions, are empty or not finite."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim not in dimensions:
        wanted = "1-D" if dimensions == (1,) else "of shape (seeds,) or (seeds, tasks)"
        raise ValueError(f"{name} must be {wanted}, got shape {array.shape}")
    if array.size == 0:
        raise ValueError(f"{name} is empty: give at least one entry")
    if not np.isfinite(array).all():
        index = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise ValueError(
            f"{name}{index} is {array[tuple(index)]}: every run needs a finite score, "
            "so find out why that run has none or leave its seed out everywhere"
        )
    return array
