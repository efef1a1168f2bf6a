"""An understudy: a copy of an agent, in an imagined environment, that shares nothing with it and can be spent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from math import gcd, prod
from typing import Any

import gymnasium as gym
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from rl_tickets.agents.holding import class_of
from rl_tickets.training.cohorts.imagined import Imagined
from rl_tickets.training.cohorts.on_policy.template import template

BATCH, EPOCHS = 64, 2
"""Most rows of a minibatch, and passes over a rollout, of an understudy; of images fewer rows, since they are dear."""
EXTRACTORS = ("features_extractor", "pi_features_extractor", "vf_features_extractor")


def understudy(model: Any, seed: int) -> Any:
    """The agent's networks, optimizer and settings, with a rollout of one or two minibatches.

    Args:
        model: a PPO or A2C agent; weights of the default dtype's precision are given.
        seed: of what its environments imagine.

    Raises:
        CannotJoin: the policy cannot be copied.
    """
    found = copy(model)
    found.__class__ = class_of(model)
    found.policy = template(model.policy)
    memo = {id(model.policy): found.policy}
    for name, value in vars(model).items():
        if name not in ("policy", "env", "_logger", "rollout_buffer") and not isinstance(value, VecEnv | gym.Env):
            setattr(found, name, _copied(value, memo))
    found.env = Imagined(model.n_envs, model.observation_space, found.action_space, seed)
    found._vec_normalize_env = found._last_obs = None
    found.num_timesteps = found.verbose = 0
    found.set_logger(Logger(None, []))
    _shorten(found)
    buffer = model.rollout_buffer
    spaces = (model.observation_space, model.action_space)
    found.rollout_buffer = RolloutBuffer(
        found.n_steps, *spaces, "cpu", gae_lambda=buffer.gae_lambda, gamma=buffer.gamma, n_envs=model.n_envs
    )
    if torch.get_default_dtype() == torch.float64:
        _double(found.policy)
    return found


def _copied(value: Any, memo: dict[int, Any]) -> Any:
    try:
        return deepcopy(value, memo)
    except Exception:  # An open file, a lock: no part of what is learned.
        return value


def _shorten(model: Any) -> None:
    """Minibatches of the same sizes, the smaller last one too, but few of them."""
    most = BATCH if prod(model.observation_space.shape) < 1_000 else BATCH // 4
    model.n_epochs = min(getattr(model, "n_epochs", 1), EPOCHS)
    if not hasattr(model, "batch_size"):
        model.n_steps = min(model.n_steps, max(most // model.n_envs, 2))
        return
    model.batch_size = min(model.batch_size, most)
    # After so many steps the rows left over by whole minibatches are the same again.
    period = model.batch_size // gcd(model.batch_size, model.n_envs)
    least = -(-model.batch_size // model.n_envs)
    model.n_steps -= max(model.n_steps - least, 0) // period * period


def _double(policy: Any) -> None:
    """Double weights and moments; what comes to the networks becomes double too."""
    policy.double()
    for state in policy.optimizer.state.values():
        for key, value in state.items():
            if isinstance(value, torch.Tensor) and value.dim():
                state[key] = value.double()
    for network in {id(each): each for name in EXTRACTORS if (each := getattr(policy, name, None))}.values():
        network.register_forward_pre_hook(_doubled)


def _doubled(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each.double() if isinstance(each, torch.Tensor) else each for each in inputs)


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Meanwhile what is made without a dtype has this one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def rollout_rows(model: BaseAlgorithm) -> int:
    """Environment steps of one rollout."""
    return int(model.n_steps * model.n_envs)  # type: ignore[attr-defined]
