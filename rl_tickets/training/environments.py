"""Environments of agents: each must have its own, and show numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rl_tickets.training.observing import each

Array = npt.NDArray[Any]


def demand_own_environments(models: Sequence[BaseAlgorithm]) -> None:
    """Refuses agents that would step the same environment.

    Raises:
        ValueError: two agents share one, or are one and the same agent.
    """
    owners: dict[int, BaseAlgorithm] = {}
    for model in models:
        for part in _parts(model.get_env()):
            if id(part) in owners and owners[id(part)] is not model:
                raise ValueError("make_model gave the same environment to two agents; make a new one each time")
            owners[id(part)] = model
    if len({id(model) for model in models}) < len(models):
        raise ValueError("the same agent is to train twice at the same time; make a new one for each place")


def share_environment(one: BaseAlgorithm, other: BaseAlgorithm) -> bool:
    """Whether a step of one agent's environments is a step of the other's."""
    return not {id(part) for part in _parts(one.get_env())}.isdisjoint(id(part) for part in _parts(other.get_env()))


def _parts(env: Any) -> Iterator[Any]:
    """Wrappers, and what they wrap, down to the environments themselves."""
    while isinstance(env, VecEnv | gym.Env):
        yield env
        for inner in getattr(env, "envs", ()):
            yield from _parts(inner)
        env = getattr(env, "venv", None) if isinstance(env, VecEnv) else getattr(env, "env", None)


def demand_numbers(model: BaseAlgorithm) -> None:
    """Where training failed or diverged: whether that came of what the environment showed.

    Raises:
        ValueError: an observation is NaN or infinite, and every action before it was a number.
    """
    for name in ("rollout_buffer", "replay_buffer"):
        buffer: Any = getattr(model, name, None)
        if buffer is None:
            continue
        # Of a rollout, all that was not yet written is zero.
        filled = buffer.pos if name == "replay_buffer" and not buffer.full else len(buffer.actions)
        bad = _bad_rows(buffer.observations, filled)
        if model._last_obs is not None and len(_bad_rows(model._last_obs)):
            bad = np.append(bad, filled)
        if len(bad) and np.isfinite(buffer.actions[: bad[0]]).all():
            raise ValueError("the environment gave observations that are not numbers (NaN or infinite)")


def _bad_rows(observations: Any, rows: int | None = None) -> Array:
    found = each(lambda part: _no_numbers(part[:rows]), observations)
    return np.flatnonzero(np.any([*found.values()], axis=0) if isinstance(found, dict) else found)


def _no_numbers(observations: Array) -> Array:
    if not np.issubdtype(observations.dtype, np.floating):
        return np.zeros(len(observations), dtype=bool)
    bad: Array = ~np.isfinite(observations)
    rows: Array = np.asarray(bad.any(axis=tuple(range(1, bad.ndim))))
    return rows
