"""What the compiled functions of off-policy agents are built from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rl_tickets.training.cohorts.normalizing import Normalization
from rl_tickets.training.cohorts.off_policy.algorithm import Algorithm
from rl_tickets.training.cohorts.stack import Part


@dataclass(frozen=True)
class Blueprint:
    """What the members of a cohort have in common.

    Args:
        algorithm: of its gradient steps.
        parts: what its optimizers train, by the optimizer's attribute path.
        masked: names of the parameters that a mask may cover.
        targets: names of tensors that follow others in a gradient step, with the names of those.
        batch_size: rows of a minibatch.
        normalization: of observations and rewards, where it can be stacked.
    """

    algorithm: Algorithm
    parts: Mapping[str, Part]
    masked: tuple[str, ...]
    targets: Mapping[str, str]
    batch_size: int
    normalization: Normalization | None
