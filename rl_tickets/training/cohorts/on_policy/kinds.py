"""Kinds of on-policy agents: each algorithm with SB3's policy for it, and what its rollouts are kept in."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache

from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictRolloutBuffer, RolloutBuffer
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy

from rl_tickets.agents.holding import class_of


@dataclass(frozen=True)
class Kind:
    """What is known of the agents of one algorithm.

    Args:
        algorithm: its class; subclasses are of this kind too.
        policy: the class of its policies.
        buffers: the classes of its rollouts; of arrays, and of arrays by name.
    """

    algorithm: type[BaseAlgorithm]
    policy: type[BasePolicy]
    buffers: tuple[type[RolloutBuffer], ...] = (RolloutBuffer, DictRolloutBuffer)


def kinds() -> tuple[Kind, ...]:
    """All that are known; those of sb3-contrib, which need not be installed, once somebody has imported it."""
    return (*_SB3S, *(_contribs() if "sb3_contrib" in sys.modules else ()))


def kind_of(model: BaseAlgorithm) -> Kind:
    """Of an agent of one of these algorithms."""
    return next(kind for kind in kinds() if issubclass(class_of(model), kind.algorithm))


_SB3S = Kind(PPO, ActorCriticPolicy), Kind(A2C, ActorCriticPolicy)


@cache
def _contribs() -> tuple[Kind, ...]:
    from sb3_contrib import MaskablePPO
    from sb3_contrib.common.maskable.buffers import MaskableDictRolloutBuffer, MaskableRolloutBuffer
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

    return (Kind(MaskablePPO, MaskableActorCriticPolicy, (MaskableRolloutBuffer, MaskableDictRolloutBuffer)),)
