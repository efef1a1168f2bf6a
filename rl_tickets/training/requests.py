"""What a search asks for, what it receives back, and what is in between: training requests as plain data."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.making import MakeModel
from rl_tickets.agents.state import TrainingState
from rl_tickets.agents.trimmed import Trimmed
from rl_tickets.tickets.mask import Mask, Prunable
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.curve import CurvePoint, LearningCurve
from rl_tickets.training.during import During, Row
from rl_tickets.training.early_bird import EarlyBird, Sighting


class DivergenceWarning(UserWarning):
    """A search goes on from a training whose weights are no longer finite."""


class Name(NamedTuple):
    """What a training is called within its plan and seed, on disk too.

    Args:
        level: 0 is dense.
        variant: tells several trainings of one level apart; usually there is one.

    Example:
        >>> str(Name(3)), str(Name(0, "copy"))
        ('level-03', 'level-00-copy')
    """

    level: int
    variant: str = ""

    def __str__(self) -> str:
        return f"level-{self.level:02d}" + (f"-{self.variant}" if self.variant else "")


@dataclass(frozen=True)
class Training:
    """A search's request: train this ticket until that step.

    Args:
        level: 0 is dense.
        variant: tells several trainings of one level apart: letters, digits, - and _.
        ticket: the ticket whose mask to hold, or None for a dense agent.
        start: parts to set in the fresh agent (the ticket's weights among them), or None to start at initialisation.
        until: environment step at which training ends; None: the experiment's budget.
        schedule_end: step at which the schedules (learning rate, exploration, clip range) end; None: `until`.
        exploration_rate: that is held in place of the agent's exploration schedule (DQN's epsilon); None: the schedule.
        keep_at: steps whose training state the search wants to have back.
        during: observers and actors inside the training, each with a table of its own.
        draws: a seed of its own for environments and minibatches, from the same weights; None: the training seed.
        prunable: as in `Mask.dense`, for the mask of a dense agent.
        spent: environment steps that it took to find the ticket: of all trainings before, or of data; None where the
            search does not say.
        make_model: makes another agent than the experiment's, which is trained instead; None: the experiment's. It is
            played in the experiment's environment, and must make the same agent of a shape and seed again.
        dense_weights: prunable weights of the dense agent among which this one's are counted, where it is a smaller
            one: its density is told as their share. None: its own.
        trim: makes the smaller agent that is trained in the place of the one that has the ticket's mask, `Trimmed`;
            what comes of it, and all that is told of it, is the whole agent's. None: nothing is trimmed.

    Raises:
        ValueError: nothing to trim, or states to keep of an agent that is trimmed; a variant that is no file name, or
            two observers that write the same table.

    Example:
        >>> Training(level=2, variant="copy", draws=7).name
        Name(level=2, variant='copy')
    """

    level: int
    variant: str = ""
    ticket: Ticket | None = None
    start: TrainingState | None = None
    until: int | None = None
    schedule_end: int | None = None
    exploration_rate: float | None = None
    keep_at: tuple[int, ...] = ()
    during: tuple[During, ...] = ()
    draws: int | None = None
    prunable: Prunable | None = None
    spent: int | None = None
    make_model: MakeModel | None = None
    dense_weights: int | None = None
    trim: Callable[[BaseAlgorithm, Mask], Trimmed] | None = None

    def __post_init__(self) -> None:
        if self.variant and not self.variant.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"a variant cannot be called {self.variant!r}: use letters, digits, - and _")
        if self.trim is not None and (self.ticket is None or self.keep_at):
            raise ValueError("what is trimmed is an agent with a ticket's mask, of which no state in between is kept")
        tables = [each.table for each in self.during]
        if twice := sorted({table for table in tables if tables.count(table) > 1}):
            raise ValueError(f"two observers of one training write the table {twice[0]!r}; give one another `table`")

    @property
    def name(self) -> Name:
        """Its identity within its plan and seed, on disk too."""
        return Name(self.level, self.variant)

    def repeats(self, other: Training) -> bool:
        """Whether it trains what the other does, whichever states they want to have back."""
        return replace(self, keep_at=()) == replace(other, keep_at=())

    def begins_at(self) -> int:
        """Environment step it starts from."""
        return self.start.timesteps if self.start is not None else 0


@dataclass(frozen=True)
class Trained:
    """What a search receives back: the end of a level, as data that also survives on disk.

    Args:
        end: weights, normalizer and schedule position at the end of training.
        kept: the states the request asked to keep, by requested step.
        mask: the mask that was held at the end; the full one for a dense agent.
        timesteps: environment steps trained at this level.
        diverged: whether a weight became NaN or infinite.
        copies: names in the policy's `state_dict` that repeat a prunable weight (shared extractors) or follow it
            (target networks), with the weight's name.
        provenance: plain data: algorithm, environment, seed, versions.
        observed: what observers saw, by table: rows in the columns of their `During`.
        problem: what training raised once weights were no longer finite, or empty.
    """

    end: TrainingState
    kept: Mapping[int, TrainingState]
    mask: Mask
    timesteps: int
    diverged: bool
    copies: dict[str, str]
    provenance: dict[str, Any]
    observed: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    problem: str = ""

    def __repr__(self) -> str:
        steps = f"timesteps={self.timesteps}, kept={list(self.kept)}"
        return f"Trained(density={self.mask.density:.4g}, {steps}, diverged={self.diverged})"

    @property
    def overall_density(self) -> float | None:
        """Fraction kept of all the trained networks' parameters, as `Ticket.overall_density`."""
        parameters = self.provenance.get("parameters")
        return None if parameters is None else self.mask.density_among(parameters)

    @property
    def curve(self) -> tuple[CurvePoint, ...]:
        """The learning curve."""
        return tuple(CurvePoint._make(row) for row in self.observed.get(LearningCurve.table, ()))

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """Distances of masks that early-bird saw; none without it."""
        return tuple(Sighting._make(row) for row in self.observed.get(EarlyBird.table, ()))

    def at(self, step: int) -> TrainingState:
        """The state at a step that the request asked to keep; its end, which is said, if it had diverged before."""
        if step not in self.kept:
            warnings.warn(
                f"training diverged before step {step}, so that no state of it was kept; its end is used instead",
                DivergenceWarning,
                stacklevel=2,
            )
        return self.kept.get(step, self.end)

    def tree(self) -> dict[str, Any]:
        """All of it as plain data and arrays; `from_tree` gives it back."""
        parts = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        observed = {table: [tuple(row) for row in rows] for table, rows in self.observed.items()}
        kept = {step: state.tree() for step, state in self.kept.items()}
        return {**parts, "end": self.end.tree(), "kept": kept, "mask": dict(self.mask), "observed": observed}

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Trained:
        """What `tree` gave."""
        observed = {table: tuple(rows) for table, rows in tree["observed"].items()}
        kept = {step: TrainingState(**state) for step, state in tree["kept"].items()}
        parts = {**tree, "end": TrainingState(**tree["end"]), "kept": kept, "mask": Mask(tree["mask"])}
        return cls(**{**parts, "observed": observed})


@dataclass(frozen=True)
class Progress:
    """A level in the middle: all that is needed to go on as if nothing had happened.

    Args:
        state: of the agent, at the start of a rollout.
        kept: the states kept so far.
        mask: the mask that is held now, or None.
        gradient: the dense gradient that was seen so far, or None where nobody watches it.
        observers: progress of each, by table.
    """

    state: TrainingState
    kept: dict[int, TrainingState]
    mask: Mask | None
    gradient: dict[str, torch.Tensor] | None = field(repr=False)
    observers: dict[str, Any] = field(repr=False)

    def tree(self) -> dict[str, Any]:
        """All of it as plain data and arrays; `from_tree` gives it back."""
        return {
            "state": self.state.tree(),
            "kept": {step: state.tree() for step, state in self.kept.items()},
            "mask": None if self.mask is None else dict(self.mask),
            "gradient": self.gradient,
            "observers": self.observers,
        }

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> Progress:
        """What `tree` gave."""
        kept = {step: TrainingState(**state) for step, state in tree["kept"].items()}
        mask = None if tree["mask"] is None else Mask(tree["mask"])
        return cls(TrainingState(**tree["state"]), kept, mask, tree["gradient"], tree["observers"])
