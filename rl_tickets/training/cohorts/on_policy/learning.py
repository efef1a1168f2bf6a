"""Learning: SB3's `train` of every member at once, epoch by epoch, minibatch by minibatch."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from rl_tickets.agents.holding import Hold, hold_of
from rl_tickets.training.cohorts.family import PlainTrainingWarning
from rl_tickets.training.cohorts.member import Member
from rl_tickets.training.cohorts.on_policy.blueprint import Blueprint
from rl_tickets.training.cohorts.on_policy.changes import changed, settings_of
from rl_tickets.training.cohorts.on_policy.rollouts import Rollouts
from rl_tickets.training.cohorts.on_policy.updating import Knobs, Updating
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.stepping import Array


@dataclass(frozen=True)
class Epoch:
    """What one pass over the rollouts gave.

    Args:
        terms: of the loss, (minibatches, terms, members).
        ran: whether a member had not been stopped by `target_kl` before a minibatch (minibatches, members), or None.
    """

    terms: Array
    ran: Array | None

    def of_member(self, slot: int) -> Array:
        """One member's terms, (minibatches it saw, terms)."""
        terms: Array = self.terms[:, :, slot]
        return terms if self.ran is None else terms[self.ran[:, slot]]


class Learning:
    """The gradient steps of one cohort.

    Args:
        policy: a copy of any member's; its weights do not matter.
        blueprint: what the members have in common.
        stack: the members' weights, masks and moments; changed in place.
        rollouts: what the minibatches are taken from.
        model: any member's agent, for the number and size of its minibatches.
    """

    def __init__(
        self, policy: ActorCriticPolicy, blueprint: Blueprint, stack: Stack, rollouts: Rollouts, model: Any
    ) -> None:
        self._stack, self._rollouts = stack, rollouts
        self._loss, self._target_kl = blueprint.loss, blueprint.target_kl
        self._n_epochs, self._joined = getattr(model, "n_epochs", 1), settings_of(model)
        self._said: set[str] = set()
        rows = rollouts.steps * rollouts.environments
        size = getattr(model, "batch_size", None) or rows
        self._cuts = [(start, min(start + size, rows)) for start in range(0, rows, size)]
        self._knobs = Knobs(stack.members)
        self.updating = {
            size: Updating(policy, blueprint, stack, rollouts, self._knobs, size)
            for size in {stop - start for start, stop in self._cuts}
        }

    def update(self, members: list[Member]) -> None:
        """SB3's `train` of these members; itself, for those in which a callback changed what is compiled."""
        apart = [member for member in members if self._set_aside(member)]
        if together := [member for member in members if member not in apart]:
            self._update(together)
        for member in apart:
            with member.streams.everywhere():
                member.model.train()
            self._stack.place(member.slot, member.model)
            self._rollouts.lend(member.slot, member.model.rollout_buffer)
            self._stack.follow(member.slot, hold_of(member.model))

    def _set_aside(self, member: Member) -> bool:
        """Gives a member tensors of its own if its next update is not the compiled one; otherwise adopts its own."""
        model, slot = member.model, member.slot
        if (name := changed(model, self._joined)) is None:
            self._stack.adopt(slot, model)
            self._rollouts.adopt(slot, model.rollout_buffer)
            if self._stack.even[slot]:
                return False
            name = "optimizer's counts of steps"
        if name not in self._said:
            self._said.add(name)
            text = f"this agent updates with plain SB3 from now on, since a callback changed its {name}"
            warnings.warn(text, PlainTrainingWarning, stacklevel=2)
        self._stack.release(slot, model)
        return True

    def _update(self, members: list[Member]) -> None:
        watching = self._prepare(members)
        epochs: list[Epoch] = []
        while len(epochs) < self._n_epochs and (not epochs or any(self._knobs.active[m.slot] for m in members)):
            last = len(epochs) == self._n_epochs - 1
            epochs.append(self._epoch(members, watching, last))
        for member in members:
            model, slot = member.model, member.slot
            self._stack.publish(slot, model)
            terms = [terms for epoch in epochs if len(terms := epoch.of_member(slot))]
            model._n_updates += len(terms)
            self._loss.record(model, terms)

    def _prepare(self, members: list[Member]) -> dict[int, Hold]:
        """Sets knobs and masks; the holds, by slot, of which somebody watches the gradient."""
        holds = {member.slot: hold_of(member.model) for member in members}
        for member in members:
            self._knobs.set(member.slot, member.model)
            # A callback may have begun a hold, or ended one.
            self._stack.follow(member.slot, holds[member.slot])
        return {slot: held for slot, held in holds.items() if held is not None and held.watched}

    def _epoch(self, members: list[Member], watching: Mapping[int, Hold], last: bool) -> Epoch:
        drawn = np.tile(np.arange(self._rollouts.steps * self._rollouts.environments), (len(self._knobs.active), 1))
        for member in members:
            if self._knobs.active[member.slot]:
                drawn[member.slot] = member.streams.numpy.permutation(drawn.shape[1])
        places = self._rollouts.places(drawn)
        terms, ran = [], []
        for start, stop in self._cuts:
            if self._target_kl is not None:
                ran.append(self._knobs.active.clone())
            index = torch.from_numpy(np.ascontiguousarray(places[:, start:stop]))
            # Where `target_kl` can stop a member, every step may be its last.
            final = self._target_kl is not None or (last and stop == drawn.shape[1])
            terms.append(self._step(self.updating[stop - start], index, watching if final else {}))
        return Epoch(torch.stack(terms).double().numpy(), torch.stack(ran).numpy() if ran else None)

    def _step(self, updating: Updating, index: torch.Tensor, watching: Mapping[int, Hold]) -> torch.Tensor:
        """One gradient step, whose dense gradient goes to those who watch and make it."""
        if not watching:
            return updating.step(index)
        dense = updating.dense_gradient(index)
        terms = updating.step(index)
        for slot, held in watching.items():
            if self._knobs.active[slot]:
                held.take_gradient({name: dense[name][slot] for name in held.mask if name in dense})
        return terms
