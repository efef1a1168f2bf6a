"""Whether a mask, or values for its weights, fit an agent or another mask; what does not is named."""

from collections.abc import Mapping
from os import PathLike

import torch
from torch import nn

from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.ticket import Ticket


def demand_mask(mask: object) -> None:
    """Raises TypeError for what is no mask."""
    if isinstance(mask, Ticket):
        raise TypeError("a mask is held, not a whole ticket: hold `ticket.mask`, or plant the ticket")
    if isinstance(mask, str | PathLike):
        raise TypeError(f"a mask must be an rt.Mask, not a file's name; read the file with `rt.Ticket.load({mask!r})`")
    if not isinstance(mask, Mask):
        raise TypeError(
            f"a mask must be an rt.Mask, not a {type(mask).__name__}; make one with `rt.Mask({{name: bools}})`"
        )


def demand_fit(named: dict[str, nn.Parameter], mask: Mask, owned: set[int]) -> None:
    """Raises ValueError where a mask covers what the named parameters lack, or what no optimizer owns."""
    for name in mask:
        if name not in named:
            raise ValueError(f"the mask covers {name!r}, which this policy lacks: it is of another architecture")
        if named[name].shape != mask[name].shape:
            raise ValueError(
                f"the mask's {name!r} has shape {tuple(mask[name].shape)}, the policy's {tuple(named[name].shape)}: "
                "it is of another architecture"
            )
        if not named[name].requires_grad:
            raise ValueError(f"{name!r} is frozen (requires_grad=False), so there is nothing to hold there")
        if id(named[name]) not in owned:
            raise ValueError(f"no optimizer trains {name!r}, so there is nothing to hold there")


def demand_same_layers(ours: Mask, theirs: Mask) -> None:
    """Raises ValueError, naming the first difference, where two masks cover different layers."""
    for name in [*ours, *theirs]:
        if name not in ours or name not in theirs:
            side = "held" if name in ours else "other"
            raise ValueError(f"only the {side} mask covers {name!r}; a mask changes over the same layers")
        if ours[name].shape != theirs[name].shape:
            raise ValueError(
                f"{name!r} has shape {tuple(theirs[name].shape)} in the other mask, {tuple(ours[name].shape)} in the "
                "held one; a mask changes over the same layers"
            )


def demand_values(mask: Mask, values: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError where values are not for a layer of the mask, in its shape."""
    for name, value in values.items():
        if name not in mask or value.shape != mask[name].shape:
            raise ValueError(f"the values for {name!r}, of shape {tuple(value.shape)}, fit no layer of the mask")
