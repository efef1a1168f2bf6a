"""Tickets out of trainings: of a mask and the state that its training starts from, with where they come from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import Trained, Training
from rl_tickets.training.rewinding import Rewind


def make_ticket(mask: Mask, start: TrainingState, trained: Trained, rewind: Rewind, origin: dict[str, Any]) -> Ticket:
    """The ticket of a mask and the state its training starts from.

    Args:
        mask: which weights are kept.
        start: the weights and what else travels with them.
        trained: the training that the mask was drawn from.
        rewind: which parts went back to which step.
        origin: what else provenance is to tell, as plain data.
    """
    return Ticket(
        mask=mask,
        weights=start.policy,
        state={
            "tensors": start.tensors,
            "optimizers": start.optimizers,
            "normalizer": start.normalizer,
            "copies": trained.copies,
        },
        provenance={
            **trained.provenance,
            "rewind": {"at": rewind.at, "step": start.timesteps, "parts": list(rewind.parts)},
            "mask_digest": mask.digest,
            **origin,
        },
    )


def ticket_of(request: Training, trained: Trained) -> Ticket:
    """The ticket a level trained, with the mask at its end; a dense level's has all weights of what it kept first."""
    if request.ticket is None:
        at = request.keep_at[0] if request.keep_at else 0
        point = trained.at(at) if request.keep_at else trained.end
        return make_ticket(trained.mask, point, trained, Rewind(at=at), {"level": request.level})
    if request.ticket.mask == trained.mask:
        return request.ticket
    moved = {"mask_digest": trained.mask.digest, "moved_from": request.ticket.mask.digest}
    return replace(request.ticket, mask=trained.mask, provenance={**request.ticket.provenance, **moved})
