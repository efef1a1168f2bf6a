"""A copy of a policy to trace."""

from __future__ import annotations

from copy import copy, deepcopy
from typing import Any, TypeVar

import torch
from stable_baselines3.common.distributions import Distribution
from torch import nn

from rl_tickets.training.cohorts.family import policy_can_be

Policy = TypeVar("Policy", bound=nn.Module)


def template(policy: Policy, memo: dict[int, Any] | None = None) -> Policy:
    """A copy of a policy to trace, so that nothing of the tracing stays in the original.

    Args:
        policy: of any kind.
        memo: `deepcopy`'s; gets what was copied.

    Raises:
        CannotJoin: it holds something that cannot be copied.
    """
    memo = {} if memo is None else memo
    for module in policy.modules():
        if isinstance(distribution := getattr(module, "action_dist", None), Distribution):
            memo[id(distribution)] = _emptied(distribution)
    with policy_can_be("copied"):
        return deepcopy(policy, memo)


def _emptied(distribution: Distribution) -> Distribution:
    """Without what it held of the last forward pass, which may be part of a graph that cannot be copied."""
    found = copy(distribution)
    for name, value in vars(distribution).items():
        if name in ("distribution", "distributions") or isinstance(value, torch.Tensor):
            setattr(found, name, None)
    return found
