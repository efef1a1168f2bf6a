"""Observations an agent has seen, and others like them, as its policy sees them."""

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from rl_tickets.agents.exact import Observations, rows, take

WIDE = 100.0
"""A bound beyond which a box is as good as unbounded: nobody draws uniformly from CartPole's velocities."""


def recorded(model: BaseAlgorithm, count: int, seed: int = 0) -> Observations | None:
    """Up to so many observations that the agent's buffers hold, normalised as its policy sees them; None if none.

    Args:
        model: any torch `BaseAlgorithm`.
        count: at most so many, drawn without replacement.
        seed: of the draw.
    """
    replay, rollout = getattr(model, "replay_buffer", None), getattr(model, "rollout_buffer", None)
    space, normalize = model.observation_space, model.get_vec_normalize_env()
    if replay is not None and replay.size():
        found = _flat(replay.observations, space, replay.size())
        # A replay buffer holds what the environment gave; a rollout buffer what the policy saw.
        found = found if normalize is None else normalize.normalize_obs(found)
    elif rollout is not None and rollout.full:
        found = _flat(rollout.observations, space)
    else:
        return None
    return take(found, np.sort(np.random.default_rng(seed).permutation(rows(found))[:count]))


def _flat(stored: Any, space: spaces.Space[Any], steps: int | None = None) -> Any:
    """(steps, environments, ...), or what SB3 has flattened to train on, as (rows, ...)."""
    if isinstance(space, spaces.Dict):
        return {key: _flat(stored[key], part, steps) for key, part in space.items()}
    return stored[:steps].reshape(-1, *(space.shape or ()))


def drawn(model: BaseAlgorithm, count: int, seed: int = 0, near: Observations | None = None) -> Observations:
    """Observations drawn from the agent's space; where it is a box of floats and some were recorded, around those.

    Args:
        model: any torch `BaseAlgorithm`.
        count: how many.
        seed: of the draw.
        near: recorded observations, to each of which noise is added as wide as they vary.
    """
    generator = np.random.default_rng(seed)
    normalized = isinstance(model.get_vec_normalize_env(), VecNormalize)
    found: Observations = _draw(model.observation_space, count, generator, near, normalized)
    return found


def _draw(space: spaces.Space[Any], count: int, generator: np.random.Generator, near: Any, normalized: bool) -> Any:
    if isinstance(space, spaces.Dict):
        parts = {key: near[key] if near is not None else None for key in space.spaces}
        return {key: _draw(part, count, generator, parts[key], normalized) for key, part in space.items()}
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        return _draw_integers(space, count, generator)
    shape = (count, *space.shape)
    if near is not None and len(near) > 1:
        chosen = near[generator.integers(len(near), size=count)]
        return (chosen + generator.standard_normal(shape) * near.std(0)).astype(space.dtype)
    low, high = np.maximum(space.low, -WIDE), np.minimum(space.high, WIDE)
    narrow = (space.low > -WIDE) & (space.high < WIDE) & (not normalized)
    uniform = generator.uniform(low, np.maximum(low, high), shape)
    return np.where(narrow, uniform, generator.standard_normal(shape)).astype(space.dtype)


def _draw_integers(space: spaces.Space[Any], count: int, generator: np.random.Generator) -> npt.NDArray[Any]:
    if isinstance(space, spaces.Discrete):
        return generator.integers(space.n, size=count)
    if isinstance(space, spaces.MultiDiscrete):
        return generator.integers(space.nvec, size=(count, *space.nvec.shape))
    if isinstance(space, spaces.MultiBinary):
        return generator.integers(2, size=(count, *space.shape), dtype=np.int8)
    assert isinstance(space, spaces.Box)
    low, high = np.asarray(space.low, dtype=np.int64), np.asarray(space.high, dtype=np.int64)
    return generator.integers(low, high, size=(count, *space.shape), endpoint=True).astype(space.dtype)
