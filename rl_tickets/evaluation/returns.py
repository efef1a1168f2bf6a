"""Returns of a policy over seeded episodes, the same for every policy that is evaluated (common random numbers)."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize
from torch.distributions import Distribution

MakeEnv = Callable[[], gym.Env[Any, Any] | VecEnv]
PARALLEL = 16
"""Environments stepped side by side; fixed, since batched arithmetic may differ in the last bit with the batch."""


class Predicts(Protocol):
    """Anything that chooses actions as SB3's agents do."""

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[npt.NDArray[Any], Any]:
        """Actions for a batch of observations, and the recurrent state."""


class Episodes(NamedTuple):
    """Returns (undiscounted, unnormalised) and lengths in environment steps; each of shape (episodes,)."""

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]


def evaluate(
    model: Predicts, make_env: MakeEnv, *, episodes: int = 100, seed: int = 1_000, deterministic: bool = True
) -> npt.NDArray[np.float64]:
    """The return of each of `episodes` episodes; episode i is reset with seed + i.

    Args:
        model: anything with `predict`; the VecNormalize statistics of an SB3 agent are used, and left as they are.
        make_env: makes a Gymnasium environment, or an SB3 `VecEnv` (then its episodes are seeded once, by `seed`).
        episodes: number of episodes.
        seed: of the episodes and of a sampling policy.
        deterministic: the most likely action instead of a sampled one.

    Returns:
        float64, shape (episodes,).

    Raises:
        ValueError: fewer than one episode, or a return that is not a number.

    Example:
        rt.evaluate(model, lambda: gym.make("CartPole-v1"), episodes=20).mean()
    """
    return play(model, make_env, episodes=episodes, seed=seed, deterministic=deterministic).returns


def play(model: Predicts, make_env: MakeEnv, *, episodes: int, seed: int, deterministic: bool = True) -> Episodes:
    """As `evaluate`, with the lengths of the episodes."""
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    first = make_env()
    with _seeded(seed):
        actor = _Actor(model, first, deterministic)
        if isinstance(first, VecEnv):
            played = _play_vectorised(actor, first, episodes, seed)
        else:
            others = [make_env() for _ in range(min(PARALLEL, episodes) - 1)]
            played = _play_single(actor, [first, *others], episodes, seed)  # type: ignore[list-item]
    if not np.isfinite(played.returns).all():
        episode = int(np.flatnonzero(~np.isfinite(played.returns))[0])
        raise ValueError(
            f"episode {episode} of the evaluation returned {played.returns[episode]}; check the environment's rewards"
        )
    return played


class RandomPolicy:
    """Draws actions uniformly from an action space: the anchor 0 of normalised scores.

    Args:
        action_space: of the environment.
        seed: of the draws; the space itself is copied, not touched.
    """

    def __init__(self, action_space: gym.Space[Any], seed: int = 0) -> None:
        self._space = type(action_space).__new__(type(action_space))
        self._space.__dict__.update(action_space.__dict__)
        self._space._np_random = None
        self._space.seed(seed)

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[npt.NDArray[Any], Any]:
        """A random action for each observation of the batch; a mask of allowed actions is obeyed."""
        first = next(iter(observation.values())) if isinstance(observation, dict) else observation
        allowed = kwargs.get("action_masks")
        if allowed is None:
            return np.array([self._space.sample() for _ in range(len(first))]), None
        return np.array([self._space.sample(mask=np.asarray(row, dtype=np.int8)) for row in allowed]), None


