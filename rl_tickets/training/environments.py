"""Environments of agents: each must have its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import gymnasium as gym
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv


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
