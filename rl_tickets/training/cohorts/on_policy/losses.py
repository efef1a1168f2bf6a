"""The losses of PPO (Schulman et al. 2017, arXiv 1707.06347) and A2C (Mnih et al. 2016, arXiv 1602.01783), as SB3's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3 import A2C
from stable_baselines3.common.utils import explained_variance
from torch.nn import functional as F

from rl_tickets.training.cohorts.stepping import Array


class Batch(NamedTuple):
    """A minibatch of one member: each of shape (batch, ...)."""

    observations: Any
    """With names, one for each name."""
    actions: torch.Tensor
    values: torch.Tensor
    log_probs: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    action_masks: torch.Tensor | None = None
    """Of agents that are told which actions are allowed."""


class Scalars(NamedTuple):
    """What changes between updates of one member: each of shape ()."""

    clip_range: torch.Tensor
    clip_range_vf: torch.Tensor
    """Infinite where values are not clipped."""


Evaluate = Callable[[Any, torch.Tensor], tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]]
Terms = tuple[torch.Tensor, ...]


@dataclass(frozen=True)
class PPOLoss:
    """The clipped surrogate with value loss and entropy bonus."""

    ent_coef: float
    vf_coef: float
    normalize_advantage: bool
    clips_values: bool

    terms = ("policy_gradient_loss", "value_loss", "entropy_loss", "clip_fraction", "approx_kl", "loss")

    def __call__(self, evaluate: Evaluate, batch: Batch, scalars: Scalars) -> tuple[torch.Tensor, Terms]:
        values, log_prob, entropy = evaluate(batch.observations, batch.actions)
        values = values.flatten()
        advantages = batch.advantages
        if self.normalize_advantage and len(advantages) > 1:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        log_ratio = log_prob - batch.log_probs
        ratio = log_ratio.exp()
        clipped = torch.clamp(ratio, 1 - scalars.clip_range, 1 + scalars.clip_range)
        policy_loss = -torch.min(advantages * ratio, advantages * clipped).mean()
        clip_fraction = ((ratio - 1).abs() > scalars.clip_range).float().mean()
        if self.clips_values:
            moved = torch.clamp(values - batch.values, -scalars.clip_range_vf, scalars.clip_range_vf)
            values = batch.values + moved
        value_loss = F.mse_loss(batch.returns, values)
        entropy_loss = _entropy_loss(entropy, log_prob)
        loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
        # Schulman's estimator of the reverse KL divergence.
        approx_kl = (log_ratio.exp() - 1 - log_ratio).mean()
        return loss, (policy_loss, value_loss, entropy_loss, clip_fraction, approx_kl, loss)

    def record(self, model: Any, epochs: Sequence[Array]) -> None:
        """Logs an update as SB3 does; for each epoch the terms of its minibatches (minibatches, terms)."""
        policy_loss, value_loss, entropy_loss, clip_fraction, _, _ = np.concatenate(epochs).mean(axis=0)
        record = model.logger.record
        record("train/entropy_loss", entropy_loss)
        record("train/policy_gradient_loss", policy_loss)
        record("train/value_loss", value_loss)
        record("train/approx_kl", epochs[-1][:, self.terms.index("approx_kl")].mean())
        record("train/clip_fraction", clip_fraction)
        record("train/loss", epochs[-1][-1, self.terms.index("loss")])
        _record_fit(model)
        record("train/n_updates", model._n_updates, exclude="tensorboard")
        record("train/clip_range", model.clip_range(model._current_progress_remaining))
        if self.clips_values:
            record("train/clip_range_vf", model.clip_range_vf(model._current_progress_remaining))


@dataclass(frozen=True)
class A2CLoss:
    """The policy gradient with value loss and entropy bonus."""

    ent_coef: float
    vf_coef: float
    normalize_advantage: bool

    terms = ("policy_loss", "value_loss", "entropy_loss")

    def __call__(self, evaluate: Evaluate, batch: Batch, scalars: Scalars) -> tuple[torch.Tensor, Terms]:
        values, log_prob, entropy = evaluate(batch.observations, batch.actions)
        advantages = batch.advantages
        if self.normalize_advantage:
            advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        policy_loss = -(advantages * log_prob).mean()
        value_loss = F.mse_loss(batch.returns, values.flatten())
        entropy_loss = _entropy_loss(entropy, log_prob)
        loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
        return loss, (policy_loss, value_loss, entropy_loss)

    def record(self, model: Any, epochs: Sequence[Array]) -> None:
        """As `PPOLoss.record`."""
        policy_loss, value_loss, entropy_loss = epochs[-1][-1]
        model.logger.record("train/n_updates", model._n_updates, exclude="tensorboard")
        model.logger.record("train/entropy_loss", entropy_loss)
        model.logger.record("train/policy_loss", policy_loss)
        model.logger.record("train/value_loss", value_loss)
        _record_fit(model)


def _entropy_loss(entropy: torch.Tensor | None, log_prob: torch.Tensor) -> torch.Tensor:
    return -torch.mean(-log_prob if entropy is None else entropy)


def _record_fit(model: Any) -> None:
    buffer = model.rollout_buffer
    explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
    model.logger.record("train/explained_variance", explained)
    if hasattr(model.policy, "log_std"):
        model.logger.record("train/std", model.policy.log_std.detach().exp().mean().item())


def loss_of(model: Any) -> PPOLoss | A2CLoss:
    """The loss of an agent's algorithm."""
    settings = float(model.ent_coef), float(model.vf_coef), bool(model.normalize_advantage)
    return A2CLoss(*settings) if isinstance(model, A2C) else PPOLoss(*settings, model.clip_range_vf is not None)
