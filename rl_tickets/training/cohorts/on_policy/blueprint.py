"""What the compiled functions of on-policy agents are built from."""

from __future__ import annotations

from dataclasses import dataclass

from rl_tickets.training.cohorts.normalizing import Normalization
from rl_tickets.training.cohorts.on_policy.losses import A2CLoss, PPOLoss
from rl_tickets.training.cohorts.on_policy.sampling import Sampler
from rl_tickets.training.cohorts.stack import Part

OPTIMIZER = "policy.optimizer"
"""Where an on-policy agent keeps the one that it has."""


@dataclass(frozen=True)
class Blueprint:
    """What the members of a cohort have in common.

    Args:
        part: what the optimizer trains.
        masked: names of the parameters that a mask may cover.
        loss: of the algorithm.
        sampler: of the action distribution.
        discrete: whether actions are class numbers.
        max_grad_norm: of one member's gradient.
        target_kl: see `PPO`.
        normalization: of observations and rewards, where it can be stacked.
    """

    part: Part
    masked: tuple[str, ...]
    loss: PPOLoss | A2CLoss
    sampler: Sampler
    discrete: bool
    max_grad_norm: float
    target_kl: float | None
    normalization: Normalization | None
