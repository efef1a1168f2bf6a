"""An imagined environment: observations, rewards and endings out of thin air, of the shapes an agent is made for."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

from rl_tickets.training.cohorts.classes import classes_of
from rl_tickets.training.cohorts.stepping import Array
from rl_tickets.training.observing import MASKS, each, spaces_of

FAR = 1e6
"""Bounds beyond it count as none."""


class Imagined(VecEnv):
    """Random observations and rewards; one step in five ends an episode, half of them by a time limit.

    Args:
        num_envs: how many environments.
        observation_space: of each; of arrays, with or without names.
        action_space: of each.
        seed: two with the same seed answer alike.
    """

    def __init__(
        self, num_envs: int, observation_space: gym.Space[Any], action_space: gym.Space[Any], seed: int
    ) -> None:
        self._generator = np.random.default_rng(seed)
        super().__init__(num_envs, observation_space, action_space)

    def reset(self) -> VecEnvObs:
        observations: VecEnvObs = self._observe()
        return observations

    def step_async(self, actions: Array) -> None:
        """The answer does not depend on them."""

    def step_wait(self) -> VecEnvStepReturn:
        draw = self._generator
        dones, limits = draw.random(self.num_envs) < 0.2, draw.random(self.num_envs) < 0.5
        last = self._observe()
        infos: list[dict[str, Any]] = [{} for _ in dones]
        for index in np.flatnonzero(dones):
            infos[index]["terminal_observation"] = each(itemgetter(index), last)
            infos[index]["TimeLimit.truncated"] = bool(limits[index])
        return self._observe(), draw.normal(size=self.num_envs), dones, infos

    def _observe(self) -> Any:
        return each(self._draw, spaces_of(self.observation_space))

    def _draw(self, space: gym.Space[Any]) -> Array:
        shape = (self.num_envs, *(space.shape or ()))
        if not isinstance(space, spaces.Box):
            count = classes_of(space)
            return self._generator.integers(0, 2 if count is None else count, shape).astype(space.dtype)
        low, high = np.broadcast_to(space.low, shape), np.broadcast_to(space.high, shape)
        if np.issubdtype(space.dtype, np.integer):
            return self._generator.integers(low, high, endpoint=True).astype(space.dtype)
        found = self._generator.normal(size=shape)
        floor, ceiling = np.abs(low) < FAR, np.abs(high) < FAR
        found = np.where(floor & ~ceiling, low + np.abs(found), found)
        found = np.where(ceiling & ~floor, high - np.abs(found), found)
        within = np.where(floor & ceiling, low, 0), np.where(floor & ceiling, high, 1)
        return np.where(floor & ceiling, self._generator.uniform(*within), found).astype(space.dtype)

    def _masks(self) -> Array:
        """Which actions are allowed, of each choice at least one."""
        classes = classes_of(self.action_space)
        choices = [2] * spaces.flatdim(self.action_space) if classes is None else np.atleast_1d(classes)
        allowed = [self._generator.random(count) < 0.7 for count in choices]
        for of_choice in allowed:
            of_choice[self._generator.integers(len(of_choice))] = True
        return np.concatenate(allowed)

    def close(self) -> None:
        """Nothing is open."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        if attr_name == "render_mode":
            return [None] * self.num_envs
        if attr_name == MASKS:
            return [self._masks] * self.num_envs
        raise AttributeError(f"an imagined environment has no attribute {attr_name!r}")

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        raise AttributeError(f"an imagined environment has no attribute {attr_name!r}")

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        if method_name == MASKS:
            return [self._masks() for _ in range(self.num_envs)]
        raise AttributeError(f"an imagined environment has no method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: type[gym.Wrapper[Any, Any, Any, Any]], indices: Any = None) -> list[bool]:
        return [False] * self.num_envs

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        return [None] * self.num_envs
