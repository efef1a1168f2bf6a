"""Joining: whether an agent can be trained in a cohort, and with which others."""

from __future__ import annotations

from copy import copy, deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import nn

from rl_tickets.agents import anatomy
from rl_tickets.agents.holding import class_of
from rl_tickets.agents.validation import unvalidated
from rl_tickets.training.cohorts.losses import A2CLoss, PPOLoss, loss_of
from rl_tickets.training.cohorts.normalizing import Normalization
from rl_tickets.training.cohorts.optimizers import Rule, rule_of
from rl_tickets.training.cohorts.sampling import Sampler, sampler_of


class CannotJoin(Exception):
    """Why an agent trains the plain way; the text goes on after "this agent trains with plain SB3, since "."""


@dataclass(frozen=True)
class Shape:
    """What the members of a cohort have in common.

    Args:
        signature: everything about an agent that is built into the compiled functions; equal for all members.
        trained: names of the parameters that training moves.
        masked: names of the parameters that a mask may cover.
        loss: of the algorithm.
        rule: of the optimizer.
        sampler: of the action distribution.
        discrete: whether actions are class numbers.
        max_grad_norm: of one member's gradient.
        target_kl: see `PPO`.
        normalization: of observations and rewards, where it can be stacked.
    """

    signature: str
    trained: tuple[str, ...]
    masked: tuple[str, ...]
    loss: PPOLoss | A2CLoss
    rule: Rule
    sampler: Sampler
    discrete: bool
    max_grad_norm: float
    target_kl: float | None
    normalization: Normalization | None


def shape_of(model: BaseAlgorithm, masked: tuple[str, ...]) -> Shape:
    """The shape of an agent that can be a member.

    Raises:
        CannotJoin: it cannot; the text says why.
    """
    _demand_known_algorithm(model)
    assert isinstance(model, OnPolicyAlgorithm)
    policy = model.policy
    _demand_known_policy(policy)
    if type(model.rollout_buffer) is not RolloutBuffer:
        raise CannotJoin(f"its rollouts are kept in a {type(model.rollout_buffer).__name__}")
    if isinstance(model.observation_space, spaces.Discrete | spaces.MultiDiscrete):
        raise CannotJoin("it observes class numbers, and torch cannot trace their one-hot encoding")
    if model.device.type != "cpu":
        raise CannotJoin(f"it is on device {model.device}")
    optimizers = anatomy.optimizers(model)
    rule = rule_of(policy.optimizer)
    if len(optimizers) > 1 or rule is None:
        kinds = ", ".join(type(optimizer).__name__ for optimizer in optimizers.values())
        raise CannotJoin(f"its optimizer ({kinds}) is not a single Adam, AdamW or RMSprop with one group of parameters")
    sampler = sampler_of(policy.action_dist)
    if sampler is None:
        raise CannotJoin(f"it draws actions from a {type(policy.action_dist).__name__}")
    loss = loss_of(model)
    target_kl = getattr(model, "target_kl", None)
    settings = (model.n_steps, model.n_envs, getattr(model, "batch_size", None), getattr(model, "n_epochs", 1))
    discount = (model.gamma, model.gae_lambda, model.max_grad_norm, target_kl)
    shapes = {name: tuple(p.shape) for name, p in policy.named_parameters()}
    between = (model.observation_space, model.action_space)
    assert model.env is not None
    normalization = Normalization.of(model.env)
    kinds_of = (class_of(model).__name__, str(policy), loss, rule, normalization)
    hidden = [_hidden(module) for module in policy.modules()]
    signature = (*kinds_of, hidden, shapes, between, settings, discount, masked)
    return Shape(
        signature=repr(signature),
        trained=_stepped(model),
        masked=masked,
        loss=loss,
        rule=rule,
        sampler=sampler,
        discrete=isinstance(model.action_space, spaces.Discrete),
        max_grad_norm=float(model.max_grad_norm),
        target_kl=target_kl,
        normalization=normalization,
    )


def _demand_known_algorithm(model: BaseAlgorithm) -> None:
    cls = class_of(model)
    known = next((known for known in (PPO, A2C) if issubclass(cls, known)), None)
    if known is None:
        raise CannotJoin(f"cohorts know PPO and A2C, not {cls.__name__}")
    _demand_unchanged(cls, known, ("train", "learn", "collect_rollouts"))
    if getattr(model, "use_sde", False):
        raise CannotJoin("it explores with gSDE")


def _demand_known_policy(policy: nn.Module) -> None:
    if not isinstance(policy, ActorCriticPolicy):
        raise CannotJoin(f"its policy is a {type(policy).__name__}, not an ActorCriticPolicy")
    _demand_unchanged(type(policy), ActorCriticPolicy, ("forward", "predict_values"))
    for module in policy.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd | nn.RNNBase):
            raise CannotJoin(f"its policy has a {type(module).__name__} layer")


def _demand_unchanged(cls: type, known: type, methods: tuple[str, ...]) -> None:
    for method in methods:
        if getattr(cls, method) is not getattr(known, method):
            raise CannotJoin(f"{cls.__name__} has a {method} method of its own")


def _hidden(module: nn.Module) -> dict[str, object]:
    """What a network's `repr` need not show, and its forward pass may use."""
    plain = (bool, int, float, str)
    return {name: value for name, value in vars(module).items() if type(value) in plain and name != "training"}


def template(policy: ActorCriticPolicy) -> ActorCriticPolicy:
    """A copy of a policy to trace, so that nothing of the tracing stays in the original."""
    distribution = copy(policy.action_dist)
    # What it held of the last forward pass may be part of a graph, which cannot be copied.
    distribution.distribution = None  # type: ignore[assignment]
    return deepcopy(policy, {id(policy.action_dist): distribution})


def _stepped(model: Any) -> tuple[str, ...]:
    """Names of the parameters that get a gradient; torch's optimizers leave others alone.

    Raises:
        CannotJoin: the policy remembers something from one forward pass to the next.
    """
    policy = template(model.policy)
    observations, actions = (
        torch.as_tensor(np.zeros((1, *space.shape), space.dtype))
        for space in (model.observation_space, model.action_space)
    )
    actions = actions if isinstance(model.action_space, spaces.Discrete) else actions.float()
    policy.set_training_mode(True)
    before = {name: buffer.clone() for name, buffer in policy.named_buffers()}
    # Unvalidated: an agent that goes on from a diverged one has weights that are no numbers.
    with unvalidated(), torch.enable_grad():
        values, log_prob, entropy = policy.evaluate_actions(observations, actions)
        total = values.sum() + log_prob.sum() + (0 if entropy is None else entropy.sum())
        owned = anatomy.trained_parameters(model)
        names = [name for name, p in model.policy.named_parameters() if p.requires_grad and id(p) in owned]
        named = {name: p for name, p in policy.named_parameters() if name in names}
        gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
    for name, buffer in policy.named_buffers():
        if not torch.equal(buffer, before[name]):
            raise CannotJoin(f"its policy changes its buffer {name!r} in a forward pass")
    return tuple(name for name, gradient in zip(named, gradients, strict=True) if gradient is not None)
