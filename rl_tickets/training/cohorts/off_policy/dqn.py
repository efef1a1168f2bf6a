"""DQN (Mnih et al. 2015, Nature 518), as SB3's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from rl_tickets.training.cohorts.off_policy.algorithm import Found, Here, Phase, Stage, always, mean


@dataclass(frozen=True)
class DQNSteps:
    """See `Algorithm`; SB3's own `_on_step` moves the target network, which follows in the environment's steps."""

    optimizers: tuple[str, ...] = ("policy.optimizer",)
    loose: tuple[str, ...] = ()

    @property
    def phases(self) -> tuple[Phase, ...]:
        """See `Algorithm`."""
        return (Phase((Stage(self.optimizers[0], self.loss, ("loss",)),), copies=False, due=always),)

    @property
    def targets(self) -> Mapping[str, str]:
        """See `Algorithm`."""
        return {}

    def loss(self, here: Here) -> Found:
        """Of the values of the actions that were taken."""
        batch, policy = here.batch, here.policy
        best = policy.q_net_target(batch.next_observations).max(dim=1)[0].reshape(-1, 1)
        target = batch.rewards + (1 - batch.dones) * batch.discounts * best
        values = torch.gather(policy.q_net(batch.observations), dim=1, index=batch.actions.long())
        loss = F.smooth_l1_loss(values, target)
        return loss, ((loss,), {})

    def knobs(self, model: Any) -> dict[str, float]:
        """See `Algorithm`."""
        return {"max_grad_norm": model.max_grad_norm}

    def wanders(self, model: Any, generator: np.random.RandomState) -> bool:
        """Epsilon-greedy."""
        return bool(generator.rand() < model.exploration_rate)

    def acting_noise(self, actions: int) -> tuple[tuple[int, ...], ...]:
        """None."""
        return ()

    def act(self, policy: Any, observations: torch.Tensor, noise: Sequence[torch.Tensor]) -> torch.Tensor:
        """The greedy action."""
        found: torch.Tensor = policy._predict(observations, deterministic=False)
        return found

    def update_noise(self, actions: np.dtype[Any]) -> tuple[torch.dtype, ...]:
        """None."""
        return ()

    def draw(self, model: Any, noise: Sequence[torch.Tensor], generator: torch.Generator) -> None:
        """Nothing."""

    def record(self, model: Any, terms: Mapping[str, Sequence[float]]) -> None:
        """See `Algorithm`."""
        model.logger.record("train/n_updates", model._n_updates, exclude="tensorboard")
        model.logger.record("train/loss", mean(terms["loss"]))
