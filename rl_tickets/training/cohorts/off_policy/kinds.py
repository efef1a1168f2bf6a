"""Kinds of off-policy agents: each algorithm with SB3's policy for it, and its gradient step."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

from stable_baselines3 import DDPG, DQN, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy

from rl_tickets.agents.holding import class_of
from rl_tickets.training.cohorts.off_policy.algorithm import Algorithm
from rl_tickets.training.cohorts.off_policy.dqn import DQNSteps
from rl_tickets.training.cohorts.off_policy.sac import SACSteps
from rl_tickets.training.cohorts.off_policy.td3 import TD3Steps


@dataclass(frozen=True)
class Kind:
    """What is known of the agents of one algorithm.

    Args:
        algorithm: its class; subclasses are of this kind too.
        policy: the class of its policies.
        steps: an agent's gradient step.
    """

    algorithm: type[BaseAlgorithm]
    policy: type[BasePolicy]
    steps: Callable[[Any], Algorithm]


def kinds() -> tuple[Kind, ...]:
    """All that are known; those of sb3-contrib, which need not be installed, once somebody has imported it."""
    return (*_SB3S, *(_contribs() if "sb3_contrib" in sys.modules else ()))


def kind_of(model: BaseAlgorithm) -> Kind:
    """Of an agent of one of these algorithms."""
    return next(kind for kind in kinds() if issubclass(class_of(model), kind.algorithm))


def _dqn(_: Any) -> Algorithm:
    return DQNSteps()


def _td3(_: Any) -> Algorithm:
    return TD3Steps()


def _sac(model: Any) -> Algorithm:
    return SACSteps(learned=model.ent_coef_optimizer is not None, updates_seldom=model.target_update_interval != 1)


_SB3S = (
    Kind(DQN, DQNPolicy, _dqn),
    Kind(DDPG, TD3Policy, _td3),
    Kind(TD3, TD3Policy, _td3),
    Kind(SAC, SACPolicy, _sac),
)


@cache
def _contribs() -> tuple[Kind, ...]:
    from sb3_contrib import QRDQN, TQC
    from sb3_contrib.qrdqn.policies import QRDQNPolicy
    from sb3_contrib.tqc.policies import TQCPolicy

    from rl_tickets.training.cohorts.off_policy.quantiles import QRDQNSteps, TQCSteps

    def qrdqn(_: Any) -> Algorithm:
        return QRDQNSteps()

    def tqc(model: Any) -> Algorithm:
        kept = model.critic.quantiles_total - model.top_quantiles_to_drop_per_net * model.critic.n_critics
        learned = model.ent_coef_optimizer is not None
        return TQCSteps(learned=learned, updates_seldom=model.target_update_interval != 1, kept=kept)

    return Kind(QRDQN, QRDQNPolicy, qrdqn), Kind(TQC, TQCPolicy, tqc)
