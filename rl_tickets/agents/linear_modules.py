"""Modules made linear: the forward passes that stand in for those of layers, activations and norms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

ACTIVATIONS = (
    *(nn.Tanh, nn.Sigmoid, nn.Softsign, nn.Hardtanh, nn.Hardsigmoid, nn.LogSigmoid, nn.Tanhshrink),
    *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.RReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU),
    *(nn.SiLU, nn.Mish, nn.Hardswish, nn.Softplus),
)
CHANNELS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
"""Norms with a gain for each channel."""
ELEMENTS = (nn.LayerNorm, nn.RMSNorm)
"""Norms with a gain for each element of their last dimensions."""
Leaves = Mapping[int, torch.Tensor]
"""By identity of a parameter: its absolute value."""


def linear_pass(module: nn.Module, renorm: bool = False) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """The linear forward pass of an activation or a norm, None for any other module.

    Args:
        module: of a policy.
        renorm: whether it is a batch renormalisation of sb3-contrib.
    """
    if isinstance(module, ACTIVATIONS):
        return lambda x: x
    if not (renorm or isinstance(module, (*CHANNELS, *ELEMENTS))):
        return None
    gain = getattr(module, "scale" if renorm else "weight", None)
    if not isinstance(gain, torch.Tensor):
        return lambda x: x
    gains = gain.detach().abs().double()
    if isinstance(module, ELEMENTS):
        return lambda x: x * gains
    return lambda x: x * gains.view(1, -1, *[1] * (x.ndim - 2))


def linear_layer(
    path: str,
    module: nn.Module,
    leaves: Leaves,
    fill: float,
    called: Callable[[str, torch.Tensor, torch.Tensor], None],
) -> Callable[..., Any]:
    """The linear forward pass of a layer: absolute weights, no biases.

    Args:
        path: of the module in its policy.
        module: see `understood`.
        leaves: absolute weights.
        fill: what an LSTM's last outputs are.
        called: told each call's path, inputs and outputs.
    """

    def forward(inputs: torch.Tensor, state: Any = None) -> Any:
        x = inputs.double()
        match module:
            case nn.Linear():
                outputs = F.linear(x, leaves[id(module.weight)])
            case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
                outputs = module._conv_forward(x, leaves[id(module.weight)], None)
            case nn.LSTM():
                outputs = _lstm(module, x, leaves, fill)
        called(path, x, outputs)
        return (outputs, state) if isinstance(module, nn.LSTM) else outputs

    return forward


def _lstm(module: nn.LSTM, x: torch.Tensor, leaves: Leaves, fill: float) -> torch.Tensor:
    for level in range(module.num_layers):
        ih, hh = (leaves[id(getattr(module, f"weight_{kind}_l{level}"))] for kind in ("ih", "hh"))
        gates = F.linear(x, ih) + hh.sum(1) * fill
        x = gates.view(*gates.shape[:-1], 4, module.hidden_size).sum(-2)
    return x


@contextmanager
def replaced(module: nn.Module, forward: Callable[..., Any]) -> Iterator[None]:
    """A module with another forward pass meanwhile."""
    own = vars(module).get("forward")
    object.__setattr__(module, "forward", forward)
    try:
        yield
    finally:
        if own is None:
            object.__delattr__(module, "forward")
        else:
            object.__setattr__(module, "forward", own)
