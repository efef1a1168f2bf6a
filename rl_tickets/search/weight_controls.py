"""Controls with a ticket's own mask over other weights: was it the weights, or only where they are?

Each differs from its ticket in exactly what it claims, and checks that it does.
"""

from __future__ import annotations

import numpy as np
import torch

from rl_tickets.agents.exploration import spreads
from rl_tickets.agents.generators import derived_seed
from rl_tickets.agents.making import MakeModel, built
from rl_tickets.search.spoiling import spoiled
from rl_tickets.tickets.ticket import Ticket


def random_reinit(ticket: Ticket, make_model: MakeModel | None = None, *, seed: int) -> Ticket:
    """The same mask over the weights of a newly initialised agent (Frankle & Carbin 2019, arXiv 1803.03635).

    Args:
        ticket: the ticket it is a control of; it stays as it is.
        make_model: makes the fresh agent whose initial weights are taken.
        seed: from which the agent's seed is drawn.

    Raises:
        TypeError: no `make_model` was given.
        ValueError: the fresh agent's weights do not differ, so `make_model` ignores its seed.
    """
    return spoiled(ticket, "random_reinit", seed, weights=_fresh(ticket, make_model, "random_reinit", seed))


def rescaled_reinit(ticket: Ticket, make_model: MakeModel | None = None, *, seed: int) -> Ticket:
    """The same, with each layer's kept weights scaled to the Euclidean norm of those that the ticket keeps there.

    A ticket keeps large weights, so that re-initialised ones are smaller too; these differ in their direction alone.
    They are the weights that `random_reinit` draws with this seed; target networks and shared layers follow. Biases
    and all else that is never pruned are the fresh agent's, as in `random_reinit`, and are not scaled.

    Args:
        ticket: the ticket it is a control of; it stays as it is.
        make_model: makes the fresh agent.
        seed: from which the agent's seed is drawn.

    Raises:
        TypeError: no `make_model` was given.
        ValueError: `make_model` ignores its seed, or initialises all kept weights of a layer with zero.
    """
    weights = _fresh(ticket, make_model, "rescaled_reinit", seed)
    for name, kept in ticket.mask.items():
        wanted, norm = (torch.linalg.vector_norm(each[name][kept].double()) for each in (ticket.weights, weights))
        if norm == wanted:
            continue
        if norm == 0:
            raise ValueError(
                f"rescaled_reinit cannot scale {name!r}: a fresh agent's kept weights are all zero there; take "
                "random_reinit"
            )
        for place in _places(ticket, name):
            weights[place] = torch.where(kept, weights[place] * (wanted / norm).item(), weights[place])
    return spoiled(ticket, "rescaled_reinit", seed, weights=weights)


def permuted_weights(ticket: Ticket, make_model: MakeModel | None = None, *, seed: int) -> Ticket:
    """The same mask; within each layer the kept weights change places (Vischer et al. 2022, arXiv 2105.01648).

    Target networks and shared layers follow. Raises ValueError if no layer keeps two different weights.
    """
    rng = np.random.default_rng([seed, 0x9E2])
    weights = {name: tensor.clone() for name, tensor in ticket.weights.items()}
    moved = False
    for name, kept in ticket.mask.items():
        places = torch.nonzero(kept.flatten()).flatten()
        order = places[torch.from_numpy(rng.permutation(len(places)))]
        for place in _places(ticket, name):
            flat = weights[place].flatten().clone()
            flat[places] = flat[order]
            weights[place] = flat.reshape(weights[place].shape)
        moved |= not torch.equal(weights[name], ticket.weights[name])
        if not torch.equal(weights[name][kept].sort().values, ticket.weights[name][kept].sort().values):
            raise AssertionError(f"permuted_weights changed values of {name!r}")
    if not moved:
        raise ValueError("permuted_weights changed nothing: no layer of this ticket keeps two different weights")
    return spoiled(ticket, "permuted_weights", seed, weights=weights)


def _fresh(ticket: Ticket, make_model: MakeModel | None, control: str, seed: int) -> dict[str, torch.Tensor]:
    """Weights of a fresh agent of another seed, with none of the ticket's layers; it explores as the ticket does."""
    if make_model is None:
        raise TypeError(f"{control} needs make_model, whose fresh agent gives the new weights")
    with built(make_model, derived_seed(seed, 0x7E1)) as model:
        weights = {name: tensor.detach().cpu().clone() for name, tensor in model.policy.state_dict().items()}
    weights |= {name: spread.clone() for name, spread in spreads(ticket.weights).items()}
    if all(torch.equal(weights[name], ticket.weights[name]) for name in ticket.mask):
        raise ValueError(f"{control} left all weights as they were: make_model(seed) ignores its seed")
    return weights


def _places(ticket: Ticket, name: str) -> list[str]:
    """A weight's names in the policy's `state_dict`, its own and those of its copies, target networks among them."""
    copies: dict[str, str] = ticket.state.get("copies") or {}
    return [name, *(copy for copy, origin in copies.items() if origin == name)]
