"""Criteria of agents: they look at a whole agent, its networks or its loss, and not at weights alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.experience import demand_environment
from rl_tickets.agents.linear import LinearPolicy
from rl_tickets.agents.own_loss import OwnLoss
from rl_tickets.tickets.criteria import Criterion, Weights
from rl_tickets.tickets.mask import Prunable


class AgentScores(Protocol):
    """A criterion of one agent: `(weights, start) -> scores`, as `prune` takes it."""

    @property
    def rounds(self) -> int:
        """In how many rounds `prune` is to reach its density, scoring what is left anew in each."""

    @property
    def timesteps(self) -> int:
        """Environment steps it took to collect what it looks at."""

    def __call__(self, weights: Weights, start: Weights) -> Weights: ...


class AgentCriterion(ABC):
    """What makes a criterion of an agent; subclasses are frozen dataclasses of their own settings.

    Example:
        @dataclass(frozen=True)
        class Depth(rt.AgentCriterion):
            def of(self, model, *, seed=0, prunable=None):
                return rt.magnitude
    """

    of_units: ClassVar[bool] = False
    """Whether it scores whole units, and never single weights."""

    @abstractmethod
    def of(self, model: BaseAlgorithm, *, seed: int = 0, prunable: Prunable | None = None) -> AgentScores:
        """The criterion `(weights, start) -> scores` of this agent, which is left as it was.

        Args:
            model: any torch `BaseAlgorithm`.
            seed: of every draw.
            prunable: which weights will be scored, see `Mask.dense`.
        """

    def check(self, model: BaseAlgorithm, prunable: Prunable | None = None) -> None:  # noqa: B027
        """Raises ValueError at once for an agent that it cannot score; collects nothing."""


@dataclass(frozen=True)
class SynFlow(AgentCriterion):
    """Synaptic flow, which looks at no data: |w| ∂R/∂|w|, R what flows through the linear network of absolute weights
    from an input of ones (Tanaka et al. 2020, arXiv 2006.05467).

    What flows into a hidden unit flows out of it, so that layers with few weights score high, and in many small rounds
    no layer loses its last weight before it must. An agent has several outputs: R is the sum of the logarithms of what
    flows out of each head (action, value, each of twin critics), which gives Tanaka's scores of each divided by what
    flows out of it. Their plain sum would prune SB3's actors away: those begin with a head a hundred times as small as
    the critic's, and the twin critic with less flow would go as a whole. Actor and critic compete on equal terms with
    scope "global", each by itself with scope "network". How policies are made linear, and why without biases, says
    `LinearPolicy`.

    Args:
        rounds: of pruning, at densities that fall exponentially.

    Example:
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
        >>> scores = SynFlow().of(model)(dict(model.policy.named_parameters()), {})
        >>> round(float(scores["action_net.weight"].sum()), 6)
        1.0
    """

    rounds: int = 100

    def __post_init__(self) -> None:
        demand_rounds(self.rounds)

    def of(self, model: BaseAlgorithm, *, seed: int = 0, prunable: Prunable | None = None) -> AgentScores:
        """See `AgentCriterion`; the seed is not used.

        Raises:
            SaliencyError: a part of the policy cannot be made linear; it is named.
        """
        return _Flow(LinearPolicy(model, prunable), self.rounds)

    def check(self, model: BaseAlgorithm, prunable: Prunable | None = None) -> None:
        """See `AgentCriterion`."""
        LinearPolicy(model, prunable)


@dataclass(frozen=True)
class _Flow:
    policy: LinearPolicy
    rounds: int
    timesteps: int = 0

    def __call__(self, weights: Weights, start: Weights) -> Weights:
        leaves = self.policy.leaves(weights)
        flows = [flow for flow in self.policy.outputs(leaves) if flow > 0]
        found = self.policy.of(leaves)
        if not flows:  # Nothing connects an input with an output any more.
            return {name: torch.zeros_like(leaf) for name, leaf in found.items()}
        gradient = torch.autograd.grad(torch.stack(flows).log().sum(), [*found.values()], allow_unused=True)
        return {
            name: torch.zeros_like(leaf) if part is None else (leaf * part).detach()
            for (name, leaf), part in zip(found.items(), gradient, strict=True)
        }


@dataclass(frozen=True)
class _OfLoss(AgentCriterion):
    """What looks at the gradient of the algorithm's own loss.

    Args:
        timesteps: environment steps of the agent's that its loss is taken over; on-policy algorithms finish their
            rollout. They are collected as at the start of a training, with all the exploration that there is then.
        rounds: of pruning, at densities that fall exponentially.
    """

    timesteps: int = 2_048
    rounds: int = 1

    def __post_init__(self) -> None:
        demand_rounds(self.rounds)
        if self.timesteps < 1:
            raise ValueError(f"timesteps must be at least 1 environment step, got {self.timesteps!r}")

    def check(self, model: BaseAlgorithm, prunable: Prunable | None = None) -> None:
        """See `AgentCriterion`."""
        demand_environment(model)


@dataclass(frozen=True)
class Snip(_OfLoss):
    """|w g|, the connection sensitivity of the algorithm's own loss (Lee et al. 2019, SNIP, arXiv 1810.02340).

    With many rounds it is iterative SNIP (de Jorge et al. 2020, arXiv 2006.09081, without weights that return). Of
    every weight the loss is its own optimizer's, and g the mean gradient over minibatches of what the untrained policy
    met. Between networks sizes of losses differ for no good reason: scope "network" lets actor and critic each keep
    their share.

    Example:
        >>> from stable_baselines3 import A2C
        >>> model = A2C("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
        >>> criterion = Snip(timesteps=64).of(model, seed=1)
        >>> criterion.timesteps
        65
    """

    def of(self, model: BaseAlgorithm, *, seed: int = 0, prunable: Prunable | None = None) -> AgentScores:
        """See `AgentCriterion`; collects `timesteps` environment steps with a copy of the agent.

        Raises:
            ValueError: the agent has no environment, or no loss.
        """
        return _Sensitivity(OwnLoss(model, self.timesteps, seed, prunable), self.rounds)


@dataclass(frozen=True)
class Grasp(_OfLoss):
    """w (Hg), by which pruning keeps the gradient flowing (Wang et al. 2020, GraSP, arXiv 2002.07376).

    Wang's -w (Hg) is what pruning the weight does to the norm of the gradient, to first order, and its highest go;
    here, as everywhere in this package, the highest stay, so the sign is the other one. g is the mean gradient of each
    optimizer's loss over all minibatches, H that loss's Hessian, both over the prunable weights; the product is exact.
    """

    def of(self, model: BaseAlgorithm, *, seed: int = 0, prunable: Prunable | None = None) -> AgentScores:
        """See `AgentCriterion`; collects `timesteps` environment steps with a copy of the agent.

        Raises:
            ValueError: the agent has no environment, or no loss.
        """
        return _GradientFlow(OwnLoss(model, self.timesteps, seed, prunable), self.rounds)


@dataclass(frozen=True)
class _Scored:
    loss: OwnLoss
    rounds: int

    @property
    def timesteps(self) -> int:
        return self.loss.timesteps


class _Sensitivity(_Scored):
    def __call__(self, weights: Weights, start: Weights) -> Weights:
        gradient = self.loss.gradient(weights)
        return {name: (weights[name].cpu() * found.cpu()).abs() for name, found in gradient.items()}


class _GradientFlow(_Scored):
    def __call__(self, weights: Weights, start: Weights) -> Weights:
        product = self.loss.hessian_gradient(weights)
        return {name: weights[name].cpu() * found.cpu() for name, found in product.items()}


def criterion_of(
    criterion: AgentCriterion | Criterion, model: BaseAlgorithm, *, seed: int, prunable: Prunable | None = None
) -> tuple[Criterion, int]:
    """The criterion of this agent, and the environment steps that it looked at: none, where it sees weights alone."""
    if not isinstance(criterion, AgentCriterion):
        return criterion, 0
    found = criterion.of(model, seed=seed, prunable=prunable)
    return found, found.timesteps


def demand_rounds(rounds: int) -> None:
    """Raises ValueError for what is no number of rounds."""
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds must be a whole number of at least 1, got {rounds!r}")


synflow = SynFlow()
snip = Snip()
grasp = Grasp()
