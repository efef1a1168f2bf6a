"""Learning: SB3's `train` of every member at once, gradient step by gradient step."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch

from rl_tickets.agents.holding import Hold, hold_of
from rl_tickets.training.cohorts.family import PlainTrainingWarning
from rl_tickets.training.cohorts.member import Member
from rl_tickets.training.cohorts.off_policy.blueprint import Blueprint
from rl_tickets.training.cohorts.off_policy.kinds import kind_of
from rl_tickets.training.cohorts.off_policy.replaying import Minibatches
from rl_tickets.training.cohorts.off_policy.updating import Knobs, Updating
from rl_tickets.training.cohorts.optimizers import rule_of
from rl_tickets.training.cohorts.stack import Stack


class Learning:
    """The gradient steps of one cohort.

    Args:
        policy: a copy of any member's; its weights do not matter.
        blueprint: what the members have in common.
        stack: the members' weights, masks and moments; changed in place.
        model: any member's agent.
    """

    def __init__(self, policy: Any, blueprint: Blueprint, stack: Stack, model: Any) -> None:
        self._blueprint, self._stack, self._algorithm = blueprint, stack, blueprint.algorithm
        self._said = False
        self._minibatches = Minibatches(model, blueprint.batch_size, stack.members)
        size = (stack.members, blueprint.batch_size, model.replay_buffer.action_dim)
        kinds = self._algorithm.update_noise(model.replay_buffer.actions.dtype)
        noise = [torch.zeros(size, dtype=kind) for kind in kinds]
        self._noise = [[each[slot] for each in noise] for slot in range(stack.members)]
        self._knobs = Knobs(self._algorithm, model, tuple(blueprint.parts), stack.members)
        self.updating = [
            Updating(policy, blueprint, phase, stack, self._minibatches.batch, noise, self._knobs)
            for phase in self._algorithm.phases
        ]

    def update(self, members: list[Member], steps: Mapping[int, int]) -> None:
        """SB3's `train` of so many gradient steps, by slot, for these members."""
        training = [member for member in members if steps[member.slot] > 0]
        apart = [member for member in training if self._set_aside(member)]
        if together := [member for member in training if member not in apart]:
            self._update(together, steps, [member.slot for member in members if member not in together])
        for member in apart:
            model = member.model
            with member.streams.everywhere():
                model.train(batch_size=model.batch_size, gradient_steps=steps[member.slot])
            self._stack.place(member.slot, model)
            self._stack.follow(member.slot, hold_of(model))

    def _set_aside(self, member: Member) -> bool:
        """Gives a member tensors of its own if its next update is not the compiled one; otherwise adopts its own."""
        model, slot = member.model, member.slot
        self._stack.adopt(slot, model)
        if (name := self._changed(slot, model)) is None:
            return False
        if not self._said:
            self._said = True
            text = f"this agent updates with plain SB3 from now on, since a callback changed its {name}"
            warnings.warn(text, PlainTrainingWarning, stacklevel=2)
        self._stack.release(slot, model)
        return True

    def _changed(self, slot: int, model: Any) -> str | None:
        """The name of a setting that is compiled in and no longer what it was, if any."""
        if model.batch_size != self._blueprint.batch_size:
            return "batch_size"
        for path, part in self._blueprint.parts.items():
            if rule_of(self._stack.optimizer(path, model)) != part.rule:
                return "optimizer"
        if kind_of(model).steps(model) != self._algorithm:
            return "algorithm's settings"
        if not self._stack.even[slot]:
            return "optimizer's counts of steps"
        return "requires_grad" if self._stack.differentiated(slot) != self._stack.joined else None

    def _update(self, members: list[Member], steps: Mapping[int, int], sparing: list[int]) -> None:
        watching = {member.slot: held for member in members if (held := self._prepare(member)) is not None}
        terms: dict[int, dict[str, list[float]]] = {member.slot: defaultdict(list) for member in members}
        for place in range(max(steps[member.slot] for member in members)):
            going_on = [member for member in members if place < steps[member.slot]]
            for member in going_on:
                self._minibatches.sample(member)
                self._algorithm.draw(member.model, self._noise[member.slot], member.streams.torch)
                member.model._n_updates += 1
            for updating in self.updating:
                due = [m for m in going_on if updating.phase.due(m.model, m.model._n_updates, place)]
                if due:
                    spared = [*sparing, *(member.slot for member in members if member not in due)]
                    self._step(updating, due, spared, terms, watching)
        for member in members:
            self._stack.publish(member.slot, member.model)
            self._algorithm.record(member.model, terms[member.slot])

    def _prepare(self, member: Member) -> Hold | None:
        """Sets a member's knobs and mask; its hold if somebody watches the gradient."""
        model, slot = member.model, member.slot
        optimizers = {path: self._stack.optimizer(path, model) for path in self._blueprint.parts}
        model._update_learning_rate(list(optimizers.values()))
        self._knobs.set(slot, model, {path: one.param_groups[0]["lr"] for path, one in optimizers.items()})
        held = hold_of(model)
        # A callback may have begun a hold, or ended one.
        self._stack.follow(slot, held)
        return held if held is not None and held.watched else None

    def _step(
        self,
        updating: Updating,
        due: list[Member],
        sparing: list[int],
        terms: Mapping[int, dict[str, list[float]]],
        watching: Mapping[int, Hold],
    ) -> None:
        """One step of one phase, whose dense gradient goes to those who watch and make it."""
        if watchers := [member.slot for member in due if member.slot in watching]:
            dense = updating.dense_gradient()
            for slot in watchers:
                held = watching[slot]
                held.take_gradient({name: dense[name][slot].clone() for name in updating.names if name in held.mask})
        found = updating.step(sparing)
        for name, values in zip(updating.terms, found, strict=True):
            for member in due:
                terms[member.slot][name].append(values[member.slot])
