"""An understudy: a copy of an agent, in an imagined environment, that shares nothing with it and can be spent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from gymnasium import spaces
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from rl_tickets.agents import anatomy
from rl_tickets.agents.holding import class_of
from rl_tickets.training.cohorts.imagined import Imagined
from rl_tickets.training.cohorts.template import template
from rl_tickets.training.observing import each

BATCH = 64
"""Most rows of a minibatch of an understudy; of images fewer rows, since they are dear."""


def most_rows(model: Any) -> int:
    """Of a minibatch of the agent's understudy."""
    return BATCH if spaces.flatdim(model.observation_space) < 1_000 else BATCH // 4


class Understudy(NamedTuple):
    """A copy of an agent.

    Args:
        model: the copy.
        steps: environment steps of a training that shows all that a cohort would do otherwise than SB3.
    """

    model: Any
    steps: int


def copied(model: Any, seed: int, buffers: tuple[str, ...]) -> Any:
    """The agent's networks, optimizers and settings.

    Args:
        model: weights of the default dtype's precision are given.
        seed: of the copy, and of what its environments imagine.
        buffers: attributes that are to be made anew; they stay the agent's own until then.

    Raises:
        CannotJoin: the policy cannot be copied.
    """
    found = copy(model)
    found.__class__ = class_of(model)
    memo: dict[int, Any] = {}
    found.policy = template(model.policy, memo)
    for name, value in vars(model).items():
        if name not in ("policy", "env", "_logger", *buffers) and not isinstance(value, VecEnv | gym.Env):
            setattr(found, name, _copy_of(value, memo))
    found.env = Imagined(model.n_envs, model.observation_space, found.action_space, seed)
    found._vec_normalize_env = found._last_obs = None
    found.num_timesteps = found.verbose = 0
    # Spaces may be shared: where this one stands depends on whoever was made since.
    found.seed = seed
    found.action_space.seed(seed)
    found.set_logger(Logger(None, []))
    if torch.get_default_dtype() == torch.float64:
        _double(found)
    return found


def _copy_of(value: Any, memo: dict[int, Any]) -> Any:
    try:
        return deepcopy(value, memo)
    except Exception:  # An open file, a lock: no part of what is learned.
        return value


def _double(model: Any) -> None:
    """Double weights and moments; what comes to the networks becomes double too."""
    model.policy.double()
    for tensor in anatomy.loose_tensors(model).values():
        if tensor.is_floating_point():
            tensor.data = tensor.data.double()
    for optimizer in anatomy.optimizers(model).values():
        for state in optimizer.state.values():
            for key, value in state.items():
                if isinstance(value, torch.Tensor) and value.dim():
                    state[key] = value.double()
    for module in model.policy.modules():
        if isinstance(module, BaseFeaturesExtractor):
            module.register_forward_pre_hook(_doubled)


def _doubled(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(each(torch.Tensor.double, given) for given in inputs)


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Meanwhile what is made without a dtype has this one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
