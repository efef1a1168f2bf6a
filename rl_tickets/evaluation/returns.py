"""Returns of a policy over seeded episodes, the same for every policy that is evaluated (common random numbers)."""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize, unwrap_vec_normalize

from rl_tickets.agents.validation import unvalidated

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
        ValueError: fewer than one episode, a return that is not a number, a `make_env` that gives one environment
            again and again, or one with VecNormalize for an agent without.

    Example:
        rt.evaluate(model, lambda: gym.make("CartPole-v1"), episodes=20).mean()
    """
    return play(model, make_env, episodes=episodes, seed=seed, deterministic=deterministic).returns


def play(model: Predicts, make_env: MakeEnv, *, episodes: int, seed: int, deterministic: bool = True) -> Episodes:
    """As `evaluate`, with the lengths of the episodes."""
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    envs: list[Any] = []
    with _seeded(seed):
        try:
            envs.append(make_env())
            actor = _Actor(model, envs[0], deterministic)
            if isinstance(envs[0], VecEnv):
                played = _play_vectorised(actor, envs[0], episodes, seed)
            else:
                envs += [make_env() for _ in range(min(PARALLEL, episodes) - 1)]
                if len({id(env) for env in envs}) < len(envs):
                    raise ValueError("make_env() gave the same environment twice; it must make a new one each time")
                played = _play_single(actor, envs, episodes, seed)
        finally:
            for env in envs:
                env.close()
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


class _Actor:
    """Actions of a model for a batch of raw observations: its own normalisation, recurrence and action masks."""

    def __init__(self, model: Predicts, env: gym.Env[Any, Any] | VecEnv, deterministic: bool) -> None:
        self._model = model
        self._deterministic = deterministic
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


def _lend_statistics(ours: VecNormalize | None, theirs: VecNormalize) -> None:
    """Normalises an environment of the evaluation as the agent's own, without learning from it."""
    theirs.training, theirs.norm_reward = False, False
    if ours is not None:
        theirs.norm_obs, theirs.norm_obs_keys = ours.norm_obs, ours.norm_obs_keys
        theirs.clip_obs, theirs.epsilon = ours.clip_obs, ours.epsilon
        if ours.norm_obs:
            theirs.obs_rms = deepcopy(ours.obs_rms)


def _has_masks(env: gym.Env[Any, Any] | VecEnv) -> bool:
    if isinstance(env, VecEnv):
        return env.has_attr("action_masks")
    return env.has_wrapper_attr("action_masks")


def _play_single(actor: _Actor, envs: list[gym.Env[Any, Any]], episodes: int, seed: int) -> Episodes:
    """Each environment plays the next unplayed episode as soon as it has finished one.

    Where there are few, the batch is filled up with idle rows, so that an episode's return does not depend on how many
    others are played.
    """
    idle = PARALLEL - len(envs)
    returns, lengths = np.zeros(episodes), np.zeros(episodes, dtype=np.int64)
    playing = list(range(len(envs)))
    upcoming = len(envs)
    observations = [env.reset(seed=seed + episode)[0] for episode, env in enumerate(envs)]
    starts = np.ones(PARALLEL, dtype=bool)
    while any(episode < episodes for episode in playing):
        masks = None
        if actor.takes_masks:
            masks = _stack(_filled([env.get_wrapper_attr("action_masks")() for env in envs], idle))
        actions = actor.act(_stack(_filled(observations, idle)), starts, masks)
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
    return Episodes(returns, lengths)


def _filled(items: list[Any], idle: int) -> list[Any]:
    return [*items, *[items[0]] * idle]


def _play_vectorised(actor: _Actor, env: VecEnv, episodes: int, seed: int) -> Episodes:
    """Every environment plays its share, so that short episodes are not over-represented."""
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
    return Episodes(np.concatenate(returns).astype(np.float64), np.concatenate(lengths).astype(np.int64))


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    return np.stack(observations)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Global generators seeded for a sampling policy, and afterwards as they were; NaN logits are let through."""
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    set_random_seed(seed)
    try:
        with unvalidated():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
