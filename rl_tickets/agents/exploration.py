"""The exploration that training changes: DQN's epsilon, a Gaussian policy's `log_std`, SAC's entropy coefficient."""

from __future__ import annotations

from dataclasses import replace

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.state import TrainingState

_RATE, _SPREAD, _TEMPERATURE = "exploration_rate", "log_std", "log_ent_coef"


def explores(model: BaseAlgorithm) -> bool:
    """Whether training changes how it explores; the action noise of TD3 and DDPG stays what it was given."""
    spread = any(_is_spread(name) for name, _ in model.policy.named_parameters())
    return spread or hasattr(model, _RATE) or _TEMPERATURE in anatomy.loose_tensors(model)


def exploring_as(state: TrainingState, other: TrainingState) -> TrainingState:
    """The state, with the exploration of another of the same agent in every part that it has."""
    if state.weights is not None:
        spreads = {name: value for name, value in other.policy.items() if _is_spread(name)}
        modules = {**state.weights["modules"], "policy": {**state.policy, **spreads}}
        temperature = {name: value for name, value in other.tensors.items() if name == _TEMPERATURE}
        state = replace(state, weights={"modules": modules, "tensors": {**state.tensors, **temperature}})
    rate = exploration_rate(other)
    if state.schedule is not None and rate is not None:
        state = replace(state, schedule={**state.schedule, _RATE: rate})
    return state


def exploration_rate(state: TrainingState) -> float | None:
    """DQN's epsilon; None for agents without."""
    return (state.schedule or {}).get(_RATE)


def _is_spread(name: str) -> bool:
    # By its own name: where a layer computes the spread, its weights are called log_std.weight and log_std.bias.
    return name.rpartition(".")[2] == _SPREAD
