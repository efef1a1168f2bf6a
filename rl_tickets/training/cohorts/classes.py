"""Class numbers: observations that SB3 encodes one-hot; a compiled encoding takes what is none without a word."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from rl_tickets.training.cohorts.stepping import Array


def classes_of(space: gym.Space[Any]) -> Array | None:
    """How many classes each number of an observation has, in the space's shape; None where it is no class number."""
    if isinstance(space, spaces.Discrete):
        return np.array(space.n)
    return space.nvec if isinstance(space, spaces.MultiDiscrete) else None


def demand_classes(classes: Array | None, observations: Array) -> None:
    """Raises ValueError, as SB3's encoding does, for an observation that is none of its classes.

    Args:
        classes: see `classes_of`.
        observations: of several environments.
    """
    if classes is not None and ((observations < 0) | (observations >= classes)).any():
        raise ValueError(
            f"the environment gave an observation among {observations.tolist()} that is no class number: they go from "
            f"0 to {(classes - 1).tolist()}"
        )
