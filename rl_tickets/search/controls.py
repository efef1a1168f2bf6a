"""Controls: what must differ from a ticket in one thing alone, to tell what made it win (Frankle & Carbin 2019;
Vischer et al. 2022).

The functions that make one are in `weight_controls`, `mask_controls` and `unit_controls`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

from rl_tickets.search.plan import DENSE, Plan, Search, Setup
from rl_tickets.tickets.densities import as_floats
from rl_tickets.tickets.identity import name_of
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import Name

MakeControl = Callable[..., Ticket]
"""`(ticket, make_model, *, seed) -> Ticket`."""


@dataclasses.dataclass(frozen=True)
class Control(Plan):
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
            if request.ticket is None or not self._stands(request.name, setup):
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
        return tuple(name for name in named if name.level > 0 and self._stands(name, setup))

    def aims(self, setup: Setup) -> tuple[float, ...]:
        """Those of the other plan."""
        return setup.plans[self.of].aims(setup)

    def _stands(self, name: Name, setup: Setup) -> bool:
        """Whether the ticket of a training has a control; one that only serves the search has none."""
        if name.variant in setup.plans[self.of].aside:
            return False
        return self.at is None or any(math.isclose(self.aims(setup)[name.level], density) for density in self.at)

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
