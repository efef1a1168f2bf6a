"""Families of tests: p values of which the smallest has to pay for the company it was chosen from."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .statistics import Scores, checked


def holm(p: ArrayLike) -> Scores:
    """P values adjusted by Holm's step-down: those below 0.05 hold together, with an error of 5 % over all of them.

    The smallest of m is multiplied by m, the next by m - 1, ..., none falls below a smaller one's. It needs nothing of
    how the tests depend on each other, and never loses to Bonferroni. Holm 1979, "A Simple Sequentially Rejective
    Multiple Test Procedure", Scandinavian Journal of Statistics 6(2), www.jstor.org/stable/4615733.

    Args:
        p: of the family's tests, shape (tests,).

    Returns:
        Adjusted p values of the same shape and order, at most 1.

    Raises:
        ValueError: `p` is empty, not 1-D, or not all between 0 and 1.

    >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
    [0.03, 0.06, 0.06]
    """
    values = checked("p", p, dimensions=(1,))
    if values.min() < 0 or values.max() > 1:
        raise ValueError(f"p must lie between 0 and 1, got {values.min():g} to {values.max():g}")
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1)).clip(max=1.0)
    return adjusted
