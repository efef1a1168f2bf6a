"""What a search asks for, what it receives back, and what is in between: training requests as plain data."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.mask import Mask, Prunable
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.curve import CurvePoint
from rl_tickets.training.early_bird import EarlyBird, Sighting

MakeModel = Callable[[int], BaseAlgorithm]


@dataclass(frozen=True)
class Training:
    """A search's request: train this ticket until that step.

    Args:
        level: 0 is dense.
        ticket: the ticket whose mask to hold, or None for a dense agent.
        start: parts to set in the fresh agent (the ticket's weights among them), or None to start at initialisation.
        until: environment step at which training ends; None: the experiment's budget.
        schedule_end: step at which the schedules (learning rate, exploration, clip range) end; None: `until`.
        keep_at: steps whose training state the search wants to have back.
        early_bird: when to stop before the end.
        prunable: as in `Mask.dense`, for the mask of a dense agent.
    """

    level: int
    ticket: Ticket | None = None
    start: TrainingState | None = None
    until: int | None = None
    schedule_end: int | None = None
    keep_at: tuple[int, ...] = ()
    early_bird: EarlyBird | None = None
    prunable: Prunable | None = None


@dataclass(frozen=True)
class Trained:
    """What a search receives back: the end of a level, as data that also survives on disk.

    Args:
        end: weights, normalizer and schedule position at the end of training.
        kept: the states the request asked to keep, by requested step.
        mask: the mask that was held; the full one for a dense agent.
        timesteps: environment steps trained at this level.
        diverged: whether a weight became NaN or infinite.
        copies: names in the policy's `state_dict` that repeat a prunable weight (shared extractors) or follow it
            (target networks), with the weight's name.
        provenance: plain data: algorithm, environment, seed, versions.
        curve: mean training return over the level.
        sightings: masks' distances that early-bird saw.
    """

    end: TrainingState
    kept: dict[int, TrainingState]
    mask: Mask
    timesteps: int
    diverged: bool
    copies: dict[str, str]
    provenance: dict[str, Any]
    curve: tuple[CurvePoint, ...] = ()
    sightings: tuple[Sighting, ...] = ()


@dataclass(frozen=True)
class Progress:
    """A level in the middle: all that is needed to go on as if nothing had happened."""

    state: TrainingState
    kept: dict[int, TrainingState]
    curve: dict[str, Any]
    early_bird: dict[str, Any] | None


def fresh_agent(make_model: MakeModel, seed: int) -> BaseAlgorithm:
    """A new agent, if `make_model` gives what it should."""
    model = make_model(seed)
    if not isinstance(model, BaseAlgorithm):
        raise TypeError(f"make_model(seed) must return an SB3 agent, got a {type(model).__name__}")
    if model.get_env() is None:
        raise ValueError("make_model(seed) returned an agent without an environment; give it one to train in")
    if model.num_timesteps:
        raise ValueError(
            "make_model(seed) returned an agent that has already trained; it must be a fresh one each time"
        )
    return model


def provenance(model: BaseAlgorithm, seed: int) -> dict[str, Any]:
    """Where a ticket comes from, as plain data."""
    return {
        "algorithm": type(model).__name__,
        "policy": type(model.policy).__name__,
        "environment": anatomy.environment_name(model),
        "seed": seed,
        "torch_threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "stable_baselines3": str(stable_baselines3.__version__),
        },
    }
