"""Power: how often an agent that is exactly as good as dense would be found to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .failures import EXCESS, FAILED_BELOW, count, excess_bound
from .statistics import Scores, checked
from .verdicts import LEVEL, MINIMUM_SEEDS
from .yuen import yuen

POOL = 5
"""Dense runs for each sparse one."""
MOST = 1_280
"""Seeds beyond which no number is looked for."""


@dataclass(frozen=True)
class Power:
    """How often an agent with exactly dense's distribution is found typical, reliable and matching; from 0 to 1."""

    seeds: int
    dense_seeds: int
    densities: int
    typical: float
    reliable: float
    matches: float

    def __str__(self) -> str:
        found = f"typical {self.typical:.2f}, reliable {self.reliable:.2f}, matches {self.matches:.2f}"
        return f"{self.seeds} seeds against {self.dense_seeds} dense: {found}"


def power(
    dense_scores: ArrayLike,
    *,
    seeds: int,
    dense_seeds: int | None = None,
    margin: float = 0.05,
    failed_below: float = FAILED_BELOW,
    densities: int = 1,
    trials: int = 2_000,
    seed: int = 0,
) -> Power:
    """Resample dense runs as sparse and as dense ones, and count how often `compare` finds what is so.

    What the runs at hand do not show it cannot know: where none of 20 failed, one in ten still may.

    Args:
        dense_scores: of the dense runs at hand, shape (runs,), normalised by `Anchors`.
        seeds: of the sparse agent.
        dense_seeds: it is compared with; five times as many by default.
        margin, failed_below: as in `compare`.
        densities: compared at once: verdicts are then at the level that the first of them must pass (Holm's 0.05 /
            densities), which gives a lower bound of the power.
        trials: simulated experiments.
        seed: of the resampling; the same gives the same power.

    Raises:
        ValueError: scores that are not 1-D, empty or not finite, or a count below 1.

    >>> power([1.0] * 19 + [0.3], seeds=20).reliable < 0.5 < power([1.0] * 19 + [0.3], seeds=80).reliable
    True
    """
    runs = checked("dense_scores", dense_scores, (1,))
    pool = POOL * seeds if dense_seeds is None else dense_seeds
    counts = {"seeds": seeds, "dense_seeds": pool, "densities": densities, "trials": trials}
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    sparse, dense = _resampled(runs, (seeds, pool), trials, seed)
    typical, reliable, matches = verdicts(sparse, dense, margin, failed_below, densities)
    return Power(seeds, pool, densities, float(typical.mean()), float(reliable.mean()), float(matches.mean()))


def _resampled(runs: Scores, sizes: tuple[int, int], trials: int, seed: int) -> tuple[Scores, Scores]:
    """Sparse and dense runs of every trial, of both sizes."""
    rng = np.random.default_rng(seed)
    sparse, dense = (rng.choice(runs, size=(trials, size)) for size in sizes)
    return sparse, dense


def verdicts(
    sparse: Scores, dense: Scores, margin: float = 0.05, failed_below: float = FAILED_BELOW, densities: int = 1
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What `compare` says of each row of (trials, seeds) and (trials, dense seeds): typical, reliable, matches."""
    typical = yuen(sparse, dense, margin).p < LEVEL / densities
    typical &= min(sparse.shape[1], dense.shape[1]) >= MINIMUM_SEEDS
    reliable = _reliable(sparse, dense, failed_below, densities)
    return typical, reliable, typical & reliable


def _reliable(sparse: Scores, dense: Scores, failed_below: float, densities: int) -> np.ndarray:
    counts = (count(sparse, failed_below), sparse.shape[1], count(dense, failed_below), dense.shape[1])
    enough = min(sparse.shape[1], dense.shape[1]) >= MINIMUM_SEEDS
    found: np.ndarray = (excess_bound(*counts, stats.norm.isf(LEVEL / densities)) < EXCESS) & enough
    return found


def seeds_needed(
    dense_scores: ArrayLike,
    power_wanted: float = 0.8,
    *,
    margin: float = 0.05,
    failed_below: float = FAILED_BELOW,
    densities: int = 1,
    trials: int = 1_000,
    seed: int = 0,
) -> int | None:
    """The fewest seeds, with five dense runs for each, at which an agent exactly like dense matches so often.

    None where 1,280 are too few. Arguments and ValueErrors as of `power`, and for a power outside (0, 1).

    >>> seeds_needed([1.0] * 20)
    25
    """
    if not 0 < power_wanted < 1:
        raise ValueError(f"power_wanted must lie between 0 and 1, like 0.8, got {power_wanted}")

    settings: dict[str, Any] = {"failed_below": failed_below, "densities": densities}
    runs = checked("dense_scores", dense_scores, (1,))

    def suffices(seeds: int) -> bool:
        samples = _resampled(runs, (seeds, POOL * seeds), trials, seed)
        # What matches is reliable: most numbers fall without the dearer test.
        if _reliable(*samples, **settings).mean() < power_wanted:
            return False
        return bool(verdicts(*samples, margin, **settings)[2].mean() >= power_wanted)

    high = MINIMUM_SEEDS
    while not suffices(high):
        high *= 2
        if high > MOST:
            return None
    low = high // 2 if high > MINIMUM_SEEDS else high - 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high
