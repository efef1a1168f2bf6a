"""What an agent would do in given observations, as distributions over its actions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from torch.distributions import Distribution, kl_divergence

from rl_tickets.agents.validation import unvalidated


class NoDistributionError(ValueError):
    """A policy draws its actions from no distribution that is known here, or draws none."""


def action_distributions(model: BaseAlgorithm, observations: Any) -> list[Distribution]:
    """The distributions that actions are drawn from, one for each part of a multi-discrete action.

    A squashed Gaussian, as SAC's, is given before it is squashed: a bijection leaves divergences as they are.

    Args:
        model: an actor-critic of SB3's `ActorCriticPolicy` (PPO, A2C, TRPO), SAC or TQC, or a kin of theirs.
        observations: a batch of raw observations, as the environment gives them; VecNormalize is applied.

    Raises:
        NoDistributionError: another kind of policy.
    """
    observations = as_seen(model, observations)
    policy: Any = model.policy
    policy.set_training_mode(False)
    with torch.no_grad(), torch.random.fork_rng(devices=[]), unvalidated():
        tensors, _ = policy.obs_to_tensor(observations)
        if isinstance(policy, ActorCriticPolicy) and not hasattr(policy, "lstm_actor"):
            found = policy.get_distribution(tensors)
        elif hasattr(getattr(policy, "actor", None), "get_action_dist_params"):
            mean, log_std, given = policy.actor.get_action_dist_params(tensors)
            found = policy.actor.action_dist.proba_distribution(mean, log_std, **given)
        else:
            raise NoDistributionError(
                f"{type(policy).__name__} of {type(model).__name__} draws from no distribution that is known"
            )
    parts = found.distribution
    return list(parts) if isinstance(parts, list | tuple) else [parts]


def as_seen(model: BaseAlgorithm, observations: Any) -> Any:
    """Raw observations as the agent's policy gets them: VecNormalize is applied."""
    normalize = model.get_vec_normalize_env()
    return observations if normalize is None else normalize.normalize_obs(observations)


def divergence(one: list[Distribution], other: list[Distribution]) -> npt.NDArray[np.float64]:
    """Kullback-Leibler divergence of `other` from `one`, in nats, summed over parts of an action; shape (states,).

    Example:
        >>> coin, bent = (torch.distributions.Categorical(torch.tensor([[p, 1 - p]])) for p in (0.5, 0.9))
        >>> divergence([coin], [bent]).round(3).tolist()
        [0.511]
    """
    total: Any = 0.0
    with unvalidated():
        for ours, theirs in zip(one, other, strict=True):
            nats = kl_divergence(ours, theirs).double()
            total = total + nats.reshape(len(nats), -1).sum(1)
    found: npt.NDArray[np.float64] = total.cpu().numpy()
    return found
