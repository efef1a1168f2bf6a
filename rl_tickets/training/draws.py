"""Draws: where the random numbers of an agent begin."""

from __future__ import annotations

import warnings
from copy import copy, deepcopy

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed

from rl_tickets.agents.generators import Draws, derived_seed, draws_kept
from rl_tickets.training.cohorts.imagined import Imagined


def first_draws(model: BaseAlgorithm) -> Draws:
    """Where the draws of an agent's `learn` begin, whatever else was drawn since it was made.

    Of a fresh agent with a seed: where the generators were when it had just been made, and its weights drawn. Of one
    that has trained: a seed of its own for each number of steps trained, so that no noise is drawn twice. An agent
    without a seed takes one from NumPy's global generator.
    """
    seed = model.seed
    if seed is None:
        seed = int(np.random.randint(2**31))  # noqa: NPY002
    with draws_kept(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if model.num_timesteps or model.seed is None:
            set_random_seed(derived_seed(seed, model.num_timesteps))
        else:
            _make_again(model)
        return Draws.now()


def _make_again(model: BaseAlgorithm) -> None:
    """Draws the weights of a second agent as the first one's were drawn; environment and buffers are not made."""
    again = copy(model)
    # Only its spaces may be looked at.
    again.env = Imagined(model.n_envs, model.observation_space, model.action_space, seed=0)
    again.action_space = deepcopy(model.action_space)
    again._setup_model()
