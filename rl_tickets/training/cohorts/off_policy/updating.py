"""Updating: losses, gradients, masks, norm clipping, optimizer steps and target networks of all members at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from rl_tickets.training.cohorts.descending import Tensors, clipped, masked, stepped
from rl_tickets.training.cohorts.off_policy.algorithm import Algorithm, Batch, Found, Here, Loss, Phase, Stage, Terms
from rl_tickets.training.cohorts.off_policy.blueprint import Blueprint
from rl_tickets.training.cohorts.optimizers import along
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.tracing import Traced


class Knobs:
    """What differs between members and between updates, each float64 of shape (members,)."""

    def __init__(self, algorithm: Algorithm, model: Any, optimizers: tuple[str, ...], members: int) -> None:
        self._algorithm = algorithm
        self._rates = {path: np.ones(members) for path in optimizers}
        self._others = {name: np.full(members, float(value)) for name, value in algorithm.knobs(model).items()}
        self.rates = {path: torch.from_numpy(array) for path, array in self._rates.items()}
        self.others = {name: torch.from_numpy(array) for name, array in self._others.items()}

    def set(self, slot: int, model: Any, rates: Mapping[str, float]) -> None:
        """A member's for its next update."""
        for path, rate in rates.items():
            self._rates[path][slot] = rate
        for name, value in self._algorithm.knobs(model).items():
            self._others[name][slot] = value


class Inputs(NamedTuple):
    """All that a gradient step reads, or changes in place."""

    weights: Tensors
    moments: dict[str, Tensors]
    counts: Tensors
    masks: Tensors
    fixed: Tensors
    batch: Batch
    noise: list[torch.Tensor]
    rates: Tensors
    knobs: Tensors


class Moved(NamedTuple):
    """What one phase computes.

    Args:
        stacked: each stacked tensor that it moves, with what is to be in it.
        terms: of its losses, (terms, members).
        gradients: of its losses, before masking and clipping.
    """

    stacked: list[tuple[torch.Tensor, torch.Tensor]]
    terms: torch.Tensor
    gradients: Tensors


