"""A group of off-policy agents of one shape: their stacked arrays, and a round of rollout and update."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from typing import Any

from rl_tickets.training.cohorts.family import policy_can_be
from rl_tickets.training.cohorts.member import Member
from rl_tickets.training.cohorts.off_policy.blueprint import Blueprint
from rl_tickets.training.cohorts.off_policy.collecting import Collecting, Playing
from rl_tickets.training.cohorts.off_policy.learning import Learning
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.template import template


class OffPolicyGroup:
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
        self._present: dict[int, Any] = {}
        self.stack = Stack(model, blueprint.parts, blueprint.masked, slots, blueprint.algorithm.loose)
        with policy_can_be("traced"):
            self.collecting = Collecting(policy, blueprint, self.stack, model)
            self.learning = Learning(policy, blueprint, self.stack, model)

    def prepare(self) -> None:
        """See `Group.prepare`."""
        with policy_can_be("compiled"):
            self.collecting.acting.prepare()
            for updating in self.learning.updating:
                updating.prepare()

    def enter(self, member: Member) -> None:
        """See `Group.enter`."""
        self._unshare(member)
        self.stack.place(member.slot, member.model)
        member.enter(partial(self._release, member))
        # Callbacks see an agent that acts: between two updates SB3 shows them no other.
        member.model.policy.set_training_mode(False)
        self._show(member)

    def _unshare(self, member: Member) -> None:
        """A member explores by itself: agents may share an action space, if it is an attribute of their environments'
        class, and the noise that they were given.

        A fresh agent's space is seeded again, since the next agent's constructor may have seeded the same one.
        """
        model = member.model
        for name in ("action_space", "action_noise"):
            if any(getattr(other, name) is getattr(model, name) for other in self._present.values()):
                setattr(model, name, deepcopy(getattr(model, name)))
        self._present[member.slot] = model
        if member.run.draws is not None and not model.num_timesteps and model.seed is not None:
            model.action_space.seed(model.seed)

    @staticmethod
    def _show(member: Member) -> None:
        model = member.model
        settings = ("train_freq", "replay_buffer", "action_noise", "learning_starts")
        member.callback.update_locals({**{name: getattr(model, name) for name in settings}, "continue_training": True})

    def _release(self, member: Member) -> None:
        del self._present[member.slot]
        self.stack.release(member.slot, member.model)
        self.collecting.release(member)

    def begin(self, members: list[Member]) -> None:
        """See `Group.begin`."""
        self.collecting.begin(members)

    def finite(self) -> list[bool]:
        """See `Group.finite`."""
        return self.stack.finite()

    def round(self, members: list[Member]) -> list[Member]:
        """See `Group.round`."""
        played = self.collecting.rollout(members)
        members = [each.member for each in played]
        if members:
            self.learning.update(members, {each.member.slot: _gradient_steps(each) for each in played})
        return members


def _gradient_steps(played: Playing) -> int:
    """How many follow a rollout; -1 asks for one for each step of it."""
    model = played.member.model
    if not model.num_timesteps > max(model.learning_starts, 0):
        return 0
    return int(model.gradient_steps if model.gradient_steps >= 0 else played.steps * model.n_envs)
