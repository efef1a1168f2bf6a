"""Algorithms: what off-policy agents of one kind do in a gradient step, and how they explore."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

Tensors = dict[str, torch.Tensor]
Terms = tuple[torch.Tensor, ...]


class Batch(NamedTuple):
    """A minibatch of one member: each of shape (batch, ...), the last three (batch, 1)."""

    observations: torch.Tensor
    actions: torch.Tensor
    next_observations: torch.Tensor
    dones: torch.Tensor
    rewards: torch.Tensor
    discounts: torch.Tensor
    """Of the value that follows: gamma, or what n steps make of it."""


class Here(NamedTuple):
    """What the loss of one member sees."""

    policy: Any
    """With this member's weights, those that were moved earlier in this gradient step included."""
    loose: Tensors
    batch: Batch
    noise: Sequence[torch.Tensor]
    """(batch, action dimensions) each."""
    knobs: Tensors
    """See `Algorithm.knobs`; each of shape ()."""
    passed: Tensors
    """What earlier losses of this phase passed on."""


Found = tuple[torch.Tensor, tuple[Terms, Tensors]]
"""A loss, its terms, and what it passes on to later losses."""
Loss = Callable[[Here], Found]


class Stage(NamedTuple):
    """One optimizer's step.

    Args:
        optimizer: its attribute path in the agent.
        loss: of which it descends the gradient.
        terms: names of the loss's terms.
    """

    optimizer: str
    loss: Loss
    terms: tuple[str, ...]


class Phase(NamedTuple):
    """What is compiled as one: stages in their order.

    Args:
        stages: each sees what those before it have moved.
        copies: whether target networks follow afterwards.
        due: whether it is part of an agent's gradient step, by the number of the update, from 1, and its place, from
            0, among those that follow one rollout.
    """

    stages: tuple[Stage, ...]
    copies: bool
    due: Callable[[Any, int, int], bool]


class Algorithm(Protocol):
    """One kind of agent, with those of its settings that are built into what is compiled; equal ones compile alike."""

    @property
    def optimizers(self) -> tuple[str, ...]:
        """Their attribute paths in an agent."""

    @property
    def loose(self) -> tuple[str, ...]:
        """Attributes of an agent that are tensors and belong to no network."""

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Of a gradient step."""

    @property
    def targets(self) -> Mapping[str, str]:
        """Attribute paths of target networks that a phase moves, each with the network it follows."""

    def knobs(self, model: Any) -> dict[str, float]:
        """What a gradient step reads anew each time, by name; `max_grad_norm` and `tau` do what SB3's do."""

    def wanders(self, model: Any, generator: np.random.RandomState) -> bool:
        """Whether an agent that has begun to learn acts at random this time."""

    def acting_noise(self, actions: int) -> tuple[tuple[int, ...], ...]:
        """Shapes of the standard normal noise of one environment's action, of so many dimensions."""

    def act(self, policy: Any, observations: torch.Tensor, noise: Sequence[torch.Tensor]) -> torch.Tensor:
        """Actions of a batch of environments, as the policy's `_predict` gives them."""

    def update_noise(self, actions: np.dtype[Any]) -> tuple[torch.dtype, ...]:
        """Kinds of the noise tensors of a gradient step, where the buffer keeps actions of this kind."""

    def draw(self, model: Any, noise: Sequence[torch.Tensor], generator: torch.Generator) -> None:
        """Fills them for an agent's next gradient step, in SB3's order."""

    def record(self, model: Any, terms: Mapping[str, Sequence[float]]) -> None:
        """Logs a `train`, given the terms of its gradient steps, as SB3 does."""


def always(_: Any, number: int, place: int) -> bool:
    """For a phase of every gradient step."""
    return True


def mean(values: Sequence[float]) -> float:
    """Of at least one."""
    return sum(values) / len(values)
