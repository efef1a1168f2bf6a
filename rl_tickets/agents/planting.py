"""Planting: a ticket's weights, mask and chosen other state into any fresh SB3 agent."""

from collections.abc import Mapping
from typing import Any, TypeVar

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.holding import hold
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.ticket import Ticket

Model = TypeVar("Model", bound=BaseAlgorithm)


def plant(ticket: Ticket, model: Model) -> Model:
    """See `Ticket.plant`; statistics of VecNormalize and optimizer moments are set where the ticket carries them.

    Moments alone: the optimizers keep the settings that the agent gave them.
    """
    if not isinstance(model, BaseAlgorithm):
        raise TypeError(f"a ticket is planted in an SB3 agent, not in a {type(model).__name__}")
    _demand_fit(ticket, model.policy.state_dict())
    state = TrainingState.from_ticket(ticket)
    if state.normalizer is not None and model.get_vec_normalize_env() is None:
        raise ValueError(
            "the ticket carries VecNormalize statistics, but the agent's environment has no VecNormalize; "
            "wrap it in one"
        )
    state.with_settings_of(model).restore(model)
    hold(model, ticket.mask)
    return model


def _demand_fit(ticket: Ticket, ours: Mapping[str, Any]) -> None:
    for name in [*ticket.weights, *ours]:
        if name not in ours or name not in ticket.weights:
            side = "ticket" if name in ticket.weights else "agent"
            raise ValueError(f"the ticket is for another architecture: only the {side} has {name!r}")
        theirs, mine = ticket.weights[name].shape, ours[name].shape
        if theirs != mine:
            raise ValueError(
                f"the ticket is for another architecture: {name!r} has shape {tuple(theirs)} in the ticket, "
                f"{tuple(mine)} in the agent"
            )
