"""Updating: loss, gradient, mask, norm clipping and optimizer step of all members of a cohort as one function."""

from __future__ import annotations

from typing import Any

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn
from torch.func import functional_call, grad, vmap

from rl_tickets.training.cohorts.joining import Shape
from rl_tickets.training.cohorts.losses import Batch, Scalars
from rl_tickets.training.cohorts.rollouts import Rollouts
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.tracing import Traced

DATA = ("observations", "actions", "values", "log_probs", "advantages", "returns")


class Knobs:
    """What differs between members and between updates, each of shape (members,)."""

    def __init__(self, members: int) -> None:
        self.active = torch.ones(members, dtype=torch.bool)
        """Whether a member still makes steps in this update."""
        self.rates = torch.ones(members, dtype=torch.float64)
        self.clip_range, self.clip_range_vf = torch.ones(members), torch.ones(members)

    def set(self, slot: int, model: Any) -> None:
        """A member's knobs for its next update, from its schedules."""
        self.active[slot] = True
        self.rates[slot] = model.policy.optimizer.param_groups[0]["lr"]
        for name in ("clip_range", "clip_range_vf"):
            if (schedule := getattr(model, name, None)) is not None:
                getattr(self, name)[slot] = schedule(model._current_progress_remaining)


class Updating:
    """The compiled gradient step of one cohort, for minibatches of one size.

    Args:
        policy: a copy of any member's; its weights do not matter.
        shape: what the members have in common.
        stack: the members' weights, masks and moments; changed in place.
        rollouts: what the minibatches are taken from.
        knobs: what differs between members and updates; a member that exceeds `target_kl` is made inactive.
        batch_size: rows of a minibatch.
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        shape: Shape,
        stack: Stack,
        rollouts: Rollouts,
        knobs: Knobs,
        batch_size: int,
    ) -> None:
        policy.set_training_mode(True)
        loss, rule, discrete, target_kl = shape.loss, shape.rule, shape.discrete, shape.target_kl
        module = _EvaluateActions(policy)
        keys = list(next(iter(stack.moments.values())))
        names, masked, fixed = list(stack.weights), list(stack.masks), list(stack.fixed)

        def of_member(
            weights: dict[str, torch.Tensor],
            others: dict[str, torch.Tensor],
            data: list[torch.Tensor],
            index: torch.Tensor,
            scalars: Scalars,
        ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
            batch = Batch(*(rows[index] for rows in data))
            actions = batch.actions.long().flatten() if discrete else batch.actions.float()
            given = {f"policy.{name}": tensor for name, tensor in {**weights, **others}.items()}
            return loss(lambda o, a: functional_call(module, given, (o, a)), batch._replace(actions=actions), scalars)

        def update(*flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
            given = iter(flat)
            weights = {name: next(given) for name in names}
            moments = {name: {key: next(given) for key in keys} for name in names}
            masks = {name: next(given) for name in masked}
            others = {name: next(given) for name in fixed}
            data = [next(given) for _ in DATA]
            counts, active, rates, clip, clip_vf, index = given
            scalars = Scalars(clip, clip_vf)
            gradients, terms = vmap(grad(of_member, has_aux=True))(weights, others, data, index, scalars)
            gradients = {name: g * masks[name] if name in masks else g for name, g in gradients.items()}
            norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients.values()]).sum(0).sqrt()
            share = (shape.max_grad_norm / (norms + 1e-6)).clamp(max=1.0)
            if target_kl is not None:
                approx_kl = terms[loss.terms.index("approx_kl")]
                active.copy_(active & ~(approx_kl > 1.5 * target_kl))
            counts.copy_(counts + active)
            sizes = [_stored(size) for size in rule.sizes(rates, counts.double())]
            for name, weight in weights.items():
                tall = (-1, *(1 for _ in weight.shape[1:]))
                new, changed = rule.step(weight, gradients[name] * share.view(tall), moments[name], *sizes)
                new = new * masks[name] if name in masks else new
                for old, moved in ((weight, new), *((moments[name][key], changed[key]) for key in keys)):
                    old.copy_(moved if target_kl is None else torch.where(active.view(tall), moved, old))
            return (torch.stack(terms),)

        self._inputs = (
            *stack.weights.values(),
            *(moment for moments in stack.moments.values() for moment in moments.values()),
            *stack.masks.values(),
            *stack.fixed.values(),
            *(rollouts.flat(field) for field in DATA),
            stack.counts,
            knobs.active,
            knobs.rates,
            knobs.clip_range,
            knobs.clip_range_vf,
        )
        self._update = Traced(update, *self._inputs, torch.zeros(len(stack.counts), batch_size, dtype=torch.int64))

    def step(self, index: torch.Tensor) -> torch.Tensor:
        """One gradient step on rows `index` (members, batch) of the rollouts; the loss's terms (terms, members)."""
        return self._update(*self._inputs, index)[0]


def _stored(values: torch.Tensor) -> torch.Tensor:
    """The same values, which the compiler then computes once, where it would take powers anew for every 16 weights."""
    return values.as_strided(values.shape, values.stride())


class _EvaluateActions(nn.Module):
    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observations: torch.Tensor, actions: torch.Tensor) -> Any:
        return self.policy.evaluate_actions(observations, actions)
