"""Spoiling a ticket: what every function that makes a control does alike."""

from __future__ import annotations

import dataclasses
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.making import MakeModel
from rl_tickets.tickets.ticket import Ticket


def spoiled(ticket: Ticket, name: str, seed: int, **changes: Any) -> Ticket:
    """A copy with the changes; moments are dropped, since they belong to the weights and mask that were."""
    state = {**ticket.state, "optimizers": None}
    provenance = {**ticket.provenance, "control": name, "control_seed": seed, "of": ticket.digest}
    return dataclasses.replace(ticket, state=state, provenance=provenance, **changes)


def made(make_model: MakeModel, seed: int) -> BaseAlgorithm:
    """A fresh agent of which only the networks are wanted: its environment is closed."""
    model = make_model(seed)
    if (env := model.get_env()) is not None:
        env.close()
    return model
