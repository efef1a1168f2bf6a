"""Contrasts: a ticket less its own control, paired by training seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .families import holm
from .statistics import CONFIDENCE, Interval, checked

MINIMUM_PAIRS = 5


@dataclass(frozen=True)
class Contrast:
    """What the seeds say about a ticket against its control, in units of the scores; made by `contrast`."""

    seeds: int
    difference: float
    """Mean over seeds of ticket less control."""
    interval: Interval
    """Two-sided 95 % (Student); without end where one seed leaves no spread."""
    p: float
    """Two-sided, of no difference."""

    @property
    def enough(self) -> bool:
        """Whether there are seeds enough to call a difference shown."""
        return self.seeds >= MINIMUM_PAIRS

    @property
    def verdict(self) -> str:
        """The result in one sentence."""
        span = f"[{self.interval.low:+.3f}, {self.interval.high:+.3f}]"
        found = f"{self.difference:+.3f} {span}, p = {self.p:.2g}, {self.seeds} seeds"
        if not self.enough:
            return f"too few seeds ({found}; at least {MINIMUM_PAIRS} are needed)"
        if self.p >= 1 - CONFIDENCE:
            return f"no difference shown ({found})"
        return f"{'better' if self.difference > 0 else 'worse'} than its control ({found})"


def contrast(ticket_scores: ArrayLike, control_scores: ArrayLike) -> Contrast:
    """The mean difference of tickets and their controls, paired by training seed.

    A ticket and its control share initialisation, environments and minibatches; what noise these share cancels.
    Interval and p are Student's, over seeds alone: with more than one density, each seed's differences are averaged
    first.

    Args:
        ticket_scores: shape (seeds,) or (seeds, densities).
        control_scores: the same shape, row i from the same training seed.

    Raises:
        ValueError: shapes that differ, or scores that are empty or not finite.

    >>> found = contrast([[1.0, 0.9], [1.0, 0.8], [0.9, 0.9], [1.0, 0.7], [1.0, 0.9]], [[0.8, 0.5]] * 5)
    >>> round(found.difference, 2), found.p < 0.001
    (0.26, True)
    """
    ticket, control = checked("ticket_scores", ticket_scores), checked("control_scores", control_scores)
    if ticket.shape != control.shape:
        raise ValueError(
            f"ticket_scores and control_scores must have the same seeds and densities, got shapes {ticket.shape} "
            f"and {control.shape}: give one of each for every training seed, in the same order"
        )
    differences = (ticket - control).reshape(len(ticket), -1).mean(axis=1)
    seeds, difference = len(differences), float(np.mean(differences))
    if seeds == 1:
        return Contrast(seeds, difference, Interval(-np.inf, np.inf), 1.0)
    rounding = 1e-12 * (1 + float(np.abs(ticket).max()))
    if np.ptp(differences) <= rounding:
        # No spread for Student to go by: the chance that all signs agree, which is the exact test of their swapping.
        p = min(1.0, 2.0 ** (1 - seeds)) if abs(difference) > rounding else 1.0
        return Contrast(seeds, difference, Interval(difference, difference), p)
    test = stats.ttest_1samp(differences, 0.0)
    span = test.confidence_interval(CONFIDENCE)
    return Contrast(seeds, difference, Interval(float(span.low), float(span.high)), float(test.pvalue))


def mean_over_seeds(values: ArrayLike) -> Contrast:
    """The mean of one number for each training seed, with Student's interval, held against 0.

    Args:
        values: shape (seeds,).

    Raises:
        ValueError: there are none, or one is not finite.

    >>> mean_over_seeds([0.5, 1.0, 0.0, 0.5, 0.5]).difference
    0.5
    """
    return contrast(values, np.zeros(np.shape(values)))


def adjusted(family: Sequence[Contrast]) -> list[float]:
    """The p of each, adjusted over all of them (Holm); of none there is none.

    >>> found = contrast([1.0, 0.9, 1.0, 0.8, 0.9], [0.8, 0.8, 0.9, 0.7, 0.8])
    >>> adjusted([found, found]) == [2 * found.p] * 2
    True
    """
    return holm([each.p for each in family]).tolist() if family else []