class Updating:
    """One compiled phase of the gradient steps of one cohort.

    Args:
        policy: a copy of any member's; its weights do not matter.
        blueprint: what the members have in common.
        phase: of its algorithm.
        stack: the members' weights, masks and moments; changed in place.
        batch: the members' minibatches.
        noise: that the gradient step needs, (members, batch, action dimensions) each.
        knobs: what differs between members and updates.
    """

    def __init__(
        self,
        policy: Any,
        blueprint: Blueprint,
        phase: Phase,
        stack: Stack,
        batch: Batch,
        noise: list[torch.Tensor],
        knobs: Knobs,
    ) -> None:
        policy.set_training_mode(True)
        self.phase = phase
        self._blueprint, self._module, self._members = blueprint, _Member(policy), stack.members
        self._inputs = Inputs(
            weights=stack.weights,
            moments=stack.moments,
            counts=stack.counts,
            masks=stack.masks,
            fixed=stack.fixed,
            batch=batch,
            noise=noise,
            rates=knobs.rates,
            knobs=knobs.others,
        )
        self.names = [name for stage in phase.stages for name in self._names(stage) if name in stack.masks]
        """Of what it trains and a mask may cover."""
        self.terms = [term for stage in phase.stages for term in stage.terms]
        self._moved = self._moves(stack)
        self._stepping = Traced(self._step, self._inputs)

    def _names(self, stage: Stage) -> tuple[str, ...]:
        return self._blueprint.parts[stage.optimizer].names

    def _moves(self, stack: Stack) -> list[torch.Tensor]:
        """Stacked tensors that a step changes."""
        found = [stack.fixed[name] for name in self._blueprint.targets] if self.phase.copies else []
        for stage in self.phase.stages:
            found.append(stack.counts[stage.optimizer])
            for name in self._names(stage):
                found += [stack.weights[name], *stack.moments[name].values()]
        return found

    def prepare(self) -> None:
        """Compiles it before it is called."""
        self._stepping.prepare()

    def step(self, sparing: list[int]) -> list[list[float]]:
        """One step of every slot but these; the losses' terms, for each in `terms` a value for each slot."""
        with self._spared(sparing):
            found: list[list[float]] = self._stepping()[0].tolist()
        return found

    @contextmanager
    def _spared(self, slots: list[int]) -> Iterator[None]:
        """Afterwards these slots are as they were: members seldom differ in what is due, so it need not be compiled."""
        before = [(tensor[slot], tensor[slot].clone()) for slot in slots for tensor in self._moved]
        yield
        for tensor, values in before:
            tensor.copy_(values)

    def dense_gradient(self) -> Tensors:
        """The gradients with which `step` would make a step, before masking and clipping: of what may be masked."""
        return dict(zip(self.names, self._watching(), strict=True))

    @cached_property
    def _watching(self) -> Traced:
        """Traced only where somebody watches."""
        return Traced(lambda here: tuple(self._compute(here).gradients[name] for name in self.names), self._inputs)

    def _step(self, here: Inputs) -> tuple[torch.Tensor, ...]:
        moved = self._compute(here)
        for old, new in moved.stacked:
            old.copy_(new)
        return (moved.terms,)

    def _compute(self, here: Inputs) -> Moved:
        weights, passed = dict(here.weights), Tensors()
        stacked: list[tuple[torch.Tensor, torch.Tensor]] = []
        terms: list[torch.Tensor] = []
        dense = Tensors()
        for stage in self.phase.stages:
            names, count = self._names(stage), here.counts[stage.optimizer] + 1
            mine = {name: weights[name] for name in names}
            gradients, (found, passing) = self._differentiate(stage.loss, mine, weights, here, passed)
            dense |= gradients
            gradients = masked(gradients, here.masks)
            if "max_grad_norm" in here.knobs:
                gradients = clipped(gradients, here.knobs["max_grad_norm"])
            rule, rates = self._blueprint.parts[stage.optimizer].rule, here.rates[stage.optimizer]
            new, changed = stepped(rule, mine, gradients, here.moments, rates, count)
            new = masked(new, here.masks)
            weights |= new
            passed |= passing
            terms += found
            stacked.append((here.counts[stage.optimizer], count))
            for name in names:
                stacked.append((here.weights[name], new[name]))
                stacked += [(here.moments[name][key], moment) for key, moment in changed[name].items()]
        if self.phase.copies:
            tau = here.knobs["tau"]
            for name, origin in self._blueprint.targets.items():
                old, new_ = here.fixed[name], weights[origin]
                stacked.append((old, old * along(1 - tau, old) + new_ * along(tau, old)))
        none = torch.zeros(0, self._members)
        return Moved(stacked, torch.stack(terms) if terms else none, dense)

    def _differentiate(
        self, loss: Loss, mine: Tensors, weights: Tensors, here: Inputs, passed: Tensors
    ) -> tuple[Tensors, tuple[Terms, Tensors]]:
        """Gradient, terms and what is passed on, of every member's loss."""
        others = {**here.fixed, **{name: weight for name, weight in weights.items() if name not in mine}}
        # In a graph of single precision a scalar of double precision would make everything double.
        knobs = {name: value.to(torch.get_default_dtype()) for name, value in here.knobs.items()}
        of_all = vmap(grad(partial(self._loss_of_member, loss), has_aux=True))
        found: tuple[Tensors, tuple[Terms, Tensors]] = of_all(mine, others, here.batch, here.noise, knobs, passed)
        return found

    def _loss_of_member(
        self,
        loss: Loss,
        mine: Tensors,
        others: Tensors,
        batch: Batch,
        noise: list[torch.Tensor],
        knobs: Tensors,
        passed: Tensors,
    ) -> Found:
        tensors, loose = {**others, **mine}, self._blueprint.algorithm.loose
        given = {f"policy.{name}": tensor for name, tensor in tensors.items() if name not in loose}
        apart = {name: tensors[name] for name in loose}
        found: Found = functional_call(self._module, given, (loss, apart, batch, noise, knobs, passed))
        return found


class _Member(nn.Module):
    """A loss as a function of a policy's tensors."""

    def __init__(self, policy: Any) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, loss: Loss, *given: Any) -> Found:
        return loss(Here(self.policy, *given))
