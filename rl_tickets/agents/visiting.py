"""Visiting: the states that an agent meets in its own environments, acting as it was trained to, without learning."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from rl_tickets.agents.exact import Observations
from rl_tickets.agents.experience import environments_lent
from rl_tickets.agents.generators import derived_seed
from rl_tickets.agents.rebuilding import policy_like

STREAM = 0xD0A
"""Tells these draws from those of a training with the same seed."""


class Visit(NamedTuple):
    """One step of all environments: a row for each of them.

    Args:
        observations: as the policy sees them, normalised.
        actions: that were taken, as critics take them.
        starts: whether an episode began here.
    """

    observations: Observations
    actions: npt.NDArray[Any]
    starts: npt.NDArray[np.bool_]


def visits(model: BaseAlgorithm, timesteps: int, seed: int) -> Iterator[Visit]:
    """So many environment steps at least, of all environments side by side; the agent is left as it was.

    Actions are sampled where the policy is one that samples (PPO, A2C, SAC, ...), and greedy where what is random is
    exploration beside it (DQN, TD3).

    Args:
        model: any torch `BaseAlgorithm` with an environment; a copy of its policy acts.
        timesteps: environment steps.
        seed: of environments and actions.

    Raises:
        ValueError: the agent has no environment.
    """
    env = demand_environments(model)
    policy, normalize = policy_like(model), model.get_vec_normalize_env()
    learning = isinstance(normalize, VecNormalize) and normalize.training
    with environments_lent(model):
        if isinstance(normalize, VecNormalize):
            normalize.training = False
        try:
            yield from _visits(policy, env, -(-timesteps // env.num_envs), derived_seed(seed, STREAM))
        finally:
            if isinstance(normalize, VecNormalize):
                normalize.training = learning


def demand_environments(model: BaseAlgorithm) -> VecEnv:
    """The agent's environments; ValueError where it has none."""
    if (env := model.get_env()) is None:
        raise ValueError(
            f"this {type(model).__name__} has no environment, so that there are no states that it visits; give it one "
            "with `set_env`, or score units by their weights, as rt.outgoing_magnitude does"
        )
    return env


def _visits(policy: BasePolicy, env: VecEnv, steps: int, seed: int) -> Iterator[Visit]:
    set_random_seed(seed)
    env.seed(seed)
    if getattr(policy, "use_sde", False):
        policy.reset_noise(env.num_envs)  # type: ignore[operator]
    takes_masks = "action_masks" in inspect.signature(policy.predict).parameters and env.has_attr("action_masks")
    observations: Any = env.reset()
    starts = np.ones(env.num_envs, dtype=bool)
    state: Any = None
    for _ in range(steps):
        masks: dict[str, Any] = {"action_masks": np.stack(env.env_method("action_masks"))} if takes_masks else {}
        actions, state = policy.predict(observations, state=state, episode_start=starts, **masks)
        actions = np.nan_to_num(actions)  # A diverged network acts with zeros.
        yield Visit(observations, _as_critics_take(actions, policy), starts)
        observations, _, starts, _ = env.step(actions)


def _as_critics_take(actions: npt.NDArray[Any], policy: BasePolicy) -> npt.NDArray[Any]:
    return policy.scale_action(actions) if isinstance(policy.action_space, spaces.Box) else actions
