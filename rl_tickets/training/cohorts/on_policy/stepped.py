"""What training moves in an actor-critic policy."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from rl_tickets.agents import anatomy
from rl_tickets.agents.validation import unvalidated
from rl_tickets.training.cohorts.family import CannotJoin, policy_can_be
from rl_tickets.training.cohorts.template import template
from rl_tickets.training.observing import MASKS, each, spaces_of


def stepped(model: Any) -> tuple[str, ...]:
    """Names of the parameters that get a gradient; torch's optimizers leave others alone.

    Raises:
        CannotJoin: the policy remembers something from one forward pass to the next, or cannot be copied or evaluated.
    """
    policy = template(model.policy)
    observations = each(_zeros, spaces_of(model.observation_space))
    actions = _zeros(model.action_space)
    actions = actions if isinstance(model.action_space, spaces.Discrete) else actions.flatten(1).float()
    policy.set_training_mode(True)
    before = {name: buffer.clone() for name, buffer in policy.named_buffers()}
    # Unvalidated: an agent that goes on from a diverged one has weights that are no numbers.
    with policy_can_be("evaluated"), unvalidated(), torch.enable_grad():
        values, log_prob, entropy = policy.evaluate_actions(observations, actions, **_allowing_all(model))
        total = values.sum() + log_prob.sum() + (0 if entropy is None else entropy.sum())
        owned = anatomy.trained_parameters(model)
        names = [name for name, p in model.policy.named_parameters() if p.requires_grad and id(p) in owned]
        named = {name: p for name, p in policy.named_parameters() if name in names}
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    for name, buffer in policy.named_buffers():
        if not torch.equal(buffer, before[name]):
            raise CannotJoin(f"its policy changes its buffer {name!r} in a forward pass")
    return tuple(name for name, gradient in zip(named, gradients, strict=True) if gradient is not None)


def _allowing_all(model: Any) -> dict[str, torch.Tensor]:
    masks = getattr(model.rollout_buffer, MASKS, None)
    return {} if masks is None else {MASKS: torch.ones(1, masks.shape[-1])}


def _zeros(space: Any) -> torch.Tensor:
    return torch.as_tensor(np.zeros((1, *space.shape), space.dtype))
