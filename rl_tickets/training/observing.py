"""What an agent is shown: an array, or a dictionary of arrays by name; and of some, which actions are allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

MASKS = "action_masks"
"""The method by which environments tell which actions are allowed, and the field of the rollouts of such agents."""


def each(act: Callable[..., Any], first: Any, *others: Any) -> Any:
    """What comes of an array of observations, or, in a dictionary, of each of its arrays with those of that name.

    Example:
        >>> each(sum, {"near": [1, 2], "far": [3]}), each(sum, [1, 2])
        ({'near': 3, 'far': 3}, 3)
    """
    if isinstance(first, dict):
        return {name: act(part, *(other[name] for other in others)) for name, part in first.items()}
    return act(first, *others)


def spaces_of(space: gym.Space[Any]) -> gym.Space[Any] | dict[str, gym.Space[Any]]:
    """The space of an array, or of each array of a dictionary."""
    return dict(space.spaces) if isinstance(space, spaces.Dict) else space


def as_shown(dtype: npt.DTypeLike) -> np.dtype[Any]:
    """Of numbers that hold all of a space's, and what `VecNormalize` makes of them: SB3 acts on these.

    Its buffers keep the space's own numbers, those of integers cut off.
    """
    return np.result_type(dtype, np.float32)
