"""Returns of a policy over seeded episodes, the same for every policy that is evaluated (common random numbers)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecEnv

from rl_tickets.evaluation.acting import Actor, Predicts
from rl_tickets.evaluation.acting import RandomPolicy as RandomPolicy
from rl_tickets.evaluation.seeding import seeded
from rl_tickets.evaluation.spaces import MakeEnv as MakeEnv
from rl_tickets.evaluation.spaces import demand_environment, demand_same_spaces

PARALLEL = 16
"""Environments stepped side by side; fixed, since batched arithmetic may differ in the last bit with the batch."""


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
        TypeError: `make_env` gives no environment.
        ValueError: fewer than one episode, a return or an observation that is not a number, an environment with other
            spaces than the agent's, a `make_env` that gives one environment again and again, or one with VecNormalize
            for an agent without.

    Example:
        rt.evaluate(model, lambda: gym.make("CartPole-v1"), episodes=20).mean()
    """
    return play(model, make_env, episodes=episodes, seed=seed, deterministic=deterministic).returns


def play(model: Predicts, make_env: MakeEnv, *, episodes: int, seed: int, deterministic: bool = True) -> Episodes:
    """As `evaluate`, with the lengths of the episodes."""
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    envs: list[Any] = []
    with seeded(seed):
        try:
            envs.append(demand_environment(make_env()))
            demand_same_spaces(model, envs[0])
            actor = Actor(model, envs[0], deterministic)
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


def _play_single(actor: Actor, envs: list[gym.Env[Any, Any]], episodes: int, seed: int) -> Episodes:
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
        seen = _stack(_filled(observations, idle))
        _demand_numbers(seen, {row: f"episode {episode}" for row, episode in enumerate(playing) if episode < episodes})
        actions = actor.act(seen, starts, masks)
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


def _play_vectorised(actor: Actor, env: VecEnv, episodes: int, seed: int) -> Episodes:
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
        _demand_numbers(observations, {index: f"environment {index}" for index in range(env.num_envs)})
        observations, rewards, starts, _ = env.step(actor.act(observations, starts, masks))
        sums += rewards
        steps += 1
        for index in np.flatnonzero(starts):
            if len(returns[index]) < shares[index]:
                returns[index].append(float(sums[index]))
                lengths[index].append(int(steps[index]))
            sums[index], steps[index] = 0.0, 0
    return Episodes(np.concatenate(returns).astype(np.float64), np.concatenate(lengths).astype(np.int64))


def _demand_numbers(observations: Any, rows: Mapping[int, str]) -> None:
    """Raises ValueError for NaN, with which any agent acts as one that diverged, and earns what that earns.

    Args:
        observations: a batch.
        rows: what its rows are called; those that nobody acts on are left out.
    """
    parts = observations if isinstance(observations, dict) else {"": observations}
    for key, part in parts.items():
        if not (np.issubdtype(part.dtype, np.floating) and np.isnan(part).any()):
            continue
        for row in np.flatnonzero(np.isnan(part).reshape(len(part), -1).any(axis=1)):
            if int(row) in rows:
                of = f" of {key!r}" if key else ""
                raise ValueError(
                    f"{rows[int(row)]} of the evaluation gave an observation{of} that is not a number (NaN); check the "
                    "environment's observations"
                )


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    return np.stack(observations)
