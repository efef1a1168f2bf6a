"""Stepping a `DummyVecEnv` without the deep copies it makes of every step's observations and infos."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv
from stable_baselines3.common.vec_env.base_vec_env import VecEnvStepReturn

Array = npt.NDArray[Any]
Answer = tuple[Array, Array, Array, list[dict[str, Any]]]
"""Observations, rewards, dones, infos: what `VecEnv.step` gives."""


class _Quick(DummyVecEnv):
    """The same answers; each info is a new dict, whose values an environment must not change later."""

    def step_wait(self) -> VecEnvStepReturn:
        observations: list[Any] = []
        rewards: list[float] = []
        dones: list[bool] = []
        infos: list[dict[str, Any]] = []
        for index, env in enumerate(self.envs):
            observation, reward, terminated, truncated, info = env.step(self.actions[index])
            done = bool(terminated or truncated)
            info = {**info, "TimeLimit.truncated": bool(truncated and not terminated)}
            if done:
                info["terminal_observation"] = observation
                observation, self.reset_infos[index] = env.reset()
            observations.append(observation)
            rewards.append(float(reward))
            dones.append(done)
            infos.append(info)
        buffer = np.empty_like(self.buf_obs[None])  # type: ignore[index]
        for index, observation in enumerate(observations):
            buffer[index] = observation
        return buffer, np.array(rewards, dtype=np.float32), np.array(dones), infos


@contextmanager
def quick(env: VecEnv) -> Iterator[None]:
    """Steps the innermost environments quickly meanwhile, if they are plain ones."""
    inner = env.unwrapped
    if type(inner) is not DummyVecEnv or list(inner.keys) != [None]:
        yield
        return
    inner.__class__ = _Quick
    try:
        yield
    finally:
        inner.__class__ = DummyVecEnv
