"""Controls: what must differ from a ticket in one thing alone, to tell what made it win (Frankle & Carbin 2019;
Vischer et al. 2022).

Each differs from its ticket in exactly what it claims, and checks that it does.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from rl_tickets.agents.making import MakeModel
from rl_tickets.search.plan import DENSE, Plan, Search, Setup
from rl_tickets.tickets.criteria import random_scores
from rl_tickets.tickets.densities import as_floats
from rl_tickets.tickets.identity import name_of
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.selecting import LayerCollapseWarning, prune
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import Name

MakeControl = Callable[..., Ticket]
"""`(ticket, make_model, *, seed) -> Ticket`."""
TRIES = 100


@dataclasses.dataclass(frozen=True)
class Control(Plan):
    """Trains a control beside every ticket of another plan: the same request, but for the ticket.

    Seed, start, rewind point and budget are the ticket's own, whatever plan it comes from; moments are dropped, since
    they belong to the weights and mask that were.

    Args:
        make: makes the control of a ticket: `random_reinit`, `permuted_weights`, `permuted_mask`, `random_mask`, or
            any `(ticket, make_model, *, seed) -> Ticket`.
        of: name of the plan whose tickets have controls.
        at: densities at which they have, of those that the other plan aims at; None: at all.

    Raises:
        TypeError: `make` is no function, or gives something else than a ticket.

    Example:
        >>> Control(random_mask).control_of
        'imp'
    """

    make: MakeControl
    of: str = "imp"
    at: Sequence[float] | None = None
    keeps_tickets = False

    def __post_init__(self) -> None:
        if not callable(self.make):
            raise TypeError(
                f"a control is made by a function `(ticket, make_model, *, seed) -> Ticket` such as rt.random_mask, "
                f"not by {self.make!r}: give the function itself"
            )
        if self.at is not None:
            object.__setattr__(self, "at", as_floats(self.at))

    def search(self, setup: Setup) -> Search:
        """See `Plan`."""
        for request, _ in setup.outcomes_of(self.of):
            if request.ticket is None or not self._stands(request.level, setup):
                continue
            assert request.start is not None
            ticket = _made(self.make, request.ticket, setup)
            start = request.start.with_policy(ticket.weights)
            yield dataclasses.replace(request, ticket=ticket, start=start, keep_at=())

    @property
    def needs(self) -> tuple[str, ...]:
        """The plan whose tickets it changes."""
        return (*super().needs, self.of)

    @property
    def control_of(self) -> str | None:
        """The same."""
        return self.of

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """Those of the other plan that train a ticket: all but a dense run of its own."""
        named = setup.plans[self.of].trainings(setup)
        return tuple(name for name in named if name.level > 0 and self._stands(name.level, setup))

    def aims(self, setup: Setup) -> tuple[float, ...]:
        """Those of the other plan."""
        return setup.plans[self.of].aims(setup)

    def _stands(self, level: int, setup: Setup) -> bool:
        """Whether the ticket of a level has a control."""
        return self.at is None or any(math.isclose(self.aims(setup)[level], density) for density in self.at)

    def check(self, setup: Setup) -> None:
        """See `Plan`."""
        source = setup.plans.get(self.of)
        if source is None or source.control_of is not None:
            choices = ", ".join(n for n, p in setup.plans.items() if p.control_of is None and n != DENSE)
            raise ValueError(f"a control of {self.of!r}, which is no search here; choose from: {choices}")
        sparse = self.aims(setup)[1:]
        for density in self.at or ():
            if not any(math.isclose(density, aim) for aim in sparse):
                choices = ", ".join(f"{aim:g}" for aim in sparse)
                raise ValueError(f"a control at density {density:g}, at which {self.of!r} has no ticket: {choices}")


def _made(make: MakeControl, ticket: Ticket, setup: Setup) -> Ticket:
    """What a function gives as the control of a ticket, if it is a ticket."""
    control = make(ticket, setup.make_model, seed=setup.seed)
    if not isinstance(control, Ticket):
        raise TypeError(
            f"the control {name_of(make)} gave {_kind(control)} instead of a Ticket; return the changed ticket, as "
            "dataclasses.replace(ticket, mask=...) makes it"
        )
    return control


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"


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
    if make_model is None:
        raise TypeError("random_reinit needs make_model, whose fresh agent gives the new weights")
    own = int(np.random.SeedSequence([seed, 0x7E1]).generate_state(1)[0]) >> 1
    model = make_model(own)
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.policy.state_dict().items()}
    if (env := model.get_env()) is not None:
        env.close()
    if all(torch.equal(weights[name], ticket.weights[name]) for name in ticket.mask):
        raise ValueError("random_reinit left all weights as they were: make_model(seed) ignores its seed")
    return spoiled(ticket, "random_reinit", seed, weights=weights)


def permuted_weights(ticket: Ticket, make_model: MakeModel | None = None, *, seed: int) -> Ticket:
    """The same mask; within each layer the kept weights change places (Vischer et al. 2022, arXiv 2105.01648).

    Target networks and shared layers follow. Raises ValueError if no layer keeps two different weights.
    """
    rng = np.random.default_rng([seed, 0x9E2])
    weights = {name: tensor.clone() for name, tensor in ticket.weights.items()}
    copies: dict[str, str] = ticket.state.get("copies") or {}
    moved = False
    for name, kept in ticket.mask.items():
        places = torch.nonzero(kept.flatten()).flatten()
        order = places[torch.from_numpy(rng.permutation(len(places)))]
        for place in (name, *(copy for copy, origin in copies.items() if origin == name)):
            flat = weights[place].flatten().clone()
            flat[places] = flat[order]
            weights[place] = flat.reshape(weights[place].shape)
        moved |= not torch.equal(weights[name], ticket.weights[name])
        if not torch.equal(weights[name][kept].sort().values, ticket.weights[name][kept].sort().values):
            raise AssertionError(f"permuted_weights changed values of {name!r}")
    if not moved:
        raise ValueError("permuted_weights changed nothing: no layer of this ticket keeps two different weights")
    return spoiled(ticket, "permuted_weights", seed, weights=weights)


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
    if ticket.mask.kept == ticket.mask.total:
        raise ValueError("random_mask changed nothing: a dense ticket has only one mask")
    weights = {name: ticket.weights[name] for name in ticket.mask}
    for attempt in range(TRIES):
        criterion = partial(random_scores, seed=seed + attempt)
        enough = ticket.mask.kept >= len(ticket.mask)
        with warnings.catch_warnings():
            # A random draw empties small layers now and then; that is no news about the agent.
            warnings.simplefilter("ignore", LayerCollapseWarning)
            mask = prune(weights, ticket.density, criterion=criterion, start=weights, keep_last=enough).mask
        if mask != ticket.mask:
            assert mask.kept == ticket.mask.kept
            return spoiled(ticket, "random_mask", seed, mask=mask)
    raise ValueError("random_mask drew the ticket's own mask again and again: too few weights to differ")


def spoiled(ticket: Ticket, name: str, seed: int, **changes: Any) -> Ticket:
    """A copy with the changes, which says so.

    Moments are dropped, since they belong to the weights and mask that were.
    """
    state = {**ticket.state, "optimizers": None}
    provenance = {**ticket.provenance, "control": name, "control_seed": seed, "of": ticket.digest}
    return dataclasses.replace(ticket, state=state, provenance=provenance, **changes)
