"""Stability over training seeds: barriers held against what evaluation alone shows as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rl_tickets.evaluation.contrasts import Contrast, contrast
from rl_tickets.evaluation.statistics import CONFIDENCE, Interval, checked


@dataclass(frozen=True)
class Stability:
    """What the seeds say about a barrier; made by `stability`.

    Args:
        barrier: mean over seeds.
        interval: of it, two-sided 95 % (Student).
        floor: what 95 % of the seeds' noise floors lie below.
        excess: barriers less noise floors, paired by seed.
    """

    barrier: float
    interval: Interval
    floor: float
    excess: Contrast

    @property
    def seeds(self) -> int:
        """Training seeds."""
        return self.excess.seeds

    @property
    def stable(self) -> bool | None:
        """False: the barrier is shown to exceed the floor. True: its interval ends below what noise shows in 95 % of
        the seeds. None: neither, or too few seeds."""
        if not self.excess.enough:
            return None
        if self.excess.interval.low > 0:
            return False
        return True if self.interval.high <= self.floor else None

    @property
    def verdict(self) -> str:
        """In one word or three: stable, unstable, undecided, too few seeds."""
        if not self.excess.enough:
            return "too few seeds"
        return {True: "stable", False: "unstable", None: "undecided"}[self.stable]


def stability(barriers: ArrayLike, floors: ArrayLike) -> Stability:
    """Barriers of several training seeds against their noise floors.

    Args:
        barriers: one for each seed, shape (seeds,).
        floors: the noise floor of the same seed's agent, shape (seeds,), in the same units.

    Raises:
        ValueError: shapes that differ, or values that are empty or not finite.

    Example:
        >>> stability([90, 110, 95, 105, 100, 98], [3, 2, 4, 3, 2, 3]).verdict
        'unstable'
        >>> stability([3, 2, 3, 3, 2, 3], [3, 2, 4, 3, 2, 3]).verdict
        'stable'
    """
    found, noise = checked("barriers", barriers, (1,)), checked("floors", floors, (1,))
    mean = contrast(found, np.zeros_like(found))
    return Stability(mean.difference, mean.interval, float(np.quantile(noise, CONFIDENCE)), contrast(found, noise))
