"""Descending: from the gradients of all members' losses to their new weights, in pieces that every family uses."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from rl_tickets.training.cohorts.optimizers import Moments, Rule, along

Tensors = dict[str, torch.Tensor]


def masked(tensors: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor]) -> Tensors:
    """Zero where a mask prunes."""
    return {name: tensor * masks[name] if name in masks else tensor for name, tensor in tensors.items()}


def clipped(gradients: Mapping[str, torch.Tensor], max_norm: torch.Tensor | float) -> Tensors:
    """As `clip_grad_norm_`, each member by the norm of its own.

    Args:
        gradients: by name, each (members, ...).
        max_norm: of one member's gradient; of all alike, or (members,).
    """
    norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
    share = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    return {name: g * along(share, g) for name, g in gradients.items()}


def stepped(
    rule: Rule,
    weights: Mapping[str, torch.Tensor],
    gradients: Mapping[str, torch.Tensor],
    moments: Mapping[str, Moments],
    rates: torch.Tensor,
    counts: torch.Tensor,
) -> tuple[Tensors, dict[str, Tensors]]:
    """New weights and moments.

    Args:
        rule: of the optimizer.
        weights: that it trains, each (members, ...).
        gradients: of these.
        moments: of these.
        rates: learning rates, float64 (members,).
        counts: number of this step, from 1, (members,).
    """
    sizes = [_stored(size) for size in rule.sizes(rates, counts.double())]
    found = {name: rule.step(weight, gradients[name], moments[name], *sizes) for name, weight in weights.items()}
    return {name: weight for name, (weight, _) in found.items()}, {name: moved for name, (_, moved) in found.items()}


def _stored(values: torch.Tensor) -> torch.Tensor:
    """The same values, which the compiler then computes once, where it would take powers anew for every 16 weights."""
    return values.as_strided(values.shape, values.stride())
