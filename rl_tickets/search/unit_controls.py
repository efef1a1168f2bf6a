"""Controls of tickets whose whole neurons were pruned: what is permuted there are neurons, not single weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rl_tickets.agents.making import MakeModel, built
from rl_tickets.agents.neurons import neurons
from rl_tickets.search.spoiling import TRIES, spoiled
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.tickets.units import Units


def permuted_neurons(ticket: Ticket, make_model: MakeModel | None = None, *, seed: int) -> Ticket:
    """The same weights; within each layer as many neurons are kept, but others, drawn uniformly.

    Args:
        ticket: of `IMP(units=rt.neurons)`; it stays as it is.
        make_model: makes the agent whose neurons are found.
        seed: of the draw.

    Raises:
        TypeError: no `make_model` was given.
        ValueError: the ticket does not consist of whole neurons, or keeps all or none of each layer.

    Example:
        >>> permuted_neurons.__name__
        'permuted_neurons'
    """
    if make_model is None:
        raise TypeError("permuted_neurons needs make_model, whose fresh agent tells which weights are a neuron's")
    with built(make_model, seed) as model:
        units = neurons(model, lambda name, _: name in ticket.mask)
    full = Mask.full(dict(ticket.mask))
    alive = units.alive(ticket.mask)
    if units.keep(alive, full) != ticket.mask:
        raise ValueError("this ticket keeps only parts of some neurons: take permuted_mask, which permutes weights")
    rng = np.random.default_rng([seed, 0x4E3])
    for _ in range(TRIES):
        mask = units.keep(_shuffled(units, alive, rng), full)
        if mask != ticket.mask:
            return spoiled(ticket, "permuted_neurons", seed, mask=mask)
    raise ValueError("permuted_neurons changed nothing: every layer of this ticket keeps all of its neurons, or none")


def _shuffled(units: Units, alive: Sequence[bool], rng: np.random.Generator) -> list[bool]:
    """Within the units of each layer; they stand together."""
    layers: dict[str, list[bool]] = {}
    for unit, lives in zip(units, alive, strict=True):
        layers.setdefault(unit.layer, []).append(lives)
    shuffled = {layer: iter(rng.permutation(lives).tolist()) for layer, lives in layers.items()}
    return [next(shuffled[unit.layer]) for unit in units]
