"""Plans that are controls of another plan's tickets: at which of them they stand, and what they are told of."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from rl_tickets.search.plan import DENSE, Plan, Setup
from rl_tickets.tickets.densities import among
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import Name, Training


class ControlPlan(Plan):
    """A training beside every ticket of another plan, or beside those at chosen densities.

    Subclasses are frozen dataclasses with these two fields among their own.

    Args:
        of: name of the plan whose tickets have controls.
        at: densities at which they have, of those that the other plan aims at; None: at all.
    """

    of: str
    at: Sequence[float] | None
    keeps_tickets = False

    def tickets(self, setup: Setup) -> Iterator[tuple[Training, Ticket]]:
        """The other plan's tickets that have controls, each with the request that trained it."""
        for request, _ in setup.outcomes_of(self.of):
            if request.ticket is not None and self._stands(request.name, setup):
                yield request, request.ticket

    @property
    def needs(self) -> tuple[str, ...]:
        """The plan whose tickets it changes."""
        return (self.of,)

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

    def stands_at(self, level: int, setup: Setup) -> bool:
        """Whether the ticket of a level has a control."""
        return self.at is None or among(self.aims(setup)[level], self.at)

    def _stands(self, name: Name, setup: Setup) -> bool:
        """The same of a training; one that only serves the search has no control."""
        source = setup.plans.get(self.of)
        return (source is None or name.variant not in source.aside) and self.stands_at(name.level, setup)

    def everywhere(self) -> Plan:
        """See `Plan`."""
        this: Any = self  # A dataclass, as all controls are.
        found: Plan = dataclasses.replace(this, at=None)
        return found

    def check(self, setup: Setup) -> None:
        """See `Plan`."""
        source = setup.plans.get(self.of)
        if source is None or source.control_of is not None:
            choices = ", ".join(n for n, p in setup.plans.items() if p.control_of is None and n != DENSE)
            way_out = f"choose from: {choices}" if choices else "there is none that is no control itself; add one"
            raise ValueError(f"a control of {self.of!r}, which is no search here; {way_out}")
        aims = self.aims(setup)
        tested = {name.level for name in source.trainings(setup) if name.variant not in source.aside} - {0}
        sparse = [aims[level] for level in sorted(tested)]
        for density in self.at or ():
            if not among(density, sparse):
                choices = ", ".join(f"{aim:g}" for aim in sparse)
                raise ValueError(f"a control at density {density:g}, at which {self.of!r} has no ticket: {choices}")
