"""Returns of a policy over seeded episodes, the same for every policy that is evaluated (common random numbers)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from rl_tickets.evaluation.acting import Actor, Predicts, samples
from rl_tickets.evaluation.acting import RandomPolicy as RandomPolicy
from rl_tickets.evaluation.cast import SLOTS, playing_of
from rl_tickets.evaluation.draws import EpisodeDraws
from rl_tickets.evaluation.environments import Environments
from rl_tickets.evaluation.episodes import PARALLEL, Episodes, demand_returns
from rl_tickets.evaluation.plainly import play_single, play_vectorised
from rl_tickets.evaluation.seeding import seeded
from rl_tickets.evaluation.spaces import MakeEnv as MakeEnv
from rl_tickets.evaluation.spaces import demand_same_spaces
from rl_tickets.evaluation.stage import Stage
from rl_tickets.training.cohorts.family import CannotJoin
from rl_tickets.training.cohorts.on_policy.playing import Playing


class Played(NamedTuple):
    """The same episodes played in both ways."""

    greedy: Episodes
    sampled: Episodes | None
    """As the agent was trained; None where it plays greedily then, too."""


def evaluate(
    model: Predicts, make_env: MakeEnv, *, episodes: int = 100, seed: int = 1_000, deterministic: bool = True
) -> npt.NDArray[np.float64]:
    """The return of each of `episodes` episodes; episode i is reset with seed + i.

    Args:
        model: anything with `predict`; the VecNormalize statistics of an SB3 agent are used, and left as they are.
        make_env: makes a Gymnasium environment, or an SB3 `VecEnv` (then its episodes are seeded once, by `seed`).
        episodes: number of episodes.
        seed: of the episodes, and of what a sampling policy draws in each of them.
        deterministic: the most likely action; False: as the agent was trained, with actions sampled where its
            `predict` samples (PPO, A2C, SAC, ...).

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
    return play_together([(model, (deterministic,))], make_env, episodes=episodes, seed=seed)[0][0]


def play_plainly(
    model: Predicts, make_env: MakeEnv, *, episodes: int, seed: int, deterministic: bool = True
) -> Episodes:
    """As `play`, by the agent's own `predict` whatever it is: the same but for rounding, and slower."""
    with seeded(seed), Environments(make_env, seed) as environments:
        return demand_returns(_play_alone(model, environments, deterministic, episodes, seed))


def play_both_ways(models: Sequence[BaseAlgorithm], make_env: MakeEnv, *, episodes: int, seed: int) -> list[Played]:
    """Each agent's episodes played greedily and, where it samples, as it was trained.

    They are the same, bit for bit, as if each agent had been evaluated alone.
    """
    ways = [(True, False) if samples(model) else (True,) for model in models]
    played = play_together(list(zip(models, ways, strict=True)), make_env, episodes=episodes, seed=seed)
    return [Played(each[0], each[1] if len(each) > 1 else None) for each in played]


def play_together(
    parts: Sequence[tuple[Predicts, Sequence[bool]]], make_env: MakeEnv, *, episodes: int, seed: int
) -> list[list[Episodes]]:
    """Agents and the ways in which each plays, `deterministic` or not; those of one shape act stacked."""
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1, got {episodes}")
    found: dict[tuple[int, bool], Episodes] = {}
    with seeded(seed), Environments(make_env, seed) as environments:
        for model, _ in parts:
            demand_same_spaces(model, environments.first)
        for playing, places, way in _alike(parts, environments.first):
            played = _play_stacked(playing, [parts[place][0] for place in places], environments, way, episodes, seed)
            found |= {(place, way): each for place, each in zip(places, played, strict=True) if each is not None}
        for place, (model, ways) in enumerate(parts):
            for way in ways:
                if (place, way) not in found:
                    found[place, way] = _play_alone(model, environments, way, episodes, seed)
    return [[demand_returns(found[place, way]) for way in ways] for place, (_, ways) in enumerate(parts)]


def _alike(parts: Sequence[tuple[Predicts, Sequence[bool]]], env: object) -> Iterator[tuple[Playing, list[int], bool]]:
    """Places of the agents that can act stacked one way, as many as there are slots at a time."""
    groups: dict[tuple[Playing, bool], list[int]] = {}
    for place, (model, ways) in enumerate(parts):
        with suppress(CannotJoin):  # It plays plainly, which gives the same but for rounding, and takes longer.
            playing = playing_of(model, env)
            for way in ways:
                groups.setdefault((playing, way), []).append(place)
    for (playing, way), places in groups.items():
        for start in range(0, len(places), SLOTS):
            yield playing, places[start : start + SLOTS], way


def _play_stacked(
    playing: Playing,
    models: Sequence[Predicts],
    environments: Environments,
    deterministic: bool,
    episodes: int,
    seed: int,
) -> list[Episodes | None]:
    """None for an agent in whose episodes something draws from the global generators, whatever is played beside it."""
    stage = Stage(playing, models, deterministic, episodes, seed)
    with environments.lent(stage.environments) as envs:
        played, drew = stage.play(envs), environments.drew
    if not drew:
        return list(played)
    if len(models) == 1:
        return [None]
    # Whose episodes it was does not show, and the others' must be as if they had been alone.
    return [each for m in models for each in _play_stacked(playing, [m], environments, deterministic, episodes, seed)]


def _play_alone(model: Predicts, environments: Environments, deterministic: bool, episodes: int, seed: int) -> Episodes:
    vectorised = isinstance(environments.first, VecEnv)
    rows = environments.first.num_envs if vectorised else PARALLEL
    draws = None if deterministic else EpisodeDraws(seed, rows)
    with environments.lent(1 if vectorised else min(PARALLEL, episodes)) as envs:
        actor = Actor(model, envs[0], draws)
        if vectorised:
            return play_vectorised(actor, envs[0], episodes, seed)
        return play_single(actor, envs, episodes, seed)
