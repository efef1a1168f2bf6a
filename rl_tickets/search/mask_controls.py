"""Controls with a ticket's own weights under another mask: was it the mask, or only how much it keeps where?

Each differs from its ticket in exactly what it claims, and checks that it does. Sparse enough, a random mask may leave
no path from an observation to an action, so that "the mask matters" may only mean "a path matters": the two whose names
begin with `connected` leave one to every output that the ticket reaches.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial

import numpy as np
import torch

from rl_tickets.agents.connecting import connected_mask, least_counts
from rl_tickets.agents.making import MakeModel, built
from rl_tickets.agents.paths import Paths
from rl_tickets.agents.wiring import Wiring, wiring
from rl_tickets.search.spoiling import TRIES, spoiled
from rl_tickets.tickets.criteria import random_scores
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.selecting import LayerCollapseWarning, prune
from rl_tickets.tickets.ticket import Ticket


def permuted_mask(ticket: Ticket, make_model: MakeModel | None = None, *, seed: int) -> Ticket:
    """The same weights; within each layer the mask's bits change places, so that layer densities stay.

    Raises ValueError if every layer is full or empty: then no other mask has these layer densities.
    """
    rng = np.random.default_rng([seed, 0x9A5])
    for _ in range(TRIES):
        mask = Mask({name: _shuffled(kept, rng) for name, kept in ticket.mask.items()})
        if mask != ticket.mask:
            assert mask.layers == ticket.mask.layers
            return spoiled(ticket, "permuted_mask", seed, mask=mask)
    raise ValueError("permuted_mask changed nothing: every layer of this ticket is full or empty")


def _shuffled(kept: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    return kept.flatten()[torch.from_numpy(rng.permutation(kept.numel()))].reshape(kept.shape)


def random_mask(ticket: Ticket, make_model: MakeModel | None = None, *, seed: int) -> Ticket:
    """The same weights and number of kept weights, drawn over all layers alike: layer densities are not kept.

    A layer that the draw would empty keeps one weight, as far as there are enough. Tickets of one search give nested
    masks. Raises ValueError for a dense ticket, which has only one mask.
    """
    _demand_sparse(ticket, "random_mask")
    for attempt in range(TRIES):
        mask = _spread(ticket, seed + attempt)
        if mask != ticket.mask:
            return spoiled(ticket, "random_mask", seed, mask=mask)
    raise ValueError("random_mask drew the ticket's own mask again and again: too few weights to differ")


def connected_permuted_mask(ticket: Ticket, make_model: MakeModel | None = None, *, seed: int) -> Ticket:
    """As `permuted_mask`, but every output that an input reaches in the ticket is reached here too.

    Drawn uniformly from all other masks with the ticket's layer counts that do so (see `connected_mask`), at any
    density. What a path is, see `Paths`; those that are demanded take one step through an LSTM. An output that is
    dead in the ticket may be reached here.

    Args:
        ticket: the ticket it is a control of; it stays as it is.
        make_model: makes an agent, from which it is read what feeds what.
        seed: decides.

    Raises:
        TypeError: no `make_model` was given.
        ValueError: there is no other such mask.
        WiringError: it is not understood what feeds what.
    """
    found, outputs = _wired(ticket, make_model, "connected_permuted_mask", seed)
    rng = np.random.default_rng([seed, 0xC09])
    for _ in range(TRIES):
        mask = connected_mask(found, ticket.mask, outputs, rng)
        if mask != ticket.mask:
            assert mask.layers == ticket.mask.layers
            return spoiled(ticket, "connected_permuted_mask", seed, mask=mask)
    raise ValueError(
        "connected_permuted_mask changed nothing: no other mask with this ticket's layer densities leaves a path to "
        "the same outputs"
    )


def connected_random_mask(ticket: Ticket, make_model: MakeModel | None = None, *, seed: int) -> Ticket:
    """As `random_mask`, but every output that an input reaches in the ticket is reached here too.

    Each layer keeps as many weights as in the `random_mask` of this seed, where that is enough for a path to those
    outputs (one for each in a head, one in a layer before it); what is wanting is taken from the others' surplus at
    random. Of all masks with these layer counts that leave the paths one is drawn uniformly, as in
    `connected_permuted_mask`. Those of one search do not nest.

    Args:
        ticket: the ticket it is a control of; it stays as it is.
        make_model: makes an agent, from which it is read what feeds what.
        seed: decides.

    Raises:
        TypeError: no `make_model` was given.
        ValueError: the ticket is dense, or there is no other such mask.
        WiringError: it is not understood what feeds what.
    """
    _demand_sparse(ticket, "connected_random_mask")
    found, outputs = _wired(ticket, make_model, "connected_random_mask", seed)
    least = least_counts(found, outputs)
    rng = np.random.default_rng([seed, 0xC0A])
    for attempt in range(TRIES):
        mask = connected_mask(found, _lifted(_spread(ticket, seed + attempt), least, rng), outputs, rng)
        if mask != ticket.mask:
            assert mask.kept == ticket.mask.kept
            return spoiled(ticket, "connected_random_mask", seed, mask=mask)
    raise ValueError("connected_random_mask drew the ticket's own mask again and again: too few weights to differ")


def _demand_sparse(ticket: Ticket, control: str) -> None:
    if ticket.mask.kept == ticket.mask.total:
        raise ValueError(f"{control} changed nothing: a dense ticket has only one mask")


def _spread(ticket: Ticket, seed: int) -> Mask:
    """As many weights as the ticket keeps, drawn over all layers alike."""
    weights = {name: ticket.weights[name] for name in ticket.mask}
    enough = ticket.mask.kept >= len(ticket.mask)
    with warnings.catch_warnings():
        # A random draw empties small layers now and then; that is no news about the agent.
        warnings.simplefilter("ignore", LayerCollapseWarning)
        criterion = partial(random_scores, seed=seed)
        mask = prune(weights, ticket.density, criterion=criterion, start=weights, keep_last=enough).mask
    assert mask.kept == ticket.mask.kept
    return mask


def _wired(
    ticket: Ticket, make_model: MakeModel | None, control: str, seed: int
) -> tuple[Wiring, Mapping[str, torch.Tensor]]:
    """What feeds what, and the outputs that an input reaches in the ticket."""
    if make_model is None:
        raise TypeError(f"{control} needs make_model, whose agent tells what feeds what")
    with built(make_model, seed) as model:
        found = wiring(model, lambda name, _: name in ticket.mask)
    return found, Paths.along(found, ticket.mask).outputs


def _lifted(mask: Mask, least: Mapping[str, int], rng: np.random.Generator) -> Mask:
    """A mask of the same number of weights whose layers keep at least so many each; where they lie means nothing."""
    counts = {name: layer.kept for name, layer in mask.layers.items()}
    wanting = {name: max(0, least.get(name, 0) - count) for name, count in counts.items()}
    surplus = [max(0, count - least.get(name, 0)) for name, count in counts.items()]
    taken = rng.multivariate_hypergeometric(surplus, sum(wanting.values()), method="marginals")
    filled = {}
    for (name, kept), less in zip(mask.items(), taken, strict=True):
        bits = torch.zeros(kept.numel(), dtype=torch.bool)
        bits[: counts[name] + wanting[name] - int(less)] = True
        filled[name] = bits.reshape(kept.shape)
    return Mask(filled)
