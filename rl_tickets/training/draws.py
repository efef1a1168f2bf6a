"""Draws: where the random numbers of an agent begin."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed


@dataclass(frozen=True)
class Draws:
    """States of the three generators that SB3 draws from: Python's, NumPy's and torch's."""

    python: Any
    numpy: Any
    torch: torch.Tensor

    @classmethod
    def now(cls) -> Draws:
        """Where the global generators are."""
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state())  # noqa: NPY002

    def begin(self) -> None:
        """Lets the global generators go on from here."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.torch)


@contextmanager
def draws_kept() -> Iterator[None]:
    """Whatever is drawn meanwhile, afterwards the global generators are where they were.

    Example:
        >>> before = torch.get_rng_state()
        >>> with draws_kept():
        ...     _ = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    before = Draws.now()
    try:
        yield
    finally:
        before.begin()


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
            set_random_seed(int(np.random.SeedSequence([seed, model.num_timesteps]).generate_state(1)[0]) >> 1)
        else:
            _make_again(model)
        return Draws.now()


def _make_again(model: BaseAlgorithm) -> None:
    """Draws the weights of a second agent as the first one's were drawn; environment and buffers are not made."""
    again = copy(model)
    again.env = None
    again.action_space = deepcopy(model.action_space)
    again._setup_model()
