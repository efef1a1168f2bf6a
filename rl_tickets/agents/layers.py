"""The layers of a policy whose inputs and outputs can be told apart: linear, convolutional and LSTM modules."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import nn

Kind = Literal["linear", "conv", "lstm"]
Understood: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.LSTM


class WiringError(ValueError):
    """A policy is built in a way in which its units cannot be told apart."""


@dataclass(frozen=True)
class Layer:
    """One layer of units.

    Args:
        name: of its weights over its inputs, in `policy.named_parameters()`.
        module: path of its module in the policy; an LSTM of several layers stands there once for each.
        kind: linear, conv, or lstm.
        biases: names of its biases, two in an LSTM.
        recurrent: name of an LSTM's weights over its own last outputs.
        inputs: columns of its weights: features, or a convolution's input channels.
        outputs: units: features, channels, or an LSTM's hidden units.
        after: paths of the modules that its outputs pass on their way to the next layers: activations, norms, ...
    """

    name: str
    module: str
    kind: Kind
    biases: tuple[str, ...]
    recurrent: str | None
    inputs: int
    outputs: int
    after: tuple[str, ...] = ()


def understood(module: nn.Module) -> bool:
    """Whether wiring knows what a module's weights do: a layer of torch's own, with torch's own forward pass."""
    own = dict(module.named_parameters(recurse=False))
    match module:
        case nn.Linear():
            # A parametrized weight is computed anew each time and is no parameter.
            return "weight" in own and type(module).forward is nn.Linear.forward
        case nn.Conv1d() | nn.Conv2d() | nn.Conv3d():
            return "weight" in own and module.groups == 1 and type(module) in (nn.Conv1d, nn.Conv2d, nn.Conv3d)
        case nn.LSTM():
            plain = not (module.bidirectional or module.batch_first or module.proj_size)
            return "weight_ih_l0" in own and plain and type(module).forward is nn.LSTM.forward
    return False


def layers_of(path: str, module: nn.Module, names: dict[int, str]) -> list[Layer]:
    """The layers of an understood module, from its inputs to its outputs.

    Args:
        path: of the module in the policy.
        module: see `understood`.
        names: of the policy's parameters by identity; one that stands there twice has one name.
    """
    if not isinstance(module, nn.LSTM):
        assert isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
        kind: Kind = "linear" if isinstance(module, nn.Linear) else "conv"
        outputs, inputs = module.weight.shape[:2]
        bias = () if module.bias is None else (names[id(module.bias)],)
        return [Layer(names[id(module.weight)], path, kind, bias, None, inputs, outputs)]
    found = []
    for level in range(module.num_layers):
        ih, hh = getattr(module, f"weight_ih_l{level}"), getattr(module, f"weight_hh_l{level}")
        both = (f"bias_ih_l{level}", f"bias_hh_l{level}") if module.bias else ()
        biases = tuple(names[id(getattr(module, bias))] for bias in both)
        found.append(Layer(names[id(ih)], path, "lstm", biases, names[id(hh)], ih.shape[1], module.hidden_size))
    return found


def demand_understood(policy: nn.Module, prunable: Iterable[str]) -> None:
    """Refuses prunable weights of modules that wiring does not know.

    Raises:
        WiringError: it names the module.
    """
    known = {id(p) for module in policy.modules() if understood(module) for p in module.parameters(recurse=False)}
    for name in prunable:
        path, _, _ = name.rpartition(".")
        if id(policy.get_parameter(name)) not in known:
            raise WiringError(
                f"{path or 'policy'!r} ({type(policy.get_submodule(path)).__name__}) is not understood: units are "
                "those of torch's own Linear, ungrouped Conv and one-way LSTM; leave it out with `prunable`, or prune "
                "single weights"
            )


def by_unit(module: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """A view of a layer's inputs or outputs whose axes begin with (row of the batch, unit)."""
    row = 1 if isinstance(module, nn.LSTM) else 0
    unit = 1 if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) else -1
    return values.movedim((row, unit), (0, 1))
