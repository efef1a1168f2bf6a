"""Weights that are no parameters but computed from some, as `weight_norm`, `spectral_norm` and their like do."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.utils import parametrize

OLD_STYLE = ("_g", "_v", "_orig")
"""What torch's hooks of before parametrizations call the parameters that they compute a weight from."""


class DenseLayerWarning(UserWarning):
    """Layers whose weights are computed from other parameters are left dense."""


def computed_weights(policy: nn.Module) -> dict[str, tuple[nn.Parameter, ...]]:
    """The name of each computed weight or bias, with the parameters it is computed from.

    Example:
        >>> layer = torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 2))
        >>> [(name, [tuple(p.shape) for p in found]) for name, found in computed_weights(layer).items()]
        [('weight', [(2, 1), (2, 3)])]
    """
    return {
        f"{path}.{name}".lstrip("."): parameters
        for path, module in policy.named_modules()
        for name, parameters in _computed(module)
    }


def _computed(module: nn.Module) -> Iterator[tuple[str, tuple[nn.Parameter, ...]]]:
    if parametrize.is_parametrized(module):
        made = module.parametrizations
        assert isinstance(made, nn.ModuleDict)
        yield from ((name, tuple(each.parameters())) for name, each in made.items())
    own = dict(module.named_parameters(recurse=False))
    for name, value in vars(module).items():
        # Old style: a plain tensor, set anew before every forward pass.
        if isinstance(value, torch.Tensor) and (parts := tuple(own[p] for e in OLD_STYLE if (p := name + e) in own)):
            yield name, parts


def dense_layers(policy: nn.Module, trained: set[int]) -> dict[str, int]:
    """Names of computed weight matrices and kernels, with the number of trained parameters they are computed from."""
    return {
        name: sum(p.numel() for p in parameters)
        for name, parameters in computed_weights(policy).items()
        if "weight" in name.rsplit(".", 1)[-1] and any(p.ndim >= 2 and id(p) in trained for p in parameters)
    }
