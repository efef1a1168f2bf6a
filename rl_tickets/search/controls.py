"""Controls: what must differ from a ticket in one thing alone, to tell what made it win (Frankle & Carbin 2019;
Vischer et al. 2022).

The functions that make one are in `weight_controls`, `mask_controls` and `unit_controls`.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from functools import partial

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.layers import WiringError
from rl_tickets.agents.making import MakeModel
from rl_tickets.agents.state import TrainingState
from rl_tickets.search.control_plan import ControlPlan
from rl_tickets.search.imp import IMP
from rl_tickets.search.plan import Search, Setup
from rl_tickets.tickets.criteria import random_scores
from rl_tickets.tickets.densities import as_floats
from rl_tickets.tickets.identity import name_of
from rl_tickets.tickets.selecting import prune
from rl_tickets.tickets.ticket import Ticket

MakeControl = Callable[..., Ticket]
"""`(ticket, make_model, *, seed) -> Ticket`."""


@dataclasses.dataclass(frozen=True)
class Control(ControlPlan):
    """Trains a control beside every ticket of another plan: the same request, but for the ticket.

    Seed, start, rewind point and budget are the ticket's own, whatever plan it comes from; moments are dropped, since
    they belong to the weights and mask that were.

    Args:
        make: makes the control of a ticket: a function of `weight_controls`, `mask_controls`, `unit_controls`, or any
            `(ticket, make_model, *, seed) -> Ticket`.
        of: name of the plan whose tickets have controls.
        at: densities at which they have, of those that the other plan aims at; None: at all.

    Raises:
        TypeError: `make` is no function, or gives something else than a ticket.

    Example:
        >>> from rl_tickets import random_mask
        >>> Control(random_mask).control_of
        'imp'
    """

    make: MakeControl
    of: str = "imp"
    at: Sequence[float] | None = None

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
        for request, ticket in self.tickets(setup):
            # A plan of one's own may leave the start to the ticket.
            start = request.start or TrainingState.from_ticket(ticket)
            ticket = _made(self.make, ticket, request.make_model or setup.make_model, setup.seed)
            start = start.with_policy(ticket.weights)
            yield dataclasses.replace(request, ticket=ticket, start=start, keep_at=())

    def check_agent(self, model: BaseAlgorithm, setup: Setup) -> None:
        """See `Plan`: it is tried on a ticket that is drawn at random, where that is of the kind that will be found."""
        source = setup.plans.get(self.of)
        if not isinstance(source, IMP) or source.network is not None:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.make(_trial(model, setup), setup.make_model, seed=setup.seed)
            except WiringError:
                raise
            except Exception:
                return  # About what was drawn: tickets that are found have a history, and other masks.


def _trial(model: BaseAlgorithm, setup: Setup) -> Ticket:
    """Half of a fresh agent's weights, drawn at random."""
    start = TrainingState.capture(model, replay_buffer=False)
    weights = {name: start.policy[name] for name in anatomy.prunable_weights(model, setup.prunable)}
    mask = prune(weights, 0.5, criterion=partial(random_scores, seed=setup.seed)).mask
    return Ticket(mask, start.policy, {"tensors": start.tensors, "copies": anatomy.copies(model)})


def _made(make: MakeControl, ticket: Ticket, make_model: MakeModel, seed: int) -> Ticket:
    """What a function gives as the control of a ticket, if it is a ticket."""
    control = make(ticket, make_model, seed=seed)
    if not isinstance(control, Ticket):
        raise TypeError(
            f"the control {name_of(make)} gave {_kind(control)} instead of a Ticket; return the changed ticket, as "
            "dataclasses.replace(ticket, mask=...) makes it"
        )
    return control


def _kind(value: object) -> str:
    return "None" if value is None else f"a {type(value).__name__}"
