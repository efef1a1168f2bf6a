"""A stage: environments in which agents of one shape play all their episodes side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env import VecNormalize

from rl_tickets.evaluation.cast import ROWS, Cast
from rl_tickets.evaluation.draws import EpisodeDraws
from rl_tickets.evaluation.environments import uncheck
from rl_tickets.evaluation.episodes import Episodes, demand_numbers
from rl_tickets.training.cohorts.on_policy.playing import Playing


class Stage:
    """Plays up to SLOTS agents, one way.

    Args:
        playing: how agents of their shape act stacked.
        models: the agents.
        deterministic: greedily, or sampled.
        episodes: of each agent; episode i is reset with seed + i.
        seed: of the evaluation.
    """

    def __init__(self, playing: Playing, models: Sequence[Any], deterministic: bool, episodes: int, seed: int) -> None:
        draws = None if deterministic else EpisodeDraws(seed, ROWS * len(models))
        self._cast, self._seed = Cast(playing, models, draws), seed
        self._parts = [_Part(slot, episodes) for slot in range(len(models))]
        self._sums = np.zeros(len(self._cast.seen))
        self._counts = np.zeros(len(self._cast.seen), dtype=np.int64)
        normalize = [model.get_vec_normalize_env() for model in models]
        self._normalize: list[VecNormalize | None] = [each if each and each.norm_obs else None for each in normalize]

    @property
    def environments(self) -> int:
        """How many it wants."""
        return sum(part.size for part in self._parts)

    def play(self, envs: Sequence[gym.Env[Any, Any]]) -> list[Episodes]:
        """The episodes of each agent."""
        unused = iter(envs)
        rows = [_Row(part, part.first + place, next(unused)) for part in self._parts for place in range(part.size)]
        fresh: list[Any] = [self._begin(row) for row in rows]
        while rows:
            at, steps = np.array([row.number for row in rows]), [row.env.step for row in rows]
            ended: list[int] = []
            while not ended:
                self._show(rows, at, fresh)
                fresh, rewards = [], []
                for index, (step, action) in enumerate(zip(steps, self._cast.act()[at], strict=True)):
                    observation, reward, terminated, truncated, _ = step(action)
                    fresh.append(observation)
                    rewards.append(float(reward))
                    if terminated or truncated:
                        ended.append(index)
                self._sums[at] += rewards
                self._counts[at] += 1
            for index in ended:
                uncheck(rows[index].env)
                self._end(rows[index])
                if not rows[index].done:
                    fresh[index] = self._begin(rows[index])
            fresh = [observation for row, observation in zip(rows, fresh, strict=True) if not row.done]
            rows = [row for row in rows if not row.done]
        return [part.played for part in self._parts]

    def _begin(self, row: _Row) -> Any:
        """The first observation of a row's next episode."""
        row.episode = row.part.upcoming
        row.part.upcoming += 1
        self._cast.begin(row.number, row.episode)
        return row.env.reset(seed=self._seed + row.episode)[0]

    def _end(self, row: _Row) -> None:
        row.part.played.returns[row.episode] = self._sums[row.number]
        row.part.played.lengths[row.episode] = self._counts[row.number]
        self._sums[row.number] = self._counts[row.number] = 0
        row.done = row.part.upcoming == row.part.episodes
        if row.done:
            self._cast.end(row.number)

    def _show(self, rows: Sequence[_Row], at: npt.NDArray[np.int64], fresh: Sequence[Any]) -> None:
        """Lets the cast see what its environments gave, each agent by its own normalisation."""
        seen = np.array(fresh)
        if np.isnan(seen).any():
            demand_numbers(seen, {index: f"episode {row.episode}" for index, row in enumerate(rows)})
        if any(self._normalize):
            slots = at // ROWS
            cuts = np.flatnonzero(np.diff(slots)) + 1
            theirs = zip(np.split(seen, cuts), slots[[0, *cuts]], strict=True)
            seen = np.concatenate(
                [each.normalize_obs(of) if (each := self._normalize[slot]) else of for of, slot in theirs]
            )
        self._cast.seen[at] = seen


class _Part:
    """What one agent plays."""

    def __init__(self, slot: int, episodes: int) -> None:
        self.first = slot * ROWS
        """Its first row in the cast."""
        self.size = min(ROWS, episodes)
        """Its environments; each plays the next unplayed episode as soon as it has finished one."""
        self.episodes, self.upcoming = episodes, 0
        self.played = Episodes(np.zeros(episodes), np.zeros(episodes, dtype=np.int64))


@dataclass
class _Row:
    """An environment, and the row of the cast that acts in it."""

    part: _Part
    number: int
    env: gym.Env[Any, Any]
    episode: int = 0
    done: bool = False
    """Whether its part has no episode left for it."""
