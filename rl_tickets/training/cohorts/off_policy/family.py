"""Off-policy agents: which of them can be trained in lock-step, and what those have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from torch import nn

from rl_tickets.agents import anatomy
from rl_tickets.agents.holding import class_of
from rl_tickets.training.cohorts.family import CannotJoin, Shape, demand_unchanged
from rl_tickets.training.cohorts.fingerprint import fingerprint
from rl_tickets.training.cohorts.normalizing import Normalization
from rl_tickets.training.cohorts.off_policy.algorithm import Algorithm
from rl_tickets.training.cohorts.off_policy.blueprint import Blueprint
from rl_tickets.training.cohorts.off_policy.exploring import is_known
from rl_tickets.training.cohorts.off_policy.group import OffPolicyGroup
from rl_tickets.training.cohorts.off_policy.kinds import kind_of, kinds
from rl_tickets.training.cohorts.off_policy.understudy import spent
from rl_tickets.training.cohorts.optimizers import KNOWN_OPTIMIZERS, rule_of
from rl_tickets.training.cohorts.stack import Part
from rl_tickets.training.cohorts.understudy import Understudy

METHODS = ("train", "learn", "collect_rollouts", "predict", "_sample_action")


@dataclass(frozen=True)
class OffPolicy:
    """See `Family`."""

    @property
    def algorithms(self) -> tuple[type[BaseAlgorithm], ...]:
        """See `Family`."""
        return tuple(kind.algorithm for kind in kinds())

    def shape_of(self, model: BaseAlgorithm, masked: tuple[str, ...]) -> Shape:
        """See `Family.shape_of`."""
        assert isinstance(model, OffPolicyAlgorithm)
        cls = class_of(model)
        kind = kind_of(model)
        demand_unchanged(cls, kind.algorithm, METHODS)
        _demand_plain_data(model)
        _demand_plain_policy(model.policy, kind.policy)
        algorithm = kind.steps(model)
        parts = dict(_parts(model, algorithm))
        shapes = {name: tuple(p.shape) for name, p in model.policy.named_parameters()}
        between = (model.observation_space, model.action_space)
        assert model.env is not None
        assert isinstance(model.train_freq, TrainFreq)
        normalization = Normalization.of(model.env)
        settings = (model.n_envs, tuple(model.train_freq), model.gradient_steps, model.batch_size)
        kept = (type(model.replay_buffer).__name__, model._vec_normalize_env is None)
        kinds_of = (cls.__name__, str(model.policy), algorithm, parts, normalization)
        signature = (*kinds_of, fingerprint(model.policy), shapes, between, settings, kept, masked)
        blueprint = Blueprint(
            algorithm=algorithm,
            parts=parts,
            masked=masked,
            targets=dict(_targets(model, algorithm)),
            batch_size=model.batch_size,
            normalization=normalization,
        )
        return Shape(repr(signature), partial(OffPolicyGroup, blueprint))

    def understudy(self, model: BaseAlgorithm, seed: int) -> Understudy:
        """See `Family.understudy`."""
        return spent(model, seed)


def _demand_plain_policy(policy: BasePolicy, known: type[BasePolicy]) -> None:
    if not isinstance(policy, known):
        raise CannotJoin(f"its policy is a {type(policy).__name__}, not a {known.__name__}")
    demand_unchanged(type(policy), known, ("_predict",))
    demand_unchanged(type(policy), BasePolicy, ("predict", "obs_to_tensor"))
    if getattr(policy, "share_features_extractor", False) and [*policy.actor.features_extractor.parameters()]:  # type: ignore[union-attr]
        raise CannotJoin("its actor and its critic share a features extractor")
    for module in policy.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm | nn.modules.dropout._DropoutNd | nn.RNNBase):
            raise CannotJoin(f"its policy has a {type(module).__name__} layer")


def _demand_plain_data(model: OffPolicyAlgorithm) -> None:
    if type(model.replay_buffer) not in (ReplayBuffer, NStepReplayBuffer):
        raise CannotJoin(f"its transitions are kept in a {type(model.replay_buffer).__name__}")
    assert isinstance(model.train_freq, TrainFreq)
    if model.train_freq.unit is not TrainFrequencyUnit.STEP:
        raise CannotJoin("it trains after episodes, which end at different steps in different members")
    if not is_known(model.action_noise):
        raise CannotJoin(f"its action noise is a {type(model.action_noise).__name__}")
    if model.use_sde:
        raise CannotJoin("it explores with gSDE")
    if model.device.type != "cpu":
        raise CannotJoin(f"it is on device {model.device}")


def _parts(model: Any, algorithm: Algorithm) -> Iterator[tuple[str, Part]]:
    """What each optimizer trains, by its attribute path."""
    loose = {id(getattr(model, name)): name for name in algorithm.loose}
    names = {**{id(p): name for name, p in model.policy.named_parameters()}, **loose}
    optimizers = [attrgetter(path)(model) for path in algorithm.optimizers]
    if {*map(id, anatomy.optimizers(model).values())} != {*map(id, optimizers)}:
        raise CannotJoin("it has other optimizers than SB3's own")
    for path, optimizer in zip(algorithm.optimizers, optimizers, strict=True):
        if (rule := rule_of(optimizer)) is None:
            raise CannotJoin(f"its optimizer ({type(optimizer).__name__}) is not {KNOWN_OPTIMIZERS}")
        trained = [p for group in optimizer.param_groups for p in group["params"]]
        if any(id(p) not in names for p in trained):
            raise CannotJoin("its optimizer trains what its policy does not show")
        yield path, Part(rule, tuple(names[id(p)] for p in trained if p.requires_grad))


def _targets(model: Any, algorithm: Algorithm) -> Iterator[tuple[str, str]]:
    """Names of the tensors of target networks, with those that they follow."""
    names = {id(p): name for name, p in model.policy.named_parameters()}
    paths: Mapping[str, str] = algorithm.targets
    for target, origin in paths.items():
        pairs = zip(attrgetter(target)(model).parameters(), attrgetter(origin)(model).parameters(), strict=True)
        for following, followed in pairs:
            yield names[id(following)], names[id(followed)]
