"""An agent as plain data: all that a changed script would change of it."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnvWrapper, VecNormalize

from rl_tickets.agents import anatomy
from rl_tickets.tickets.identity import Plain, describe


def describe_agent(model: BaseAlgorithm) -> dict[str, Any]:
    """The agent's classes, modules, shapes and hyperparameters: what a changed script would change."""
    volatile = {"seed", "start_time", "tensorboard_log", "verbose", "num_timesteps"}
    plain = {
        name: value
        for name, value in vars(model).items()
        if not name.startswith("_") and name not in volatile and isinstance(value, int | float | str | bool | None)
    }
    schedules = {
        name: [float(value(progress)) for progress in (1.0, 0.5, 0.0)]
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
        "optimizers": {path: _optimizer(optimizer) for path, optimizer in anatomy.optimizers(model).items()},
        "modules": {name: repr(module) for name, module in model.policy.named_modules() if not [*module.children()]},
        "parameters": {name: list(p.shape) for name, p in model.policy.named_parameters()},
    }


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
