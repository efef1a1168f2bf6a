"""Choosing a trainer for one agent: compiling costs some seconds, and saves a little at every gradient step."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import rollout_steps
from rl_tickets.training.cohorts.tracing import compiler
from rl_tickets.training.trainers import Cohorts, Plain, Trainer

WORTH_COMPILING = 40_000
"""Gradient steps. Compiling takes 15 to 30 seconds, a step of SB3's at small networks 1 to 2 milliseconds more."""


def faster(model: BaseAlgorithm, timesteps: int) -> Trainer:
    """The trainer that is likely to be the faster one for one agent at a time; nothing is said where it is plain SB3.

    A cohort of one, where there is a compiler, the agent can join, and `WORTH_COMPILING` gradient steps are to be made.
    Fewer are plain SB3's, whose numbers a cohort's equal but for rounding.

    Args:
        model: a fresh agent.
        timesteps: environment steps to train, those of all levels.

    Example:
        >>> from stable_baselines3 import A2C
        >>> faster(A2C("MlpPolicy", "CartPole-v1", device="cpu"), timesteps=1_000)
        Plain()
    """
    if gradient_steps(model, timesteps) < WORTH_COMPILING or compiler() is None:
        return Plain()
    cohort = Cohorts(seeds=1)
    return Plain() if cohort.obstacle(model) is not None else cohort


def gradient_steps(model: Any, timesteps: int) -> int:
    """Of an on-policy agent, about; 0 for others, of which one alone is left to plain SB3."""
    if not hasattr(model, "rollout_buffer"):
        return 0
    rollout = rollout_steps(model)
    minibatches = -(-rollout // (getattr(model, "batch_size", None) or rollout))
    return timesteps // rollout * minibatches * getattr(model, "n_epochs", 1)
