"""How fast agents learn: what they return while they train."""

import numpy as np

from .rows import Series

MEANING = (
    "How fast they learn: the same of the mean return while training, with actions sampled, every environment step "
    "counting alike from where all searches train; 0 is a random policy, 1 what dense returned while it trained (IQM)."
)


def mean_while_training(curve: Series, *, start: int, begin: int) -> float:
    """The mean return of the episodes that ended, each stretch by how much of it lies beyond a step.

    Args:
        curve: one run of the table "curves".
        start: environment step at which the run began.
        begin: from which steps count.

    Returns:
        NaN where no episode ended there.
    """
    ends, sums, episodes = (
        np.asarray(curve.columns[name], dtype=np.float64) for name in ("timesteps", "total_return", "episodes")
    )
    lengths = np.diff(np.maximum(np.concatenate([[start], ends]), begin))
    known = np.isfinite(sums) & (episodes > 0) & (lengths > 0)
    if not known.any():
        return float("nan")
    return float(np.average(sums[known] / episodes[known], weights=lengths[known]))
