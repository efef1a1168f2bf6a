"""A cohort: agents of one shape trained in lock-step, so that the cost of a step's Python is paid once for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from stable_baselines3 import PPO

from rl_tickets.agents.holding import Hold, hold_of
from rl_tickets.training.cohorts.acting import Acting, clipped
from rl_tickets.training.cohorts.joining import CannotJoin, Shape, template
from rl_tickets.training.cohorts.member import Member
from rl_tickets.training.cohorts.normalizing import Answer, Normalizing
from rl_tickets.training.cohorts.rollouts import Array, Rollouts
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.updating import Knobs, Updating
from rl_tickets.training.runs import Run


class Cohort:
    """The stacked arrays and compiled functions that agents of one shape are trained with.

    Each member's numbers depend on its slot and the number of slots, never on who else is there.

    Args:
        model: any agent of this shape.
        shape: what its members have in common.
        slots: largest number of members.

    Raises:
        CannotJoin: the policy cannot be traced.
    """

    def __init__(self, model: Any, shape: Shape, slots: int) -> None:
        policy = template(model.policy)
        self._space = model.action_space
        self._n_steps, self._n_epochs = model.n_steps, getattr(model, "n_epochs", 1)
        self._loss, self._target_kl = shape.loss, shape.target_kl
        self.stack = Stack(policy, shape.trained, shape.masked, shape.rule, slots)
        self.rollouts = Rollouts(model.rollout_buffer, slots)
        self._now = np.zeros_like(self.rollouts.arrays["observations"][:, 0])
        self._starts = np.ones(self._now.shape[:2], dtype=bool)
        normalization = shape.normalization
        self._normalizing = None if normalization is None else Normalizing(normalization, self._now)
        self._knobs = Knobs(slots)
        rows = self.rollouts.steps * self.rollouts.environments
        size = model.batch_size if isinstance(model, PPO) else rows
        self._cuts = [(start, min(start + size, rows)) for start in range(0, rows, size)]
        updating = partial(Updating, policy, shape, self.stack, self.rollouts, self._knobs)
        try:
            self._acting = Acting(policy, shape.sampler, self.stack, self._now)
            self._updating = {size: updating(size) for size in {stop - start for start, stop in self._cuts}}
        except Exception as error:  # Whatever a user's own network does that torch cannot trace.
            reason = str(error).strip().partition("\n")[0]
            raise CannotJoin(f"its policy cannot be traced ({type(error).__name__}: {reason})") from error

    def train(self, runs: Sequence[Run | None]) -> None:
        """Trains every run to its end, each in the slot of its position; None leaves a slot empty."""
        present = [Member(run, slot) for slot, run in enumerate(runs) if run is not None]
        try:
            for member in present:
                self._enter(member)
            members = self._stay(present)
            while members:
                members = self._stay(self._update(self._collect(members)))
        except BaseException:
            for member in present:
                member.abandon()
            raise

    def _enter(self, member: Member) -> None:
        model, slot = member.model, member.slot
        self.stack.place(slot, model.policy, model.policy.optimizer)
        self.rollouts.lend(slot, model.rollout_buffer)

        def release() -> None:
            self.stack.release(slot, model.policy, model.policy.optimizer)
            self.rollouts.release(slot, model.rollout_buffer)
            self._now[slot] = 0
            if self._normalizing is not None:
                self._normalizing.release(model.env)

        member.enter(release)

    def _stay(self, members: list[Member]) -> list[Member]:
        for member in members:
            if member.done:
                member.leave()
        return [member for member in members if not member.done]

    def _collect(self, members: list[Member]) -> list[Member]:
        """One rollout of every member; those whose callbacks end training or whose weights diverged leave."""
        for member in members:
            member.begin_rollout()
            self._now[member.slot] = member.model._last_obs
            self._starts[member.slot] = member.model._last_episode_starts
            if self._normalizing is not None:
                self._normalizing.lend(member.slot, member.model.env)
        finite = self.stack.finite()
        for member in members:
            if not finite[member.slot]:
                member.leave(diverged=True)
        members = [member for member in members if finite[member.slot]]
        for step in range(self._n_steps):
            if members:
                members = self._step(members, step)
        if members:
            _, values, _ = self._acting.act()
            self.rollouts.compute_returns_and_advantage(values.numpy(), self._starts)
        for member in members:
            member.end_rollout()
        return members

    def _step(self, members: list[Member], step: int) -> list[Member]:
        for member in members:
            self._acting.draw(member.slot, member.streams.torch)
        actions, values, log_probs = self._acting.act()
        chosen = actions.numpy()
        self.rollouts.add(step, self._now, chosen, values.numpy(), log_probs.numpy())
        rewards, starts = self.rollouts.arrays["rewards"], self.rollouts.arrays["episode_starts"]
        starts[:, step] = self._starts
        executed = clipped(chosen, self._space)
        rows = list(zip(chosen, executed, values.unsqueeze(-1).unbind(), log_probs.unbind(), strict=True))
        staying = []
        for member, answer in zip(members, self._simulate(members, executed), strict=True):
            slot = member.slot
            given = dict(zip(("actions", "clipped_actions", "values", "log_probs"), rows[slot], strict=True))
            earned = member.step(step, given, answer)
            if earned is None:
                member.leave()
                continue
            rewards[slot, step], self._starts[slot] = earned
            self._now[slot] = member.model._last_obs
            staying.append(member)
        return staying

    def _simulate(self, members: list[Member], actions: Array) -> list[Answer]:
        """One step of all members' environments; those in processes of their own step at the same time."""
        envs = [member.model.env for member in members]
        stepped = envs if self._normalizing is None else [env.venv for env in envs]
        for member, env in zip(members, stepped, strict=True):
            env.step_async(actions[member.slot])
        answers: list[Answer] = [env.step_wait() for env in stepped]
        if self._normalizing is None:
            return answers
        return self._normalizing.apply([member.slot for member in members], envs, answers)

    def _update(self, members: list[Member]) -> list[Member]:
        """SB3's `train` of every member at once."""
        if not members:
            return members
        holds = {member.slot: hold_of(member.model) for member in members}
        for member in members:
            self._knobs.set(member.slot, member.model)
            # A callback may have begun a hold, or ended one.
            self.stack.follow(member.slot, holds[member.slot])
        watching = {slot: held for slot, held in holds.items() if held is not None and held.watched}
        epochs: list[Epoch] = []
        while len(epochs) < self._n_epochs and (not epochs or any(self._knobs.active[slot] for slot in holds)):
            # Any step may be a member's last where `target_kl` can stop it.
            seen = watching if self._target_kl is not None or len(epochs) == self._n_epochs - 1 else {}
            epochs.append(self._epoch(members, seen))
        for member in members:
            model, slot = member.model, member.slot
            self.stack.publish(slot, model.policy, model.policy.optimizer)
            terms = [terms for epoch in epochs if len(terms := epoch.of_member(slot))]
            model._n_updates += len(terms)
            self._loss.record(model, terms)
        return members

    def _epoch(self, members: list[Member], watching: Mapping[int, Hold]) -> Epoch:
        drawn = np.tile(np.arange(self._cuts[-1][1]), (len(self._now), 1))
        for member in members:
            if self._knobs.active[member.slot]:
                drawn[member.slot] = member.streams.numpy.permutation(drawn.shape[1])
        places = self.rollouts.places(drawn)
        terms, ran = [], []
        for start, stop in self._cuts:
            if self._target_kl is not None:
                ran.append(self._knobs.active.clone())
            index = torch.from_numpy(np.ascontiguousarray(places[:, start:stop]))
            updating = self._updating[stop - start]
            last = stop == self._cuts[-1][1]
            dense = updating.dense_gradient(index) if watching and (last or self._target_kl is not None) else {}
            terms.append(updating.step(index))
            for slot, held in watching.items():
                if dense and self._knobs.active[slot]:
                    held.take_gradient({name: dense[name][slot] for name in held.mask if name in dense})
        return Epoch(torch.stack(terms).double().numpy(), torch.stack(ran).numpy() if ran else None)


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
