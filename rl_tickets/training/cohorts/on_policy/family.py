"""On-policy agents: which of them can be trained in lock-step, and what those have in common."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import nn

from rl_tickets.agents import anatomy
from rl_tickets.agents.holding import class_of
from rl_tickets.training.cohorts.family import CannotJoin, Shape, demand_unchanged
from rl_tickets.training.cohorts.fingerprint import fingerprint
from rl_tickets.training.cohorts.normalizing import Normalization
from rl_tickets.training.cohorts.on_policy.blueprint import Blueprint
from rl_tickets.training.cohorts.on_policy.group import OnPolicyGroup
from rl_tickets.training.cohorts.on_policy.kinds import Kind, kind_of, kinds
from rl_tickets.training.cohorts.on_policy.losses import loss_of
from rl_tickets.training.cohorts.on_policy.sampling import Sampler, sampler_of
from rl_tickets.training.cohorts.on_policy.stepped import stepped
from rl_tickets.training.cohorts.on_policy.understudy import spent
from rl_tickets.training.cohorts.optimizers import KNOWN_OPTIMIZERS, Rule, rule_of
from rl_tickets.training.cohorts.stack import Part
from rl_tickets.training.cohorts.understudy import Understudy
from rl_tickets.training.observing import MASKS


@dataclass(frozen=True)
class OnPolicy:
    """See `Family`."""

    @property
    def algorithms(self) -> tuple[type[BaseAlgorithm], ...]:
        """See `Family`."""
        return tuple(kind.algorithm for kind in kinds())

    def shape_of(self, model: BaseAlgorithm, masked: tuple[str, ...]) -> Shape:
        """See `Family.shape_of`."""
        assert isinstance(model, OnPolicyAlgorithm)
        kind, policy = kind_of(model), model.policy
        demand_unchanged(class_of(model), kind.algorithm, ("train", "learn", "collect_rollouts"))
        _demand_plain_policy(policy, kind.policy)
        _demand_plain_data(model, kind)
        rule, sampler = _rule(model), _sampler(policy.action_dist)
        loss = loss_of(model)
        target_kl = getattr(model, "target_kl", None)
        settings = (model.n_steps, model.n_envs, getattr(model, "batch_size", None), getattr(model, "n_epochs", 1))
        discount = (model.gamma, model.gae_lambda, model.max_grad_norm, target_kl)
        shapes = {name: tuple(p.shape) for name, p in policy.named_parameters()}
        between = (model.observation_space, model.action_space)
        assert model.env is not None
        normalization = Normalization.of(model.env)
        kinds_of = (class_of(model).__name__, str(policy), loss, rule, normalization)
        part = Part(rule, stepped(model))
        trained = (part.names, tuple(p.requires_grad for p in policy.parameters()))
        signature = (*kinds_of, fingerprint(policy), shapes, trained, between, settings, discount, masked)
        blueprint = Blueprint(
            part=part,
            masked=masked,
            loss=loss,
            sampler=sampler,
            discrete=isinstance(model.action_space, spaces.Discrete),
            max_grad_norm=float(model.max_grad_norm),
            target_kl=target_kl,
            normalization=normalization,
        )
        return Shape(repr(signature), partial(OnPolicyGroup, blueprint))

    def understudy(self, model: BaseAlgorithm, seed: int) -> Understudy:
        """See `Family.understudy`."""
        return spent(model, seed)


def _demand_plain_policy(policy: BasePolicy, known: type[BasePolicy]) -> None:
    if not isinstance(policy, known):
        article = "an" if known is ActorCriticPolicy else "a"
        raise CannotJoin(f"its policy is a {type(policy).__name__}, not {article} {known.__name__}")
    demand_unchanged(type(policy), known, ("forward", "predict_values"))
    if policy.squash_output:
        raise CannotJoin("its policy squashes actions")
    for module in policy.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd | nn.RNNBase):
            raise CannotJoin(f"its policy has a {type(module).__name__} layer")


def _demand_plain_data(model: OnPolicyAlgorithm, kind: Kind) -> None:
    if type(model.rollout_buffer) not in kind.buffers:
        raise CannotJoin(f"its rollouts are kept in a {type(model.rollout_buffer).__name__}")
    if hasattr(model.rollout_buffer, MASKS):
        _demand_masks(model)
    if model.device.type != "cpu":
        raise CannotJoin(f"it is on device {model.device}")


def _demand_masks(model: Any) -> None:
    """Of an agent that is told which actions are allowed."""
    if not model.env.has_attr(MASKS):
        raise CannotJoin("its environment does not say which actions are allowed")
    rows = model.n_steps * model.n_envs
    size = model.batch_size or rows
    if model.normalize_advantage and 1 in (size, rows % size):
        raise CannotJoin("a minibatch of one row has no spread to normalise its advantage by")


def _rule(model: OnPolicyAlgorithm) -> Rule:
    optimizers, rule = anatomy.optimizers(model), rule_of(model.policy.optimizer)
    if len(optimizers) > 1 or rule is None:
        kinds = ", ".join(type(optimizer).__name__ for optimizer in optimizers.values())
        raise CannotJoin(f"its optimizer ({kinds}) is not {KNOWN_OPTIMIZERS}")
    return rule


def _sampler(distribution: object) -> Sampler:
    if (sampler := sampler_of(distribution)) is None:
        raise CannotJoin(f"it draws actions from a {type(distribution).__name__}")
    return sampler
