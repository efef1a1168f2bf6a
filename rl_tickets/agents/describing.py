"""An agent as plain data: all that a changed script would change of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize

from rl_tickets.agents import anatomy
from rl_tickets.tickets.identity import Plain, describe

LATER = "experience"
"""What descriptions of older versions do not have."""


def describe_agent(model: BaseAlgorithm) -> dict[str, Any]:
    """The agent's classes, modules, shapes and hyperparameters: what a changed script would change."""
    volatile = {"seed", "start_time", "tensorboard_log", "verbose", "num_timesteps"}
    plain = {
        name: value
        for name, value in vars(model).items()
        if not name.startswith("_") and name not in volatile and isinstance(value, int | float | str | bool | None)
    }
    schedules = {
        name: _sampled(value)
        for name, value in vars(model).items()
        if name in ("lr_schedule", "clip_range", "exploration_schedule") and callable(value)
    }
    return {
        "algorithm": type(model).__name__,
        "policy": type(model.policy).__name__,
        "environment": anatomy.environment_name(model),
        "wrappers": _wrappers(model),
        "hyperparameters": dict(sorted(plain.items())),
        "policy_kwargs": describe(model.policy_kwargs, "policy_kwargs"),
        "schedules": schedules,
        LATER: _experience(model),
        "optimizers": {path: _optimizer(optimizer) for path, optimizer in anatomy.optimizers(model).items()},
        "modules": {name: repr(module) for name, module in model.policy.named_modules() if not [*module.children()]},
        "parameters": {name: list(p.shape) for name, p in model.policy.named_parameters()},
    }


def _experience(model: Any) -> dict[str, Plain]:
    """How it gathers transitions and keeps them, and what no number tells of its loss."""
    buffers = [f"{kind}_buffer_{part}" for kind in ("replay", "rollout") for part in ("class", "kwargs")]
    found = {name: describe(getattr(model, name, None), name) for name in ("train_freq", *buffers)}
    if (noise := getattr(model, "action_noise", None)) is not None:
        found["action_noise"] = type(noise).__name__ if " at 0x" in repr(noise) else repr(noise)
    if callable(bound := getattr(model, "clip_range_vf", None)):
        found["clip_range_vf"] = _sampled(bound)
    return {name: value for name, value in found.items() if value}


def _sampled(schedule: Callable[[float], float]) -> list[float]:
    """A schedule's values at the start, in the middle and at the end; at a hundred steps where it bends in between."""
    few, many = ([float(schedule(left)) for left in np.linspace(1.0, 0.0, count)] for count in (3, 101))
    lines = np.interp(np.linspace(0, 2, 101), range(3), few)
    return few if np.allclose(many, lines, rtol=1e-9, atol=1e-12) else many


def _optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Plain]:
    group = {key: value for key, value in optimizer.param_groups[0].items() if key not in ("params", "lr")}
    return {"kind": type(optimizer).__name__, **{key: describe(value, key) for key, value in group.items()}}


def _wrappers(model: BaseAlgorithm) -> list[Any]:
    """Of the vectorised environment from outside in, then of the first environment."""
    found: list[Any] = []
    env: Any = model.get_env()
    while isinstance(env, VecEnvWrapper):
        options = ("norm_obs", "norm_reward", "clip_obs", "clip_reward", "gamma", "epsilon", "training")
        told = {name: getattr(env, name) for name in options} if isinstance(env, VecNormalize) else {}
        found.append({"wrapper": type(env).__name__, **told} if told else type(env).__name__)
        env = env.venv
    found.append({"vectorised": type(env).__name__, "environments": env.num_envs})
    inner = env.envs[0] if getattr(env, "envs", None) else None
    while isinstance(inner, gymnasium.Wrapper):
        found.append(type(inner).__name__)
        inner = inner.env
    return found
