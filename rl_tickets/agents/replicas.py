"""Replicas: an agent's policy with other weights, beside the agent itself, to act and not to train."""

from __future__ import annotations

from copy import copy, deepcopy

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.state import TrainingState


def replica(model: BaseAlgorithm, state: TrainingState) -> BaseAlgorithm:
    """An agent that acts with a state's weights and statistics of VecNormalize; it shares its environment with `model`.

    Args:
        model: it stays as it is.
        state: of the same architecture.

    Example:
        >>> from stable_baselines3 import PPO
        >>> one, other = (PPO("MlpPolicy", "CartPole-v1", seed=seed) for seed in (0, 1))
        >>> twin = replica(one, TrainingState.capture(other))
        >>> twin.policy.action_net.weight.equal(other.policy.action_net.weight)
        True
        >>> twin.policy.action_net.weight.equal(one.policy.action_net.weight)
        False
    """
    again = copy(model)
    again.policy = deepcopy(model.policy)
    # A copy of a VecNormalize lets go of its environment, and normalises all the same.
    again._vec_normalize_env = deepcopy(model.get_vec_normalize_env())
    state.only("normalizer").restore(again)
    again.policy.load_state_dict(state.policy)
    return again
