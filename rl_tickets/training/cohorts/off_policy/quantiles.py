"""QR-DQN (Dabney et al. 2018, arXiv 1710.10044) and TQC (Kuznetsov et al. 2020, arXiv 2005.04269), as sb3-contrib's."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from sb3_contrib.common.utils import quantile_huber_loss

from rl_tickets.training.cohorts.off_policy.algorithm import Found, Here
from rl_tickets.training.cohorts.off_policy.dqn import DQNSteps
from rl_tickets.training.cohorts.off_policy.sac import SACSteps, coefficient, sampled


@dataclass(frozen=True)
class QRDQNSteps(DQNSteps):
    """See `Algorithm`; DQN that learns quantiles of returns."""

    def loss(self, here: Here) -> Found:
        """Quantile regression towards the quantiles of the greedy next action, (batch, quantiles, actions)."""
        batch, policy = here.batch, here.policy
        following = policy.quantile_net_target(batch.next_observations)
        greedy = following.mean(dim=1, keepdim=True).argmax(dim=2, keepdim=True)
        target = batch.rewards + (1 - batch.dones) * batch.discounts * _of_actions(following, greedy)
        quantiles = _of_actions(policy.quantile_net(batch.observations), batch.actions[..., None].long())
        loss = quantile_huber_loss(quantiles, target, sum_over_quantiles=True)
        return loss, ((loss,), {})

    def knobs(self, model: Any) -> dict[str, float]:
        """See `Algorithm`; no gradient is too long where none is clipped."""
        return {"max_grad_norm": math.inf if model.max_grad_norm is None else model.max_grad_norm}


def _of_actions(quantiles: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
    """(batch, quantiles) of one action each, given (batch, 1, 1)."""
    return quantiles.gather(dim=2, index=actions.expand(-1, quantiles.shape[1], 1)).squeeze(dim=2)


@dataclass(frozen=True)
class TQCSteps(SACSteps):
    """See `Algorithm`; SAC whose critics learn quantiles, the highest of which count for nothing.

    Args:
        kept: how many quantiles of all critics together are left of a state that follows.
    """

    kept: int

    def critic_loss(self, here: Here) -> Found:
        """Quantile regression towards the lowest quantiles of all target critics."""
        batch, policy, entropy = here.batch, here.policy, coefficient(here)
        actions, log_prob = sampled(policy.actor, batch.next_observations, here.noise[1])
        following = policy.critic_target(batch.next_observations, actions)
        lowest = torch.sort(following.flatten(1))[0][:, : self.kept] - entropy * log_prob
        target = batch.rewards + (1 - batch.dones) * batch.discounts * lowest
        quantiles = policy.critic(batch.observations, batch.actions)
        loss = quantile_huber_loss(quantiles, target.unsqueeze(1), sum_over_quantiles=False)
        return loss, ((loss, entropy.clone()), {})

    def value(self, critics: Any) -> torch.Tensor:
        """The mean of all quantiles of all critics."""
        found: torch.Tensor = critics.mean(dim=2).mean(dim=1, keepdim=True)
        return found
