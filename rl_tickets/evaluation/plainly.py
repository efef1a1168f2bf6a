"""Plain play: one agent, one way of playing, by its own `predict`; works for everything that has one."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from rl_tickets.evaluation.acting import Actor
from rl_tickets.evaluation.episodes import PARALLEL, Episodes, demand_numbers


def play_single(actor: Actor, envs: list[gym.Env[Any, Any]], episodes: int, seed: int) -> Episodes:
    """Each environment plays the next unplayed episode as soon as it has finished one.

    Where there are few, the batch is filled up with idle rows, so that an episode's return does not depend on how many
    others are played.
    """
    idle = PARALLEL - len(envs)
    returns, lengths = np.zeros(episodes), np.zeros(episodes, dtype=np.int64)
    playing = list(range(len(envs)))
    upcoming = len(envs)
    observations = [env.reset(seed=seed + episode)[0] for episode, env in enumerate(envs)]
    actor.begin(dict(enumerate(playing)))
    starts = np.ones(PARALLEL, dtype=bool)
    while any(episode < episodes for episode in playing):
        masks = None
        if actor.takes_masks:
            masks = _stack(_filled([env.get_wrapper_attr("action_masks")() for env in envs], idle))
        seen = _stack(_filled(observations, idle))
        demand_numbers(seen, {row: f"episode {episode}" for row, episode in enumerate(playing) if episode < episodes})
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
                    actor.begin({index: playing[index]})
                    starts[index] = True
    return Episodes(returns, lengths)


def _filled(items: list[Any], idle: int) -> list[Any]:
    return [*items, *[items[0]] * idle]


def play_vectorised(actor: Actor, env: VecEnv, episodes: int, seed: int) -> Episodes:
    """Every environment plays its share, so that short episodes are not over-represented."""
    count = env.num_envs
    shares = [(episodes + index) // count for index in range(count)]
    returns: list[list[float]] = [[] for _ in shares]
    lengths: list[list[int]] = [[] for _ in shares]
    sums, steps = np.zeros(count), np.zeros(count, dtype=np.int64)
    env.seed(seed)
    observations = env.reset()
    actor.begin({index: index for index in range(count)})
    starts = np.ones(count, dtype=bool)
    while any(len(done) < share for done, share in zip(returns, shares, strict=True)):
        masks = np.stack(env.env_method("action_masks")) if actor.takes_masks else None
        demand_numbers(observations, {index: f"environment {index}" for index in range(count)})
        observations, rewards, starts, _ = env.step(actor.act(observations, starts, masks))
        sums += rewards
        steps += 1
        for index in np.flatnonzero(starts):
            if len(returns[index]) < shares[index]:
                returns[index].append(float(sums[index]))
                lengths[index].append(int(steps[index]))
            sums[index], steps[index] = 0.0, 0
            actor.begin({int(index): int(index) + count * len(returns[index])})
    return Episodes(np.concatenate(returns).astype(np.float64), np.concatenate(lengths).astype(np.int64))


def _stack(observations: list[Any]) -> Any:
    if isinstance(observations[0], dict):
        return {key: np.stack([observation[key] for observation in observations]) for key in observations[0]}
    return np.stack(observations)
