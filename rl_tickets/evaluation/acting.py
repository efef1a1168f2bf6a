"""Acting: what a model does with raw observations of an evaluation, or a uniformly random policy in its place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import nullcontext
from copy import deepcopy
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from rl_tickets.evaluation.draws import DrawnAhead, EpisodeDraws
from rl_tickets.evaluation.seeding import seeded
from rl_tickets.training.observing import each


class Predicts(Protocol):
    """Anything that chooses actions as SB3's agents do."""

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[npt.NDArray[Any], Any]:
        """Actions for a batch of observations, and the recurrent state."""


class RandomPolicy:
    """Draws actions uniformly from an action space: the anchor 0 of normalised scores.

    Args:
        action_space: of the environment.
        seed: of the draws; the space itself is copied, its own generator not touched.
    """

    def __init__(self, action_space: gym.Space[Any], seed: int = 0) -> None:
        self._space = deepcopy(action_space)
        self._space.seed(seed)

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[npt.NDArray[Any], Any]:
        """A random action for each observation of the batch; a mask of allowed actions is obeyed."""
        first = next(iter(observation.values())) if isinstance(observation, dict) else observation
        allowed = kwargs.get("action_masks")
        if allowed is None:
            return np.array([self._space.sample() for _ in range(len(first))]), None
        return np.array([self._space.sample(mask=_mask_for(self._space, np.asarray(row))) for row in allowed]), None


def _mask_for(space: gym.Space[Any], allowed: npt.NDArray[Any]) -> Any:
    """MaskablePPO's flat row of allowed actions as the space's own `sample` wants it."""
    flat = allowed.astype(np.int8).ravel()
    if isinstance(space, gym.spaces.MultiDiscrete):
        return tuple(np.split(flat, np.cumsum(space.nvec.ravel())[:-1]))
    if isinstance(space, gym.spaces.MultiBinary):
        off, on = flat.reshape(-1, 2).T
        return np.where(off & on, 2, on).astype(np.int8).reshape(space.shape)
    return flat


class Actor:
    """Actions of a model for a batch of raw observations: its own normalisation, recurrence and action masks.

    Args:
        model: anything with `predict`.
        env: any of the evaluation's.
        draws: of sampled actions, a row for each observation of a batch; None: the model plays greedily.

    Raises:
        ValueError: an environment with VecNormalize for an agent without.
    """

    def __init__(self, model: Predicts, env: gym.Env[Any, Any] | VecEnv, draws: EpisodeDraws | None) -> None:
        self._model, self._draws = model, draws
        normalize = model.get_vec_normalize_env() if hasattr(model, "get_vec_normalize_env") else None
        self.normalize: VecNormalize | None = normalize
        if isinstance(env, VecEnv) and (theirs := unwrap_vec_normalize(env)) is not None:
            if normalize is None and hasattr(model, "get_vec_normalize_env"):
                raise ValueError(
                    "make_env gives an environment with VecNormalize, but the agent was trained without one: the "
                    "statistics belong to the agent; leave VecNormalize out of make_env, or set_env the agent's own"
                )
            _lend_statistics(normalize, theirs)
            self.normalize = None
        takes_masks = "action_masks" in inspect.signature(model.predict).parameters or isinstance(model, RandomPolicy)
        self.takes_masks = takes_masks and has_masks(env)
        self._space = env.action_space
        self._state: Any = None

    def begin(self, episodes: Mapping[int, int]) -> None:
        """Rows of the batch begin these episodes."""
        if self._draws is not None:
            for row, episode in episodes.items():
                self._draws.begin(row, episode)

    def act(self, observations: Any, starts: npt.NDArray[np.bool_], masks: Any) -> npt.NDArray[Any]:
        if self.normalize is not None:
            observations = self.normalize.normalize_obs(observations)
        kwargs: dict[str, Any] = {"action_masks": masks} if self.takes_masks else {}
        kwargs |= {"state": self._state, "episode_start": starts, "deterministic": self._draws is None}
        with nullcontext() if self._draws is None else DrawnAhead(self._draws):
            actions, self._state = self._model.predict(observations, **kwargs)
        if self._draws is not None:
            self._draws.advance()
        return numbers(actions)


def numbers(actions: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A diverged network gives NaN: it then acts with zeros, and earns what that earns."""
    return np.nan_to_num(actions) if np.issubdtype(np.asarray(actions).dtype, np.floating) else actions


def samples(model: BaseAlgorithm) -> bool:
    """Whether an agent plays otherwise as it was trained than greedily: its `predict(deterministic=False)` draws.

    What counts is what `predict` draws from torch, as SB3's stochastic policies do (PPO, A2C, TRPO, SAC, TQC, ...).
    TD3 and DDPG draw nothing there, and neither does a policy with gSDE, whose noise stays that of the last rollout;
    what DQN draws is exploration (its epsilon, from NumPy), and no policy that it learned.

    Example:
        >>> from stable_baselines3 import DQN, PPO
        >>> samples(PPO("MlpPolicy", "CartPole-v1", device="cpu")), samples(DQN("MlpPolicy", "CartPole-v1"))
        (True, False)
    """
    drawing = DrawnAhead(EpisodeDraws(0, 1))
    with seeded(0), drawing:
        model.predict(_observation(model), deterministic=False)
    return drawing.drew


def _observation(model: BaseAlgorithm) -> Any:
    """One that its environment has shown, where it has; any other may be none that the policy takes."""
    if (shown := model._last_obs) is not None:
        return each(lambda part: part[0], shown)
    space = deepcopy(model.observation_space)
    space.seed(0)
    return space.sample()


def _lend_statistics(ours: VecNormalize | None, theirs: VecNormalize) -> None:
    """Normalises an environment of the evaluation as the agent's own, without learning from it."""
    theirs.training, theirs.norm_reward = False, False
    if ours is not None:
        theirs.norm_obs, theirs.norm_obs_keys = ours.norm_obs, ours.norm_obs_keys
        theirs.clip_obs, theirs.epsilon = ours.clip_obs, ours.epsilon
        if ours.norm_obs:
            theirs.obs_rms = deepcopy(ours.obs_rms)


def has_masks(env: gym.Env[Any, Any] | VecEnv) -> bool:
    if isinstance(env, VecEnv):
        return env.has_attr("action_masks")
    return env.has_wrapper_attr("action_masks")
