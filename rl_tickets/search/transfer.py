"""Transfer as a plan: tickets that were found for another agent train the experiment's (Morcos et al. 2019, arXiv
1906.02773)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.making import MakeModel
from rl_tickets.agents.state import TrainingState
from rl_tickets.search.misfits import MakeMask, refuse_layer
from rl_tickets.search.plan import Plan, Search, Setup
from rl_tickets.search.transferred import Transferred
from rl_tickets.search.transferring import transfer
from rl_tickets.tickets import identity
from rl_tickets.tickets.densities import among, as_floats, same_density
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import Name, Training
from rl_tickets.training.ticketing import ticket_of


@dataclass(frozen=True)
class SavedTickets:
    """The tickets of one search of a finished experiment.

    Args:
        folder: RESULTS/EXPERIMENT/tickets/SEARCH.

    Example:
        >>> SavedTickets("results/cartpole_ppo/tickets/imp").path(seed=0, level=2).name
        'level-02.ticket'
    """

    folder: str | Path

    def path(self, *, seed: int, level: int) -> Path:
        """The file of one ticket."""
        return Path(self.folder) / f"seed-{seed}" / f"{Name(level)}.ticket"

    def load(self, *, seed: int, level: int) -> Ticket:
        """One ticket.

        Raises:
            ValueError: there is none.
        """
        path = self.path(seed=seed, level=level)
        if not path.is_file():
            raise ValueError(f"there is no ticket {path}; finish the experiment that it comes from, with this seed")
        return Ticket.load(path)

    @property
    def identity(self) -> str:
        """Experiment, search and digest of the first ticket, wherever the folder lies.

        Raises:
            ValueError: the folder has no tickets.
        """
        first = min(Path(self.folder).glob("seed-*/*.ticket"), default=None)
        if first is None:
            raise ValueError(f"there are no tickets in {self.folder}; finish the experiment that they come from first")
        experiment, _, search = Path(self.folder).absolute().parts[-3:]
        return f"{experiment}/{search}, first {Ticket.load(first).digest[:16]}"


@dataclass(frozen=True)
class Transfer(Plan):
    """Trains, at every level, the ticket that another agent's search found at that level with the same seed.

    Each trains the whole budget from the start of the schedules, whatever step its weights come from.

    Args:
        of: whose tickets: `SavedTickets` of another experiment, or the name of a plan of this one.
        source: makes the agent that they were found in, see `transfer`.
        names: target's module path -> the ticket's, see `transfer`.
        otherwise: what becomes of layers that do not fit: `rt.refuse_layer`, `rt.dense_layer`, `rt.random_layer`.
        at: densities at which they are trained, of the sparse ones of this experiment; None: at all.

    Raises:
        TypeError: `of` is neither, or `at` no densities.

    Example:
        >>> Transfer(of=SavedTickets("results/cartpole_ppo/tickets/imp")).needs
        ()
    """

    of: SavedTickets | str
    source: MakeModel | None = None
    names: Mapping[str, str] | None = None
    otherwise: MakeMask = refuse_layer
    at: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.of, SavedTickets | str):
            raise TypeError(f"tickets to transfer are rt.SavedTickets(folder) or a plan's name, not {self.of!r}")
        if self.at is not None:
            object.__setattr__(self, "at", as_floats(self.at))

    def search(self, setup: Setup) -> Search:
        """See `Plan`."""
        for level, ticket in self._tickets(setup).items():
            found = self._transferred(ticket, level, setup).ticket
            yield Training(level, ticket=found, start=TrainingState.from_ticket(found), prunable=setup.prunable)

    def _tickets(self, setup: Setup) -> dict[int, Ticket]:
        """By level."""
        if isinstance(self.of, SavedTickets):
            return {name.level: self.of.load(seed=setup.seed, level=name.level) for name in self.trainings(setup)}
        levels = {name.level for name in self.trainings(setup)}
        return {
            request.level: ticket_of(request, done)
            for request, done in setup.outcomes_of(self.of)
            if request.ticket and request.level in levels
        }

    def _transferred(self, ticket: Ticket, level: int, setup: Setup) -> Transferred:
        wanted = setup.densities[level]
        if not same_density(ticket.density, wanted):
            raise ValueError(
                f"the ticket of level {level} has density {ticket.density:.3g}, and this experiment's level {level} "
                f"{wanted:.3g}; give both experiments the same densities"
            )
        return transfer(
            ticket,
            setup.make_model,
            source=self.source,
            names=self.names,
            otherwise=self.otherwise,
            prunable=setup.prunable,
            seed=setup.seed,
        )

    @property
    def needs(self) -> tuple[str, ...]:
        """The plan that the tickets come from, where it is one of this experiment."""
        return () if isinstance(self.of, SavedTickets) else (self.of,)

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """Those of the other plan that train a ticket, or one for each sparse density, of those that are asked for."""
        named = super().trainings(setup) if isinstance(self.of, SavedTickets) else setup.plans[self.of].trainings(setup)
        sparse = (name for name in named if name.level > 0)
        return tuple(name for name in sparse if self.at is None or among(setup.densities[name.level], self.at))

    def everywhere(self) -> Transfer:
        """See `Plan`."""
        return replace(self, at=None)

    def check(self, setup: Setup) -> None:
        """See `Plan`."""
        for density in self.at or ():
            if not among(density, setup.densities[1:]):
                choices = ", ".join(f"{aim:g}" for aim in setup.densities[1:])
                raise ValueError(
                    f"tickets are to be trained at density {density:g}, none of this experiment's: {choices}"
                )
        known = isinstance(self.of, SavedTickets) or self.of in setup.plans
        if known and (variants := [name for name in self.trainings(setup) if name.variant]):
            raise ValueError(f"{self.of!r} trains several tickets at one level ({variants[0]}); choose a plan with one")

    def check_agent(self, model: BaseAlgorithm, setup: Setup) -> None:
        """See `Plan`; the tickets of saved ones must be there, and fit."""
        if isinstance(self.of, SavedTickets):
            for level, ticket in self._tickets(setup).items():
                self._transferred(ticket, level, setup)

    def settings(self) -> identity.Plain:
        """See `Plan`."""
        of: Any = self.of.identity if isinstance(self.of, SavedTickets) else self.of
        return identity.describe(replace(self, of=of), type(self).__name__)
