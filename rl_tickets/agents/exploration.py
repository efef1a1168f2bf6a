"""The exploration that training changes: DQN's epsilon, a Gaussian policy's `log_std`, SAC's entropy coefficient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.state import TrainingState

_RATE, _SPREAD, _TEMPERATURE = "exploration_rate", "log_std", "log_ent_coef"


def explores(model: BaseAlgorithm) -> bool:
    """Whether training changes how it explores; the action noise of TD3 and DDPG stays what it was given."""
    spread = bool(spreads(dict(model.policy.named_parameters())))
    return spread or explores_by_rate(model) or _TEMPERATURE in anatomy.loose_tensors(model)


def explores_by_rate(model: BaseAlgorithm) -> bool:
    """Whether it explores by an epsilon, as DQN does."""
    return hasattr(model, _RATE)


def spreads(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Those that are the logarithm of a Gaussian policy's standard deviation, gSDE's too."""
    # By its own name: where a layer computes the spread, its weights are called log_std.weight and log_std.bias.
    return {name: value for name, value in weights.items() if name.rpartition(".")[2] == _SPREAD}


def exploring_as(state: TrainingState, other: TrainingState) -> TrainingState:
    """The state, with the exploration of another of the same agent in every part that it has; none that diverged."""
    if state.weights is not None:
        modules = {**state.weights["modules"], "policy": {**state.policy, **_finite(spreads(other.policy))}}
        temperature = {name: value for name, value in other.tensors.items() if name == _TEMPERATURE}
        state = replace(state, weights={"modules": modules, "tensors": {**state.tensors, **_finite(temperature)}})
    rate = exploration_rate(other)
    if state.schedule is not None and rate is not None:
        state = replace(state, schedule={**state.schedule, _RATE: rate})
    return state


def exploration_rate(state: TrainingState) -> float | None:
    """DQN's epsilon; None for agents without."""
    return (state.schedule or {}).get(_RATE)


def _finite(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in tensors.items() if bool(torch.isfinite(value).all())}
