"""A group of on-policy agents of one shape: their stacked arrays, and a round of rollout and update."""

from __future__ import annotations

from functools import partial
from typing import Any

from rl_tickets.training.cohorts.family import policy_can_be
from rl_tickets.training.cohorts.member import Member
from rl_tickets.training.cohorts.on_policy.blueprint import OPTIMIZER, Blueprint
from rl_tickets.training.cohorts.on_policy.collecting import Collecting
from rl_tickets.training.cohorts.on_policy.learning import Learning
from rl_tickets.training.cohorts.on_policy.rollouts import Rollouts
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.template import template
from rl_tickets.training.observing import MASKS


class OnPolicyGroup:
    """See `Group`.

    Args:
        blueprint: what its members have in common.
        model: any of them.
        slots: largest number of members.

    Raises:
        CannotJoin: the policy cannot be traced.
    """

    def __init__(self, blueprint: Blueprint, model: Any, slots: int) -> None:
        policy = template(model.policy)
        self.stack = Stack(model, {OPTIMIZER: blueprint.part}, blueprint.masked, slots)
        self.rollouts = Rollouts(model.rollout_buffer, slots)
        with policy_can_be("traced"):
            self.collecting = Collecting(policy, blueprint, self.stack, self.rollouts, model)
            self.learning = Learning(policy, blueprint, self.stack, self.rollouts, model)

    def prepare(self) -> None:
        """See `Group.prepare`."""
        with policy_can_be("compiled"):
            self.collecting.acting.prepare()
            for updating in self.learning.updating.values():
                updating.prepare()

    def enter(self, member: Member) -> None:
        """See `Group.enter`."""
        model = member.model
        self.stack.place(member.slot, model)
        self.rollouts.lend(member.slot, model.rollout_buffer)
        masking = {"use_masking": True} if hasattr(model.rollout_buffer, MASKS) else {}
        member.enter(partial(self._release, member), iteration=0, **masking)
        member.callback.update_locals({"rollout_buffer": model.rollout_buffer, "n_rollout_steps": model.n_steps})

    def _release(self, member: Member) -> None:
        model = member.model
        self.stack.release(member.slot, model)
        self.rollouts.release(member.slot, model.rollout_buffer)
        self.collecting.release(member)

    def begin(self, members: list[Member]) -> None:
        """See `Group.begin`."""
        self.collecting.begin(members)

    def finite(self) -> list[bool]:
        """See `Group.finite`."""
        return self.stack.finite()

    def round(self, members: list[Member]) -> list[Member]:
        """See `Group.round`."""
        members = self.collecting.rollout(members)
        if members:
            self.learning.update(members)
        return members
