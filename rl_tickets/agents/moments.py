"""The moments that optimizers keep of weights, and what they are before an optimizer's first step."""

from collections.abc import Iterator, Mapping

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from torch.optim import Optimizer

from rl_tickets.agents import anatomy


def moments_of(
    model: BaseAlgorithm, weights: Mapping[str, torch.nn.Parameter]
) -> Iterator[tuple[str, torch.Tensor, float]]:
    """Every moment of these weights: the weight's name, the moment, the value it begins with."""
    for optimizer in anatomy.optimizers(model).values():
        for name, p in weights.items():
            for key, moment in optimizer.state.get(p, {}).items():
                if key != "step" and isinstance(moment, torch.Tensor) and moment.shape == p.shape:
                    yield name, moment, _initial(optimizer, key)


def _initial(optimizer: Optimizer, moment: str) -> float:
    """What a moment is before an optimizer's first step."""
    if moment == "square_avg" and isinstance(optimizer, RMSpropTFLike):
        return 1.0
    if moment == "sum":
        return float(optimizer.defaults.get("initial_accumulator_value", 0.0))  # Adagrad's.
    return 0.0
