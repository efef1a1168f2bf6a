"""Updating: loss, gradient, mask, norm clipping and optimizer step of all members of a cohort as one function."""

from __future__ import annotations

from functools import cached_property
from typing import Any, NamedTuple

import torch
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn
from torch.func import functional_call, grad, vmap

from rl_tickets.training.cohorts.descending import Tensors, clipped, masked, stepped
from rl_tickets.training.cohorts.on_policy.blueprint import OPTIMIZER, Blueprint
from rl_tickets.training.cohorts.on_policy.losses import Batch, Scalars, Terms
from rl_tickets.training.cohorts.on_policy.rollouts import Rollouts
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.tracing import Traced
from rl_tickets.training.observing import MASKS, each

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


class Inputs(NamedTuple):
    """All that a gradient step reads and changes in place, but for the rows of its minibatch."""

    weights: Tensors
    moments: dict[str, Tensors]
    masks: Tensors
    fixed: Tensors
    data: list[Any]
    """Of the rollouts, in the order of `Batch`."""
    counts: torch.Tensor
    active: torch.Tensor
    rates: torch.Tensor
    clip_range: torch.Tensor
    clip_range_vf: torch.Tensor


class Updating:
    """The compiled gradient step of one cohort, for minibatches of one size.

    Args:
        policy: a copy of any member's; its weights do not matter.
        blueprint: what the members have in common.
        stack: the members' weights, masks and moments; changed in place.
        rollouts: what the minibatches are taken from.
        knobs: what differs between members and updates; a member that exceeds `target_kl` is made inactive.
        batch_size: rows of a minibatch.
    """

    def __init__(
        self,
        policy: ActorCriticPolicy,
        blueprint: Blueprint,
        stack: Stack,
        rollouts: Rollouts,
        knobs: Knobs,
        batch_size: int,
    ) -> None:
        policy.set_training_mode(True)
        self._blueprint, self._module = blueprint, _EvaluateActions(policy)
        self._names = list(stack.masks)
        self._inputs = Inputs(
            weights=stack.weights,
            moments=stack.moments,
            masks=stack.masks,
            fixed=stack.fixed,
            data=[rollouts.flat(field) for field in (*DATA, MASKS) if field in rollouts.arrays],
            counts=stack.counts[OPTIMIZER],
            active=knobs.active,
            rates=knobs.rates,
            clip_range=knobs.clip_range,
            clip_range_vf=knobs.clip_range_vf,
        )
        self._index = torch.zeros(stack.members, batch_size, dtype=torch.int64)
        self._stepping = Traced(self._step, self._inputs, self._index)

    def prepare(self) -> None:
        """Compiles it before it is called."""
        self._stepping.prepare(self._index)

    def step(self, index: torch.Tensor) -> torch.Tensor:
        """One gradient step on rows `index` (members, batch) of the rollouts; the loss's terms (terms, members)."""
        return self._stepping(index)[0]

    def dense_gradient(self, index: torch.Tensor) -> Tensors:
        """The gradient with which `step` would make a step, before masking and clipping: of what may be masked."""
        return dict(zip(self._names, self._watching(index), strict=True))

    @cached_property
    def _watching(self) -> Traced:
        """Traced only where somebody watches."""
        return Traced(self._unmasked, self._inputs, self._index)

    def _loss_of_member(
        self, weights: Tensors, fixed: Tensors, data: list[Any], index: torch.Tensor, scalars: Scalars
    ) -> tuple[torch.Tensor, Terms]:
        batch = Batch(*(each(lambda rows: rows[index], field) for field in data))
        actions = batch.actions.long().flatten() if self._blueprint.discrete else batch.actions.float()
        given = {f"policy.{name}": tensor for name, tensor in {**weights, **fixed}.items()}

        masks = {} if batch.action_masks is None else {MASKS: batch.action_masks}

        def evaluate(observations: Any, actions: torch.Tensor) -> Any:
            return functional_call(self._module, given, (observations, actions), masks)

        return self._blueprint.loss(evaluate, batch._replace(actions=actions), scalars)

    def _differentiate(self, here: Inputs, index: torch.Tensor) -> tuple[Tensors, Terms]:
        """Gradient and terms of every member's loss."""
        scalars = Scalars(here.clip_range, here.clip_range_vf)
        of_all = vmap(grad(self._loss_of_member, has_aux=True))
        gradients, terms = of_all(here.weights, here.fixed, here.data, index, scalars)
        return gradients, terms

    def _unmasked(self, here: Inputs, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        gradients, _ = self._differentiate(here, index)
        return tuple(gradients[name] for name in here.masks)

    def _step(self, here: Inputs, index: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rule, loss, target_kl = self._blueprint.part.rule, self._blueprint.loss, self._blueprint.target_kl
        gradients, terms = self._differentiate(here, index)
        gradients = clipped(masked(gradients, here.masks), self._blueprint.max_grad_norm)
        active, counts = here.active, here.counts
        if target_kl is not None:
            approx_kl = terms[loss.terms.index("approx_kl")]
            active.copy_(active & ~(approx_kl > 1.5 * target_kl))
        counts.copy_(counts + active)
        new, changed = stepped(rule, here.weights, gradients, here.moments, here.rates, counts)
        new = masked(new, here.masks)
        for name, weight in here.weights.items():
            moments = here.moments[name]
            for old, moved in ((weight, new[name]), *((moments[key], changed[name][key]) for key in moments)):
                kept = None if target_kl is None else active.view(-1, *(1 for _ in old.shape[1:]))
                old.copy_(moved if kept is None else torch.where(kept, moved, old))
        return (torch.stack(terms),)


class _EvaluateActions(nn.Module):
    def __init__(self, policy: ActorCriticPolicy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, observations: Any, actions: torch.Tensor, **masks: torch.Tensor) -> Any:
        return self.policy.evaluate_actions(observations, actions, **masks)
