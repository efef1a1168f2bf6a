"""Fresh agents, as a user's `make_model(seed)` gives them, and where what they train comes from."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed

from rl_tickets.agents import anatomy

MakeModel = Callable[[int], BaseAlgorithm]
"""A fresh dense agent for a seed; the agent brings its own environment."""


def demand_function(given: object, wanted: str) -> None:
    """Raises TypeError, which begins with what is wanted, for what cannot be called."""
    if not callable(given):
        raise TypeError(f"{wanted}, not a {type(given).__name__}: give a function that makes one")


def fresh_agent(make_model: MakeModel, seed: int) -> BaseAlgorithm:
    """A new agent, if `make_model` gives what it should.

    The global generators are seeded before, for what it draws; an agent that was given no seed gets this one.
    """
    demand_function(make_model, "make_model must be a function `(seed) -> agent`")
    set_random_seed(seed)
    model = make_model(seed)
    if not isinstance(model, BaseAlgorithm):
        raise TypeError(f"make_model(seed) must return an SB3 agent, got a {type(model).__name__}")
    if model.get_env() is None:
        raise ValueError("make_model(seed) returned an agent without an environment; give it one to train in")
    if model.num_timesteps:
        raise ValueError(
            "make_model(seed) returned an agent that has already trained; it must be a fresh one each time"
        )
    if model.seed is None:
        model.set_random_seed(seed)
    return model


@contextmanager
def built(make_model: MakeModel, seed: int) -> Iterator[BaseAlgorithm]:
    """A fresh agent to look at, whose environment is closed in the end."""
    model = fresh_agent(make_model, seed)
    try:
        yield model
    finally:
        if (env := model.get_env()) is not None:
            env.close()


def provenance(model: BaseAlgorithm, seed: int) -> dict[str, Any]:
    """Where a ticket comes from, as plain data."""
    return {
        "algorithm": type(model).__name__,
        "policy": type(model.policy).__name__,
        "environment": anatomy.environment_name(model),
        "parameters": anatomy.parameter_count(model),
        "seed": seed,
        "torch_threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "stable_baselines3": str(stable_baselines3.__version__),
        },
    }
