"""TD3 (Fujimoto et al. 2018, arXiv 1802.09477) and DDPG (Lillicrap et al. 2015, arXiv 1509.02971), as SB3's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from rl_tickets.training.cohorts.off_policy.algorithm import Found, Here, Phase, Stage, always, mean

ACTOR, CRITIC = "actor.optimizer", "critic.optimizer"


@dataclass(frozen=True)
class TD3Steps:
    """See `Algorithm`; DDPG is TD3 with one critic, no noise and no delay."""

    optimizers: tuple[str, ...] = (ACTOR, CRITIC)
    loose: tuple[str, ...] = ()

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The critics' step, and every `policy_delay` of them the actor's and the targets'."""
        critics = Stage(CRITIC, _critic_loss, ("critic_loss",))
        actor = Stage(ACTOR, _actor_loss, ("actor_loss",))
        return Phase((critics,), copies=False, due=always), Phase((actor,), copies=True, due=_delayed)

    @property
    def targets(self) -> Mapping[str, str]:
        """See `Algorithm`."""
        return {"critic_target": "critic", "actor_target": "actor"}

    def knobs(self, model: Any) -> dict[str, float]:
        """See `Algorithm`."""
        return {"tau": model.tau}

    def wanders(self, model: Any, generator: np.random.RandomState) -> bool:
        """Never: its noise is added to its actions."""
        return False

    def acting_noise(self, actions: int) -> tuple[tuple[int, ...], ...]:
        """None."""
        return ()

    def act(self, policy: Any, observations: torch.Tensor, noise: Sequence[torch.Tensor]) -> torch.Tensor:
        """The actor's action."""
        found: torch.Tensor = policy._predict(observations, deterministic=False)
        return found

    def update_noise(self, actions: np.dtype[Any]) -> tuple[torch.dtype, ...]:
        """That of the target actions, of the kind of the buffer's."""
        return (torch.from_numpy(np.zeros(0, actions)).dtype,)

    def draw(self, model: Any, noise: Sequence[torch.Tensor], generator: torch.Generator) -> None:
        """See `Algorithm`."""
        (smoothing,) = noise
        smoothing.normal_(0, model.target_policy_noise, generator=generator)
        smoothing.clamp_(-model.target_noise_clip, model.target_noise_clip)

    def record(self, model: Any, terms: Mapping[str, Sequence[float]]) -> None:
        """See `Algorithm`."""
        model.logger.record("train/n_updates", model._n_updates, exclude="tensorboard")
        if terms.get("actor_loss"):
            model.logger.record("train/actor_loss", mean(terms["actor_loss"]))
        model.logger.record("train/critic_loss", mean(terms["critic_loss"]))


def _delayed(model: Any, number: int, place: int) -> bool:
    return bool(number % model.policy_delay == 0)


def _critic_loss(here: Here) -> Found:
    batch, policy = here.batch, here.policy
    actions = (policy.actor_target(batch.next_observations) + here.noise[0]).clamp(-1, 1)
    following = torch.cat(policy.critic_target(batch.next_observations, actions), dim=1).min(dim=1, keepdim=True)[0]
    target = batch.rewards + (1 - batch.dones) * batch.discounts * following
    values = policy.critic(batch.observations, batch.actions)
    loss = torch.stack([F.mse_loss(each, target) for each in values]).sum()
    return loss, ((loss,), {})


def _actor_loss(here: Here) -> Found:
    observations, policy = here.batch.observations, here.policy
    loss = -policy.critic.q1_forward(observations, policy.actor(observations)).mean()
    return loss, ((loss,), {})
