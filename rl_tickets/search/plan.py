"""A plan: a search, or a control of one, as a part of an experiment, with all that is its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.making import MakeModel
from rl_tickets.tickets import identity
from rl_tickets.tickets.mask import Prunable
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import Name, Trained, Training
from rl_tickets.training.ticketing import ticket_of

DENSE = "dense"
"""What the dense runs are called that every plan of an experiment may share."""

Search = Generator[Training | Sequence[Training], Any, None]
"""Yields "train this ticket until that step", or several such requests at once; receives what came of it (`Trained`, or
a tuple of them), and decides what comes next."""

Outcome = tuple[Training, Trained]


@dataclass(frozen=True)
class Setup:
    """What a plan may know of the experiment it is a part of, for one seed.

    Args:
        make_model: a fresh dense agent for a seed.
        seed: the training seed.
        total_timesteps: environment steps of a level.
        densities: 1.0, then strictly decreasing.
        prunable: which parameters may be pruned, as in `Mask.dense`.
        plans: the experiment's plans by name.
        outcomes_of: the requests of another plan of this seed, one after another, with what came of each.
    """

    make_model: MakeModel
    seed: int
    total_timesteps: int
    densities: tuple[float, ...]
    prunable: Prunable | None = None
    plans: Mapping[str, Plan] = field(default_factory=dict)
    outcomes_of: Callable[[str], Iterable[Outcome]] = lambda name: ()

    def tickets(self, name: str) -> Iterator[Ticket]:
        """The tickets of another plan's sparse levels, in order; the plan must be among the `needs` of this one."""
        return (ticket_of(request, trained) for request, trained in self.outcomes_of(name) if request.ticket)


class Plan(ABC):
    """A search or a control: subclasses are frozen dataclasses of their own settings, in one's own file.

    `search` is all that most need; what else a plan says of itself has a default that suits a search of one training
    for each sparse density of the experiment, which makes use of the shared dense run.

    Example:
        @dataclass(frozen=True)
        class Shrinking(rt.Plan):
            share: float = 0.5

            def search(self, setup):
                trained = yield rt.Training(level=0, keep_at=(0,), prunable=setup.prunable)
                ...
    """

    keeps_tickets: ClassVar[bool] = True
    """Whether its tickets are worth files of their own."""

    @abstractmethod
    def search(self, setup: Setup) -> Search:
        """The generator of this plan's training requests for one seed."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the plans that must be finished for a seed before this one begins."""
        return (DENSE,)

    @property
    def control_of(self) -> str | None:
        """Name of the plan whose tickets it is a control of, None for a search."""
        return None

    @property
    def aside(self) -> tuple[str, ...]:
        """Variants of trainings that only serve its search: no tickets to be tested, and without controls."""
        return ()

    @property
    def rewind_points(self) -> tuple[int, ...]:
        """Steps of the shared dense run whose states it wants to have back."""
        return ()

    @property
    def cuts(self) -> tuple[int, ...]:
        """Those of its rewind points at which the dense run itself must be cut into segments."""
        return ()

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """Names of all trainings that it yields, without the shared dense run; it must yield these and no others."""
        return tuple(Name(level) for level in range(1, len(setup.densities)))

    def aims(self, setup: Setup) -> tuple[float, ...]:
        """The density that each level aims at, 1.0 first: the experiment's, where a plan has none of its own."""
        return setup.densities

    def check(self, setup: Setup) -> None:  # noqa: B027
        """Raises ValueError at once for settings that would fail only later."""

    def check_agent(self, model: BaseAlgorithm, setup: Setup) -> None:  # noqa: B027
        """Raises ValueError at once for what would fail only after a level or more of this agent."""

    def everywhere(self) -> Plan:
        """With tickets at all densities, where it asks for chosen ones, which a shorter experiment may not have."""
        return self

    def make_model_of(self, trained: Trained, setup: Setup) -> MakeModel:
        """What made the agent of one of its trainings, so that its final weights can be played again."""
        return setup.make_model

    def on_grid(self, grid: Sequence[int]) -> Plan:
        """The same with its `cuts` moved to steps at which the experiment cuts all training, ascending."""
        return self

    def scaled(self, ratio: float, rollout: int) -> Plan:
        """The same for a budget `ratio` times as large; rewind points fall on whole rollouts of so many steps."""
        return self

    def settings(self) -> identity.Plain:
        """All that makes it what it is, as plain data: under other settings, a results folder is another's.

        Raises:
            ValueError: a setting that cannot be described.
        """
        return identity.describe(self, type(self).__name__)


@dataclass(frozen=True)
class Dense(Plan):
    """The dense runs that every plan may share.

    Args:
        keep_at: steps whose states the plans want to have back, ascending.
    """

    keep_at: tuple[int, ...] = (0,)

    def search(self, setup: Setup) -> Search:
        """One training of level 0."""
        yield self.request(setup)

    def request(self, setup: Setup) -> Training:
        """The request that other plans share with it."""
        return Training(level=0, keep_at=self.keep_at, prunable=setup.prunable)

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """Level 0."""
        return (Name(0),)
