"""An algorithm's own loss: its gradient, and the Hessian's product with it, intercepted in SB3's own `train`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.experience import Experience
from rl_tickets.agents.intercepting import Take, intercepted
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.mask import Prunable

Weights = Mapping[str, torch.Tensor]


class OwnLoss:
    """The losses with which an untrained agent's optimizers would make their first steps, on what it collected.

    Every optimizer has its own: SAC's critic is not moved by the actor's loss, and neither counts it here. No step is
    made, so that all minibatches see the same weights; gradients are those before norm clipping, means over the
    minibatches in which a weight had its turn. One pass over the data, since more would show the same.

    Args:
        model: see `Experience`, which collects the data.
        timesteps: environment steps of data.
        seed: of all draws.
        prunable: whose gradients are wanted, see `Mask.dense`.
    """

    def __init__(self, model: BaseAlgorithm, timesteps: int, seed: int, prunable: Prunable | None = None) -> None:
        self._experience = Experience(model, timesteps, seed)
        self._learner: Any = self._experience.learner
        self._shorten()
        self._weights = anatomy.prunable_weights(self._learner, prunable)
        self._names = {id(p): name for name, p in self._weights.items()}
        self._twins = anatomy.twins(self._learner)
        self._start = TrainingState.capture(self._learner, replay_buffer=False).only("weights")

    @property
    def timesteps(self) -> int:
        """Environment steps that the data took."""
        return self._experience.timesteps

    def gradient(self, weights: Weights) -> dict[str, torch.Tensor]:
        """Of the loss, by name.

        Args:
            weights: at which; for some of the prunable weights, by name.

        Raises:
            ValueError: no loss moves a weight; it is named.
        """
        found = _Means()

        def take(loss: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> None:
            found.add(self._named(parameters), _grad(loss, parameters))

        self._train(weights, take)
        return found.of(self._weights)

    def hessian_gradient(self, weights: Weights) -> dict[str, torch.Tensor]:
        """The Hessian of each optimizer's loss times its gradient, both over the prunable weights, by name: exact.

        Two passes over the same minibatches: the gradient of all of them, and the derivative of each one's gradient
        along it.
        """
        gradient, found = self.gradient(weights), _Means()

        def take(loss: torch.Tensor, parameters: Sequence[torch.nn.Parameter]) -> None:
            names = self._named(parameters)
            parts = _grad(loss, parameters, create_graph=True)
            along = sum((part * gradient[name]).sum() for part, name in zip(parts, names, strict=True))
            assert isinstance(along, torch.Tensor)
            # A loss that is linear in all of them has no curvature.
            found.add(names, _grad(along, parameters) if along.requires_grad else [p * 0 for p in parts])

        self._train(weights, take)
        return found.of(self._weights)

    def _named(self, parameters: Sequence[torch.nn.Parameter]) -> list[str]:
        return [self._names[id(p)] for p in parameters]

    def _train(self, weights: Weights, take: Take) -> None:
        """SB3's `train` at these weights, whose losses are taken instead of used."""

        @torch.no_grad()
        def begin() -> None:
            # Everything, since norms count on, and algorithms of one's own may write weights themselves.
            self._start.restore(self._learner)
            for name, value in weights.items():
                if name in self._weights:
                    self._weights[name].copy_(value)
            for p, copied in self._twins:
                copied.copy_(p)

        with intercepted(self._learner, take, {*self._names}), _twice_differentiable():
            self._experience.train(begin)

    def _shorten(self) -> None:
        """One pass over the data, which is ended by no divergence from the policy that collected it."""
        learner = self._learner
        if hasattr(learner, "n_epochs"):
            learner.n_epochs, learner.target_kl = 1, None
        if hasattr(learner, "_compute_actor_grad"):
            # TRPO writes its actor's weights itself; without a line search it leaves them.
            learner.line_search_max_iter, learner.n_critic_updates = 0, 1


class _Means:
    """Running means by name."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, names: Sequence[str], values: Sequence[torch.Tensor]) -> None:
        for name, value in zip(names, values, strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + value.detach().double()
            self._counts[name] = self._counts.get(name, 0) + 1

    def of(self, names: Mapping[str, object]) -> dict[str, torch.Tensor]:
        if missing := [name for name in names if name not in self._sums]:
            raise ValueError(
                f"no loss of this algorithm moves {missing[0]!r}, so that it has no gradient; leave it out with "
                "`prunable`, or use a criterion that needs no loss, such as rt.synflow"
            )
        return {name: self._sums[name] / self._counts[name] for name in names}


def _grad(
    loss: torch.Tensor, parameters: Sequence[torch.nn.Parameter], create_graph: bool = False
) -> list[torch.Tensor]:
    """Derivatives, zero where there is none."""
    found = torch.autograd.grad(loss, parameters, create_graph=create_graph, retain_graph=True, allow_unused=True)
    return [torch.zeros_like(p) if each is None else each for each, p in zip(found, parameters, strict=True)]


@contextmanager
def _twice_differentiable() -> Iterator[None]:
    """Without the LSTMs of oneDNN and cuDNN, which can be differentiated once only."""
    mkldnn: Any = torch.backends.mkldnn
    before = mkldnn.set_flags(_enabled=False)
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        mkldnn.set_flags(_enabled=before[0])
