"""Joining: whether an agent can be trained in a cohort, and with which others."""

from __future__ import annotations

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.holding import class_of
from rl_tickets.training.cohorts.family import CannotJoin, Family, Shape
from rl_tickets.training.cohorts.off_policy.family import OffPolicy
from rl_tickets.training.cohorts.on_policy.family import OnPolicy

FAMILIES: tuple[Family, ...] = (OnPolicy(), OffPolicy())
_WHY = {
    "CrossQ": "whose networks change with every batch that they normalise",
    "RecurrentPPO": "whose minibatches are sequences of many lengths",
    "TRPO": "whose steps end where a search along a line does",
}
"""Of sb3-contrib's algorithms, which need not be installed: what stands in the way."""


def family_of(model: BaseAlgorithm) -> Family:
    """The family that knows an agent's algorithm.

    Raises:
        CannotJoin: none does; the text names those that are known.
    """
    cls = class_of(model)
    for family in FAMILIES:
        if issubclass(cls, family.algorithms):
            return family
    known = [algorithm.__name__ for family in FAMILIES for algorithm in family.algorithms]
    why = next((f", {_WHY[kind.__name__]}" for kind in cls.__mro__ if kind.__name__ in _WHY), "")
    raise CannotJoin(f"cohorts know {', '.join(known[:-1])} and {known[-1]}, not {cls.__name__}{why}")


def shape_of(model: BaseAlgorithm, masked: tuple[str, ...]) -> Shape:
    """The shape of an agent that can be a member.

    Args:
        model: the agent.
        masked: names of the parameters that a mask may cover while it trains.

    Raises:
        CannotJoin: it cannot; the text says why.
    """
    return family_of(model).shape_of(model, masked)
