"""Optimizers of a cohort: torch's own update rules over stacked weights, a learning rate for each member.

Adam: Kingma & Ba 2015 (arXiv 1412.6980); AdamW: Loshchilov & Hutter 2019 (arXiv 1711.05101); RMSprop: Hinton 2012,
and the variant of TensorFlow 1 that SB3 ships; SGD with momentum: Sutskever et al. 2013 (ICML 28).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

KNOWN_OPTIMIZERS = "one Adam, AdamW, RMSprop or SGD with one group of parameters and usual settings"
"""Optimizers that have a rule."""
Moments = Mapping[str, torch.Tensor]


class Rule(Protocol):
    """How gradients become new weights and moments.

    `moments` gives the initial moments of a weight by the names torch's optimizer has for them, `count` a number of
    steps, of shape (), as that optimizer keeps it, None where it counts none. `sizes` gives what a step needs of each
    member's learning rate and of the number of this step, from 1; all are float64 of shape (members,). `step` takes
    these, and one weight, its gradient and its moments, all with a leading member axis.
    """

    def moments(self, weight: torch.Tensor) -> dict[str, torch.Tensor]: ...

    def count(self, count: torch.Tensor) -> torch.Tensor | int | None: ...

    def sizes(self, rate: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, ...]: ...

    def step(
        self, weight: torch.Tensor, gradient: torch.Tensor, moments: Moments, *sizes: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]: ...


@dataclass(frozen=True)
class AdamRule:
    """Adam, and AdamW where the decay is decoupled."""

    betas: tuple[float, float]
    eps: float
    weight_decay: float
    decoupled: bool

    def moments(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"exp_avg": torch.zeros_like(weight), "exp_avg_sq": torch.zeros_like(weight)}

    def count(self, count: torch.Tensor) -> torch.Tensor:
        return count

    def sizes(self, rate: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, ...]:
        first, second = self.betas
        return 1 - rate * self.weight_decay, rate / (1 - first**count), (1 - second**count).sqrt()

    def step(
        self, weight: torch.Tensor, gradient: torch.Tensor, moments: Moments, *sizes: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        kept, size, correction = sizes
        first, second = self.betas
        if self.decoupled:
            weight = weight * along(kept, weight)
        elif self.weight_decay:
            gradient = gradient + self.weight_decay * weight
        mean = moments["exp_avg"] + (1 - first) * (gradient - moments["exp_avg"])
        square = second * moments["exp_avg_sq"] + (1 - second) * gradient * gradient
        denominator = square.sqrt() / along(correction, weight) + self.eps
        return weight - along(size, weight) * (mean / denominator), {"exp_avg": mean, "exp_avg_sq": square}


@dataclass(frozen=True)
class RMSpropRule:
    """RMSprop; TensorFlow's variant begins with ones and adds epsilon inside the root."""

    alpha: float
    eps: float
    weight_decay: float
    like_tensorflow: bool

    def moments(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"square_avg": torch.ones_like(weight) if self.like_tensorflow else torch.zeros_like(weight)}

    def count(self, count: torch.Tensor) -> torch.Tensor | int:
        return int(count) if self.like_tensorflow else count

    def sizes(self, rate: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (rate,)

    def step(
        self, weight: torch.Tensor, gradient: torch.Tensor, moments: Moments, *sizes: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        (rate,) = sizes
        if self.weight_decay:
            gradient = gradient + self.weight_decay * weight
        square = self.alpha * moments["square_avg"] + (1 - self.alpha) * gradient * gradient
        root = (square + self.eps).sqrt() if self.like_tensorflow else square.sqrt() + self.eps
        return weight - along(rate, weight) * (gradient / root), {"square_avg": square}


@dataclass(frozen=True)
class SGDRule:
    """Gradient descent, with momentum where there is any, which Nesterov's variant looks ahead by."""

    momentum: float
    weight_decay: float
    nesterov: bool

    def moments(self, weight: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"momentum_buffer": torch.zeros_like(weight)} if self.momentum else {}

    def count(self, count: torch.Tensor) -> None:
        return None

    def sizes(self, rate: torch.Tensor, count: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (rate,)

    def step(
        self, weight: torch.Tensor, gradient: torch.Tensor, moments: Moments, *sizes: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        (rate,) = sizes
        if self.weight_decay:
            gradient = gradient + self.weight_decay * weight
        if not self.momentum:
            return weight - along(rate, weight) * gradient, {}
        moved = self.momentum * moments["momentum_buffer"] + gradient
        ahead = gradient + self.momentum * moved if self.nesterov else moved
        return weight - along(rate, weight) * ahead, {"momentum_buffer": moved}


def along(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """One value for each member, as something to multiply a stacked tensor with."""
    return values.to(weight.dtype).view(-1, *(1 for _ in weight.shape[1:]))


def rule_of(optimizer: Optimizer) -> Rule | None:
    """The rule of one of torch's optimizers; None for a kind, or a setting of it, that is not known."""
    group = optimizer.param_groups[0]
    if len(optimizer.param_groups) > 1 or any(group.get(name) for name in _UNKNOWN_SETTINGS):
        return None
    if type(optimizer) in (Adam, AdamW):
        decoupled = type(optimizer) is AdamW or bool(group.get("decoupled_weight_decay"))
        return AdamRule(_pair(group), float(group["eps"]), float(group["weight_decay"]), decoupled)
    if type(optimizer) is SGD and not group["dampening"]:
        return SGDRule(float(group["momentum"]), float(group["weight_decay"]), bool(group["nesterov"]))
    if type(optimizer) in (RMSprop, RMSpropTFLike) and not group["momentum"]:
        like_tensorflow = type(optimizer) is RMSpropTFLike
        return RMSpropRule(float(group["alpha"]), float(group["eps"]), float(group["weight_decay"]), like_tensorflow)
    return None


_UNKNOWN_SETTINGS = ("amsgrad", "maximize", "centered", "differentiable", "capturable", "fused")


def _pair(group: dict[str, Any]) -> tuple[float, float]:
    first, second = group["betas"]
    return float(first), float(second)
