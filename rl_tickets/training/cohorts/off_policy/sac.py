"""SAC (Haarnoja et al. 2018, arXiv 1801.01290; its entropy coefficient learned as in arXiv 1812.05905), as SB3's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from rl_tickets.training.cohorts.off_policy.algorithm import Found, Here, Phase, Stage, mean

ACTOR, CRITIC, ENTROPY = "actor.optimizer", "critic.optimizer", "ent_coef_optimizer"


@dataclass(frozen=True)
class SACSteps:
    """See `Algorithm`.

    Args:
        learned: whether the entropy coefficient is.
        updates_seldom: whether some gradient steps leave the target networks where they are.
    """

    learned: bool
    updates_seldom: bool

    @property
    def optimizers(self) -> tuple[str, ...]:
        """See `Algorithm`."""
        return (ACTOR, CRITIC, ENTROPY) if self.learned else (ACTOR, CRITIC)

    @property
    def loose(self) -> tuple[str, ...]:
        """See `Algorithm`."""
        return ("log_ent_coef",) if self.learned else ("ent_coef_tensor",)

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Critics, actor, entropy coefficient; all by the coefficient as it was before, so their order is free."""
        stages = [
            Stage(CRITIC, self.critic_loss, ("critic_loss", "ent_coef")),
            Stage(ACTOR, self.actor_loss, ("actor_loss",)),
        ]
        if self.learned:
            stages.append(Stage(ENTROPY, _entropy_loss, ("ent_coef_loss",)))
        with_targets = Phase(tuple(stages), copies=True, due=_follows)
        without = Phase(tuple(stages), copies=False, due=lambda *given: not _follows(*given))
        return (with_targets, without) if self.updates_seldom else (with_targets,)

    @property
    def targets(self) -> Mapping[str, str]:
        """See `Algorithm`."""
        return {"critic_target": "critic"}

    def critic_loss(self, here: Here) -> Found:
        """Of all critics, towards the least of what the target critics say."""
        batch, policy, entropy = here.batch, here.policy, coefficient(here)
        actions, log_prob = sampled(policy.actor, batch.next_observations, here.noise[1])
        following = self.value(policy.critic_target(batch.next_observations, actions))
        target = batch.rewards + (1 - batch.dones) * batch.discounts * (following - entropy * log_prob)
        values = policy.critic(batch.observations, batch.actions)
        loss = 0.5 * torch.stack([F.mse_loss(each, target) for each in values]).sum()
        return loss, ((loss, entropy.clone()), {})

    def actor_loss(self, here: Here) -> Found:
        """Of actions that are sampled anew; passes on their log-probabilities."""
        observations, policy = here.batch.observations, here.policy
        actions, log_prob = sampled(policy.actor, observations, here.noise[0])
        loss = (coefficient(here) * log_prob - self.value(policy.critic(observations, actions))).mean()
        return loss, ((loss,), {"log_prob": log_prob.detach()})

    def value(self, critics: Any) -> torch.Tensor:
        """The least of what all critics say, (batch, 1)."""
        return torch.cat(critics, dim=1).min(dim=1, keepdim=True)[0]

    def knobs(self, model: Any) -> dict[str, float]:
        """See `Algorithm`."""
        return {"tau": model.tau, "target_entropy": model.target_entropy}

    def wanders(self, model: Any, generator: np.random.RandomState) -> bool:
        """Never: it samples its actions."""
        return False

    def acting_noise(self, actions: int) -> tuple[tuple[int, ...], ...]:
        """See `Algorithm`."""
        return ((actions,),)

    def act(self, policy: Any, observations: torch.Tensor, noise: Sequence[torch.Tensor]) -> torch.Tensor:
        """A sample of the squashed Gaussian."""
        return sampled(policy.actor, observations, noise[0])[0]

    def update_noise(self, actions: np.dtype[Any]) -> tuple[torch.dtype, ...]:
        """Of the actions at the observations, and at those that follow."""
        return (torch.get_default_dtype(),) * 2

    def draw(self, model: Any, noise: Sequence[torch.Tensor], generator: torch.Generator) -> None:
        """See `Algorithm`."""
        for each in noise:
            each.normal_(generator=generator)

    def record(self, model: Any, terms: Mapping[str, Sequence[float]]) -> None:
        """See `Algorithm`."""
        model.logger.record("train/n_updates", model._n_updates, exclude="tensorboard")
        for name in ("ent_coef", "actor_loss", "critic_loss", "ent_coef_loss"):
            if terms.get(name):
                model.logger.record(f"train/{name}", mean(terms[name]))


def _follows(model: Any, number: int, place: int) -> bool:
    return bool(place % model.target_update_interval == 0)


def sampled(actor: Any, observations: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Actions (batch, dimensions), log-probabilities (batch, 1): `actor.action_log_prob` with noise from outside."""
    average, log_std, _ = actor.get_action_dist_params(observations)
    distribution = actor.action_dist.proba_distribution(average, log_std)
    gaussian = distribution.distribution.mean + noise * distribution.distribution.stddev
    actions = torch.tanh(gaussian)
    return actions, distribution.log_prob(actions, gaussian).reshape(-1, 1)


def coefficient(here: Here) -> torch.Tensor:
    """The entropy coefficient as it is before this gradient step."""
    if "log_ent_coef" in here.loose:
        return here.loose["log_ent_coef"].detach().exp().reshape(())
    return here.loose["ent_coef_tensor"]


def _entropy_loss(here: Here) -> Found:
    loss = -(here.loose["log_ent_coef"] * (here.passed["log_prob"] + here.knobs["target_entropy"])).mean()
    return loss, ((loss,), {})
