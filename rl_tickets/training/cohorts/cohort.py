"""A cohort: agents of one shape trained in lock-step, so that the cost of a step's Python is paid once for all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rl_tickets.training.cohorts.family import Shape
from rl_tickets.training.cohorts.member import Member
from rl_tickets.training.environments import demand_numbers
from rl_tickets.training.learners import Learner


class Cohort:
    """Who trains in which slot: members enter, leave when their budget is used up, and leave when they diverge.

    Args:
        model: any agent of this shape.
        shape: what its members have in common.
        slots: largest number of members.

    Raises:
        CannotJoin: the policy cannot be traced.
    """

    def __init__(self, model: Any, shape: Shape, slots: int) -> None:
        self.group = shape.build(model, slots)

    def train(self, runs: Sequence[Learner | None]) -> None:
        """Trains every run to its end, each in the slot of its position; None leaves a slot empty."""
        present = [Member(run, slot) for slot, run in enumerate(runs) if run is not None]
        try:
            for member in present:
                self.group.enter(member)
            members = _staying(present)
            while members:
                self.group.begin(members)
                members = _staying(self.group.round(self._sound(members)))
        except BaseException:
            for member in present:
                member.abandon()
            raise

    def _sound(self, members: list[Member]) -> list[Member]:
        """Those whose weights are numbers; the others leave.

        Raises:
            ValueError: an environment gave observations that are not numbers.
        """
        finite = self.group.finite()
        for member in members:
            if not finite[member.slot]:
                demand_numbers(member.model)
                member.leave(diverged=True)
        return [member for member in members if finite[member.slot]]


def _staying(members: list[Member]) -> list[Member]:
    for member in members:
        if member.done:
            member.leave()
    return [member for member in members if not member.done]
