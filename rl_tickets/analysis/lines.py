"""The straight line between two agents of one architecture (Frankle et al. 2020, arXiv 1912.05671)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from rl_tickets.agents.state import TrainingState

LEAST = 3
"""Points of a line: its ends, and one between them where a barrier can be."""


def grid(alphas: int | Sequence[float]) -> npt.NDArray[np.float64]:
    """Places on a line: so many, evenly spread, or those given.

    Raises:
        ValueError: fewer than three, which leave nothing between the ends, or not increasing from 0 to 1.

    Example:
        >>> grid(5).tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    given = np.linspace(0.0, 1.0, max(alphas, 0)) if isinstance(alphas, int) else alphas
    places = np.asarray(given, dtype=np.float64)
    if places.ndim != 1 or len(places) < LEAST:
        raise ValueError(
            f"a line needs at least {LEAST} values of alpha, its ends 0 and 1 and one between them; got {alphas!r}"
        )
    if places[0] != 0 or places[-1] != 1 or not (np.diff(places) > 0).all():
        raise ValueError(f"values of alpha must increase from 0 to 1, got {alphas!r}")
    return places


def between(one: TrainingState, other: TrainingState, alpha: float) -> TrainingState:
    """Weights, and statistics of VecNormalize, at a place on the line from `one` (0) to `other` (1); no other part.

    All tensors of floats are interpolated: weights, biases, `log_std`, running statistics of norms, target networks,
    loose tensors such as SAC's entropy coefficient; counters are the first's. Statistics of VecNormalize are pooled:
    those of observations of which a share alpha is the other's. Moments of optimizers have no part in a policy.

    Raises:
        ValueError: the states are of other architectures.

    Example:
        >>> from stable_baselines3 import PPO
        >>> one, other = (TrainingState.capture(PPO("MlpPolicy", "CartPole-v1", seed=seed)) for seed in (0, 1))
        >>> middle = between(one, other, 0.5).policy["action_net.weight"]
        >>> mean = (one.policy["action_net.weight"] + other.policy["action_net.weight"]) / 2
        >>> torch.allclose(middle, mean)
        True
    """
    assert one.weights is not None, "the first state has no weights"
    assert other.weights is not None, "the second state has no weights"
    weights = _mixed(one.weights, other.weights, alpha, "")
    normalizer = None
    if one.normalizer is not None and other.normalizer is not None:
        normalizer = _pooled(one.normalizer, other.normalizer, alpha)
    return replace(TrainingState(), weights=weights, normalizer=normalizer)


def same(one: TrainingState, other: TrainingState) -> bool:
    """Whether two states have the same weights."""
    ours, theirs = one.policy, other.policy
    return ours.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def _mixed(one: Any, other: Any, alpha: float, name: str) -> Any:
    if isinstance(one, Mapping):
        if one.keys() != other.keys():
            raise ValueError(f"there is no line between agents of two architectures: {set(one) ^ set(other)}")
        return {key: _mixed(part, other[key], alpha, key) for key, part in one.items()}
    if one.shape != other.shape:
        raise ValueError(
            f"there is no line between agents of two architectures: {name!r} has shapes {tuple(one.shape)} and "
            f"{tuple(other.shape)}"
        )
    # Exact at both ends, and where both are the same.
    return torch.lerp(one, other, alpha) if one.is_floating_point() else one.clone()


def _pooled(one: Any, other: Any, alpha: float) -> Any:
    """Mean and variance of two sets of observations together, of which a share alpha is the other's."""
    if "mean" not in one:
        return {key: _pooled(part, other[key], alpha) for key, part in one.items()}
    apart = np.asarray(other["mean"]) - np.asarray(one["mean"])
    return {
        "mean": one["mean"] + alpha * apart,
        "var": (1 - alpha) * one["var"] + alpha * other["var"] + alpha * (1 - alpha) * apart**2,
        "count": (1 - alpha) * one["count"] + alpha * other["count"],
    }
