"""Stability over training seeds: barriers held against what evaluation alone shows as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from numpy.typing import ArrayLike

from rl_tickets.evaluation.contrasts import Contrast, contrast, mean_over_seeds
from rl_tickets.evaluation.families import holm
from rl_tickets.evaluation.statistics import CONFIDENCE, Interval, checked


@dataclass(frozen=True)
class Stability:
    """What the seeds say about a barrier; made by `stability`.

    Args:
        barrier: mean over seeds.
        interval: of it, two-sided 95 % (Student).
        floor: noise floor, mean over seeds.
        excess: barriers less noise floors, paired by seed.
        margin: up to which an excess does not count, in units of the return.
        p: of an excess that is the margin, two-sided; adjusted where several are judged together.
    """

    barrier: float
    interval: Interval
    floor: float
    excess: Contrast
    margin: float
    p: float

    @property
    def seeds(self) -> int:
        """Training seeds."""
        return self.excess.seeds

    @property
    def stable(self) -> bool | None:
        """False: barriers are shown to exceed their noise floors by more than the margin. True: by less. None: neither
        is shown, or there are too few seeds."""
        if not self.excess.enough or self.p >= 1 - CONFIDENCE:
            return None
        return self.excess.difference < self.margin

    @property
    def verdict(self) -> str:
        """In one word or three: stable, unstable, undecided, too few seeds."""
        if not self.excess.enough:
            return "too few seeds"
        return {True: "stable", False: "unstable", None: "undecided"}[self.stable]


def stability(barriers: ArrayLike, floors: ArrayLike, *, margin: float = 0.0) -> Stability:
    """Barriers of several training seeds against their noise floors.

    Agents that always return the same have no noise: without a margin the smallest barrier that is shown makes them
    unstable, while noisy agents hide large ones. Agents that are to be held against each other need one margin.

    Args:
        barriers: one for each seed, shape (seeds,).
        floors: the noise floor of the same seed's agent, shape (seeds,), in the same units.
        margin: by how much a barrier may exceed its floor, in the same units, at least 0.

    Raises:
        ValueError: shapes that differ, values that are empty or not finite, a negative margin.

    Example:
        >>> stability([90, 110, 95, 105, 100, 98], [3, 2, 4, 3, 2, 3]).verdict
        'unstable'
        >>> stability([4, 3, 4, 3, 3, 4], [3, 2, 4, 3, 2, 3], margin=5).verdict
        'stable'
    """
    if not margin >= 0:
        raise ValueError(f"the margin must be at least 0, in units of the return, got {margin}")
    found, noise = checked("barriers", barriers, (1,)), checked("floors", floors, (1,))
    mean, excess = mean_over_seeds(found), contrast(found, noise)
    beyond = contrast(found, noise + margin)
    return Stability(mean.difference, mean.interval, float(noise.mean()), excess, margin, beyond.p)


def judged_together(family: Sequence[Stability]) -> list[Stability]:
    """The same with p adjusted over all of them (Holm), so that what is called unstable, or stable, holds together.

    Example:
        >>> one = stability([9.0, 6.0, 8.0, 4.0, 7.0, 5.0], [4.0, 4.0, 3.0, 4.0, 3.0, 3.0])
        >>> one.verdict, judged_together([one] * 20)[0].verdict
        ('unstable', 'undecided')
    """
    if not family:
        return []
    adjusted = holm([each.p for each in family])
    return [replace(each, p=float(p)) for each, p in zip(family, adjusted, strict=True)]
