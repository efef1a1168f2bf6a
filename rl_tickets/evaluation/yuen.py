"""Yuen's test: whether a trimmed mean is above another, less a margin; of many pairs of samples at once."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from scipy import stats

from .statistics import CONFIDENCE, TRIM, Scores


class Yuen(NamedTuple):
    """Yuen's test of many pairs of samples; each of shape (pairs,)."""

    difference: Scores
    lower: Scores
    p: Scores


def yuen(sparse: Scores, dense: Scores, margin: float) -> Yuen:
    """Whether the trimmed mean of each row of `sparse` is above that of `dense` less the margin.

    Args:
        sparse: shape (pairs, seeds).
        dense: shape (pairs, dense seeds).
        margin: in units of the scores.
    """
    difference = stats.trim_mean(sparse, TRIM, axis=1) - stats.trim_mean(dense, TRIM, axis=1)
    if min(sparse.shape[1], dense.shape[1]) < 2:
        return Yuen(difference, np.full_like(difference, -np.inf), np.ones_like(difference))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # Scores that are all equal, which is common at the top.
        test = stats.ttest_ind(sparse + margin, dense, axis=1, trim=TRIM, equal_var=False, alternative="greater")
        lower = np.asarray(test.confidence_interval(CONFIDENCE).low) - margin
    # What is left between the trimmed ends is all equal in both: nothing is uncertain, and rounding must not decide.
    sure = (_spread(sparse) + _spread(dense)) <= 1e-12 * (1 + np.abs(difference))
    return Yuen(
        difference,
        np.where(sure, difference, lower),
        np.where(sure, np.where(difference > -margin, 0.0, 1.0), test.pvalue),
    )


def _spread(scores: Scores) -> Scores:
    """Of what is left between the trimmed ends, shape (pairs,)."""
    ordered = np.sort(scores, axis=1)
    cut = int(TRIM * scores.shape[1])
    return np.asarray(ordered[:, scores.shape[1] - cut - 1] - ordered[:, cut], dtype=np.float64)
