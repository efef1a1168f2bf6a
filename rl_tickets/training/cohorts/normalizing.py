"""SB3's `VecNormalize` for all members of a cohort at once: its running statistics stacked along the member axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecNormalize

from rl_tickets.training.cohorts.stepping import Answer, Array


@dataclass(frozen=True)
class Normalization:
    """Settings of a `VecNormalize` that the members of a cohort share."""

    norm_reward: bool
    clip_obs: float
    clip_reward: float
    gamma: float
    epsilon: float

    @classmethod
    def of(cls, env: VecEnv) -> Normalization | None:
        """Of an environment whose normalisation can be stacked; None for any other, which normalises for itself."""
        if type(env) is not VecNormalize or type(env.venv) is not DummyVecEnv:
            return None
        if not (env.training and env.norm_obs and isinstance(env.obs_rms, RunningMeanStd)):
            return None
        return cls(env.norm_reward, env.clip_obs, env.clip_reward, env.gamma, env.epsilon)


class RunningStatistics:
    """Running means and variances of all members; see `RunningMeanStd`."""

    def __init__(self, slots: int, shape: tuple[int, ...]) -> None:
        self.mean, self.var = np.zeros((slots, *shape)), np.ones((slots, *shape))
        self.count = np.zeros(slots)

    def lend(self, slot: int, statistics: RunningMeanStd) -> None:
        """Takes a member's statistics in; from now on it looks at them here."""
        self.mean[slot], self.var[slot], self.count[slot] = statistics.mean, statistics.var, statistics.count
        statistics.mean, statistics.var = self.mean[slot, ...], self.var[slot, ...]

    def update(self, at: Any, values: Array) -> None:
        """Adds a batch (members, batch, ...) for the members `at`."""
        tall = (-1, *(1 for _ in self.mean.shape[1:]))
        added, count = values.shape[1], self.count[at].reshape(tall)
        mean, total = self.mean[at], count + added
        delta = np.mean(values, axis=1) - mean
        squares = self.var[at] * count + np.var(values, axis=1) * added + np.square(delta) * count * added / total
        self.mean[at] = mean + delta * added / total
        self.var[at] = squares / total
        self.count[at] += added


class Normalizing:
    """What `VecNormalize.step_wait` does after its environments have stepped, for many members.

    Args:
        settings: that all members share.
        observations: of all members (members, environments, ...); gives the shape.
    """

    def __init__(self, settings: Normalization, observations: Array) -> None:
        slots, environments = observations.shape[:2]
        self._settings = settings
        self._observations = RunningStatistics(slots, observations.shape[2:])
        self._returns = RunningStatistics(slots, ())
        self._sums: npt.NDArray[np.float64] = np.zeros((slots, environments))

    def lend(self, slot: int, env: VecNormalize) -> None:
        """Takes a member's statistics in, at the start of a rollout; from now on it looks at them here."""
        assert isinstance(env.obs_rms, RunningMeanStd)
        self._observations.lend(slot, env.obs_rms)
        self._returns.lend(slot, env.ret_rms)
        self._sums[slot] = env.returns
        env.returns = self._sums[slot]

    @staticmethod
    def release(env: VecNormalize) -> None:
        """Gives a member statistics of its own again, with the values they have now."""
        for statistics in (env.obs_rms, env.ret_rms):
            assert isinstance(statistics, RunningMeanStd)
            statistics.mean, statistics.var = statistics.mean.copy(), statistics.var.copy()
            statistics.count = float(statistics.count)
        env.returns = env.returns.copy()

    def apply(self, slots: list[int], envs: list[VecNormalize], answers: list[Answer]) -> list[Answer]:
        """The answers of those members' environments, normalised; the statistics learn from them."""
        at: Any = slice(None) if len(slots) == len(self._sums) else np.array(slots)
        settings, statistics = self._settings, self._observations
        seen = np.stack([observations for observations, _, _, _ in answers])
        rewards = np.stack([raw for _, raw, _, _ in answers])
        dones = np.stack([ended for _, _, ended, _ in answers])
        statistics.update(at, seen)
        spread = np.sqrt(statistics.var[at] + settings.epsilon)
        shown = np.clip((seen - statistics.mean[at][:, None]) / spread[:, None], -settings.clip_obs, settings.clip_obs)
        shown = shown.astype(np.float32)
        sums = self._sums[at] * settings.gamma + rewards
        self._returns.update(at, sums)
        earned = rewards
        if settings.norm_reward:
            scale = np.sqrt(self._returns.var[at] + settings.epsilon)[:, None]
            earned = np.clip(rewards / scale, -settings.clip_reward, settings.clip_reward).astype(np.float32)
        self._sums[at] = np.where(dones, 0, sums)
        for slot, env, (observations, raw, ended, infos) in zip(slots, envs, answers, strict=True):
            assert isinstance(env.obs_rms, RunningMeanStd)
            env.obs_rms.count, env.ret_rms.count = self._observations.count[slot], self._returns.count[slot]
            env.old_obs, env.old_reward = observations, raw
            for index in np.flatnonzero(ended):
                infos[index]["terminal_observation"] = env.normalize_obs(infos[index]["terminal_observation"])
        return [(o, r, answer[2], answer[3]) for o, r, answer in zip(shown, earned, answers, strict=True)]
