"""Families: kinds of agents that are trained in lock-step, each in its own way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.training.cohorts.member import Member

if TYPE_CHECKING:
    from rl_tickets.training.cohorts.understudy import Understudy


class PlainTrainingWarning(UserWarning):
    """An agent cannot join a cohort and trains with plain SB3; the text says why."""


class CannotJoin(Exception):
    """Why an agent trains the plain way; the text goes on after "this agent trains with plain SB3, since "."""


def demand_unchanged(cls: type, known: type, methods: tuple[str, ...]) -> None:
    """Raises CannotJoin where a subclass has a method of its own."""
    for method in methods:
        if getattr(cls, method) is not getattr(known, method):
            raise CannotJoin(f"{cls.__name__} has a {method} method of its own")


def told(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@contextmanager
def policy_can_be(done: str) -> Iterator[None]:
    """Around what a user's own policy may not be ready for.

    Raises:
        CannotJoin: the policy cannot be, and why.
        OSError: a full disk says nothing about the policy.
    """
    try:
        yield
    except (OSError, CannotJoin):
        raise
    except Exception as error:
        raise CannotJoin(f"its policy cannot be {done} ({told(error)})") from error


class Family(Protocol):
    """Which agents can be trained together, and how."""

    @property
    def algorithms(self) -> tuple[type[BaseAlgorithm], ...]:
        """Those it knows, subclasses included."""

    def shape_of(self, model: BaseAlgorithm, masked: tuple[str, ...]) -> Shape:
        """The shape of an agent of one of its algorithms.

        Raises:
            CannotJoin: this one cannot be a member; the text says why.
        """

    def understudy(self, model: BaseAlgorithm, seed: int) -> Understudy:
        """A copy of a member, made to be trained for a moment.

        Args:
            model: the agent.
            seed: of what its environments imagine.

        Raises:
            CannotJoin: it cannot be copied.
        """


@dataclass(frozen=True)
class Shape:
    """What the members of one cohort have in common.

    Args:
        signature: everything about an agent that is built into the compiled functions; equal for all members.
        build: of any of them, and a number of slots, what trains them; raises CannotJoin where it cannot be traced.
    """

    signature: str
    build: Callable[[Any, int], Group]


class Group(Protocol):
    """The stacked arrays and compiled functions that train the agents of one shape, in slots.

    Each member's numbers depend on its slot and the number of slots, never on who else is there.
    """

    def prepare(self) -> None:
        """Compiles, while every agent is still its own.

        Raises:
            CannotJoin: the compiler fails.
            OSError: its cache cannot be written.
        """

    def enter(self, member: Member) -> None:
        """Moves a member into its slot and begins its `learn`; it moves out when it leaves."""

    def begin(self, members: list[Member]) -> None:
        """What comes before a round: callbacks may capture, stop or change their agents."""

    def finite(self) -> list[bool]:
        """For each slot, whether its weights are numbers."""

    def round(self, members: list[Member]) -> list[Member]:
        """One rollout of each member, and what is learned from it; those whose callbacks end training leave."""