class _Actor:
    """Actions of a model for a batch of raw observations: its own normalisation, recurrence and action masks."""

    def __init__(self, model: Predicts, env: gym.Env[Any, Any] | VecEnv, deterministic: bool) -> None:
        self._model = model
        self._deterministic = deterministic
        normalize = model.get_vec_normalize_env() if hasattr(model, "get_vec_normalize_env") else None
        self.normalize: VecNormalize | None = normalize
        takes_masks = "action_masks" in inspect.signature(model.predict).parameters or isinstance(model, RandomPolicy)
        self.takes_masks = takes_masks and _has_masks(env)
        self._space = env.action_space
        self._state: Any = None

    def act(self, observations: Any, starts: npt.NDArray[np.bool_], masks: Any) -> npt.NDArray[Any]:
        if self.normalize is not None:
            observations = self.normalize.normalize_obs(observations)
        kwargs = {"action_masks": masks} if self.takes_masks else {}
        actions, self._state = self._model.predict(
            observations, state=self._state, episode_start=starts, deterministic=self._deterministic, **kwargs
        )
        # A diverged network gives NaN: it then acts with zeros, and earns what that earns.
        return np.nan_to_num(actions) if np.issubdtype(np.asarray(actions).dtype, np.floating) else actions


def _has_masks(env: gym.Env[Any, Any] | VecEnv) -> bool:
    if isinstance(env, VecEnv):
        return env.has_attr("action_masks")
    return env.has_wrapper_attr("action_masks")


def _play_single(actor: _Actor, envs: list[gym.Env[Any, Any]], episodes: int, seed: int) -> Episodes:
    """Each environment plays the next unplayed episode as soon as it has finished one."""
    returns, lengths = np.zeros(episodes), np.zeros(episodes, dtype=np.int64)
    playing = list(range(len(envs)))
    upcoming = len(envs)
    observations = [env.reset(seed=seed + episode)[0] for episode, env in enumerate(envs)]
    starts = np.ones(len(envs), dtype=bool)
    while any(episode < episodes for episode in playing):
        masks = None
        if actor.takes_masks:
            masks = np.stack([env.get_wrapper_attr("action_masks")() for env in envs])
        actions = actor.act(_stack(observations), starts, masks)
        for index, env in enumerate(envs):
            episode = playing[index]
            starts[index] = False
            if episode >= episodes:
                continue
            observations[index], reward, terminated, truncated, _ = env.step(actions[index])
            returns[episode] += float(reward)
            lengths[episode] += 1
            if terminated or truncated:
                playing[index], upcoming = upcoming, upcoming + 1
                if playing[index] < episodes:
                    observations[index] = env.reset(seed=seed + playing[index])[0]
                    starts[index] = True
    for env in envs:
        env.close()
    return Episodes(returns, lengths)


def _play_vectorised(actor: _Actor, env: VecEnv, episodes: int, seed: int) -> Episodes:
    """Every environment plays its share, so that short episodes are not over-represented."""
    if isinstance(env, VecNormalize):
        env.training, env.norm_reward = False, False
        if actor.normalize is not None:
            env = env.venv
    shares = [(episodes + index) // env.num_envs for index in range(env.num_envs)]
    returns: list[list[float]] = [[] for _ in shares]
    lengths: list[list[int]] = [[] for _ in shares]
    sums, steps = np.zeros(env.num_envs), np.zeros(env.num_envs, dtype=np.int64)
    env.seed(seed)
    observations = env.reset()
    starts = np.ones(env.num_envs, dtype=bool)
    while any(len(done) < share for done, share in zip(returns, shares, strict=True)):
        masks = np.stack(env.env_method("action_masks")) if actor.takes_masks else None
        observations, rewards, starts, _ = env.step(actor.act(observations, starts, masks))
        sums += rewards
        steps += 1
        for index in np.flatnonzero(starts):
            if len(returns[index]) < shares[index]:
                returns[index].append(float(sums[index]))
                lengths[index].append(int(steps[index]))
            sums[index], steps[index] = 0.0, 0
    env.close()
    return Episodes(np.concatenate(returns).astype(np.float64), np.concatenate(lengths).astype(np.int64))


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    return np.stack(observations)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Global generators seeded for a sampling policy, and afterwards as they were; NaN logits are let through."""
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    validate = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    set_random_seed(seed)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(validate)
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
