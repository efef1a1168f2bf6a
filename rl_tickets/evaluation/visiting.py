"""Visiting: the observations that a policy meets."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from rl_tickets.evaluation.acting import Actor, Predicts
from rl_tickets.evaluation.draws import EpisodeDraws
from rl_tickets.evaluation.seeding import seeded
from rl_tickets.evaluation.spaces import MakeEnv, demand_same_spaces, new_environment


def visited(model: Predicts, make_env: MakeEnv, *, steps: int, seed: int = 1_000) -> npt.NDArray[Any]:
    """Raw observations of a policy that samples its actions, over as many episodes as it takes.

    Args:
        model: anything with `predict`, as in `evaluate`.
        make_env: makes a single Gymnasium environment whose observations are arrays.
        steps: how many.
        seed: of the first episode, which the next ones' follow, and of the sampling.

    Returns:
        Shape (steps, *observation).

    Raises:
        ValueError: a vectorised environment, or observations of several parts.
    """
    found: list[Any] = []
    with seeded(seed):
        env: Any = new_environment(make_env)
        try:
            demand_same_spaces(model, env)
            if isinstance(env, VecEnv) or isinstance(env.observation_space, spaces.Dict):
                raise ValueError("observations are gathered from a single environment that gives arrays, not from this")
            actor, episode, over = Actor(model, env, EpisodeDraws(seed, 1)), 0, True
            starts = np.ones(1, dtype=bool)
            while len(found) < steps:
                if over:
                    observation, _ = env.reset(seed=seed + episode)
                    actor.begin({0: episode})
                    episode, starts[0] = episode + 1, True
                found.append(observation)
                masks = np.asarray(env.get_wrapper_attr("action_masks")())[None] if actor.takes_masks else None
                action = actor.act(np.asarray(observation)[None], starts, masks)[0]
                observation, _, terminated, truncated, _ = env.step(action)
                over, starts[0] = terminated or truncated, False
        finally:
            env.close()
    return np.stack(found)
