"""Spoiling a ticket: what every function that makes a control does alike."""

from __future__ import annotations

import dataclasses
from typing import Any

from rl_tickets.tickets.ticket import Ticket

TRIES = 100
"""Draws of a mask before it is said that there is no other than the ticket's."""


def spoiled(ticket: Ticket, name: str, seed: int, **changes: Any) -> Ticket:
    """A copy with the changes, which says so.

    Moments are dropped, since they belong to the weights and mask that were.
    """
    state = {**ticket.state, "optimizers": None}
    provenance = {**ticket.provenance, "control": name, "control_seed": seed, "of": ticket.digest}
    return dataclasses.replace(ticket, state=state, provenance=provenance, **changes)
