"""Constant units, as those are that lost all their inputs: where their gradient is not defined, they pass none back."""

from collections.abc import Iterator
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn
from torch.utils.hooks import RemovableHandle

from rl_tickets.agents import anatomy


def renorms(model: BaseAlgorithm) -> Iterator[nn.Module]:
    """The agent's batch renormalisations, as CrossQ has them; of sb3-contrib, which need not be installed."""
    for network in anatomy.modules(model).values():
        yield from (m for m in network.modules() if any(cls.__name__ == "BatchRenorm" for cls in type(m).__mro__))


def silence_constant_units(renorm: nn.Module) -> RemovableHandle:
    """Lets no NaN out of a batch renormalisation in training, until the handle is removed.

    Past its warm-up it takes the root of every unit's variance over the batch, whose derivative at zero is infinite:
    times zero it is NaN, which the layer below would spread to all weights. Zero is the right gradient of a unit that
    lost its inputs: only its bias can move it, for the whole batch alike, which is what normalising takes out. All
    other gradients stay, to the last bit.
    """
    return renorm.register_forward_pre_hook(_silence)


def _silence(renorm: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
    units = inputs[0]
    if not (renorm.training and units.requires_grad):
        return None
    # Only where it is not finite: elsewhere, and in an agent that diverges, nothing is made up.
    constant = units.detach().var(dim=0) == 0
    # A view of its own, since others may use the same units.
    seen = units.view_as(units)
    seen.register_hook(lambda gradient: gradient.masked_fill(constant & ~gradient.isfinite(), 0))
    return (seen, *inputs[1:])
