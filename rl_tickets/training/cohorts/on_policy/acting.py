"""Acting: actions, values and log-probabilities of all members of a cohort in one stacked forward pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn
from torch.func import functional_call, vmap

from rl_tickets.training.cohorts.on_policy.sampling import Sampler
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.stepping import Array
from rl_tickets.training.cohorts.tracing import Traced
from rl_tickets.training.observing import MASKS, each

Tensors = dict[str, torch.Tensor]


class Acting:
    """The compiled forward pass of one cohort.

    Args:
        policy: a copy of any member's; its weights do not matter.
        sampler: of its action distribution.
        stack: the members' weights.
        shown: observations of all members, and perhaps action masks, by name, of shape (members, environments, ...);
            read anew at every call.
        environments: of each member.
    """

    def __init__(
        self, policy: ActorCriticPolicy, sampler: Sampler, stack: Stack, shown: dict[str, Any], environments: int
    ) -> None:
        policy.set_training_mode(False)
        self._sampler = sampler
        self._noise = [torch.ones(stack.members, environments, *shape) for shape in sampler.shapes]
        self._rows = [list(noise.unbind()) for noise in self._noise]
        module = _Forward(policy, sampler)

        def of_member(weights: Tensors, fixed: Tensors, shown: dict[str, Any], noise: list[torch.Tensor]) -> Any:
            given = {f"policy.{name}": tensor for name, tensor in {**weights, **fixed}.items()}
            return functional_call(module, given, (shown, noise))

        def act(here: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
            found: tuple[torch.Tensor, ...] = vmap(of_member)(*here)
            return found

        seen = {name: each(torch.from_numpy, part) for name, part in shown.items()}
        self._act = Traced(act, (stack.weights, stack.fixed, seen, self._noise))

    def prepare(self) -> None:
        """Compiles it before it is called."""
        self._act.prepare()

    def draw(self, slot: int, distribution: Any, generator: torch.Generator) -> None:
        """Draws the noise of one member's next actions; what its own distribution keeps is taken from there."""
        for rows in self._rows:
            if self._sampler.kept is None:
                self._sampler.draw(rows[slot], generator)
            else:
                self._sampler.kept(distribution, rows[slot])

    def act(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Actions of shape (members, environments, ...), values and log-probabilities (members, environments)."""
        actions, values, log_probs = self._act()
        return actions, values, log_probs


class _Forward(nn.Module):
    """`ActorCriticPolicy.forward` with noise from outside."""

    def __init__(self, policy: ActorCriticPolicy, sampler: Sampler) -> None:
        super().__init__()
        self.policy, self._sampler = policy, sampler

    def forward(self, shown: dict[str, Any], noise: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        policy = self.policy
        features = policy.extract_features(shown["observations"])
        if policy.share_features_extractor:
            latent_pi, latent_vf = policy.mlp_extractor(features)
        else:
            latent_pi = policy.mlp_extractor.forward_actor(features[0])
            latent_vf = policy.mlp_extractor.forward_critic(features[1])
        distribution: Any = policy._get_action_dist_from_latent(latent_pi)
        if MASKS in shown:
            distribution.apply_masking(shown[MASKS])
        actions = self._sampler.act(distribution, noise)
        log_probs = distribution.log_prob(actions)
        # Of several dimensions: the distribution knows the flat ones.
        shape = policy.action_space.shape or ()
        return actions.reshape((-1, *shape)), policy.value_net(latent_vf).flatten(), log_probs


def clipped(actions: Array, space: Any) -> Array:
    """What the environments get: SB3 clips actions of a Box to its bounds."""
    return np.clip(actions, space.low, space.high) if hasattr(space, "low") else actions
