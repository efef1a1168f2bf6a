"""Misfits: layers of an agent that a transferred ticket has nothing for, and what masks they may be given instead."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True)
class Misfit:
    """A weight of the target that nothing is carried to; its value is the fresh agent's own.

    Args:
        name: in the target's `policy.named_parameters()`.
        shape: of the weight.
        density: of the ticket's corresponding weight, or of the whole ticket where there is none, in (0, 1].
        reason: why nothing is carried.
    """

    name: str
    shape: tuple[int, ...]
    density: float
    reason: str


MakeMask = Callable[[Misfit, np.random.Generator], torch.Tensor]
"""`(misfit, generator) -> bool tensor of the weight's shape`, True where it is kept."""


def refuse_layer(misfit: Misfit, generator: np.random.Generator) -> torch.Tensor:
    """No mask at all: what does not fit is an error.

    Raises:
        ValueError: always.
    """
    raise ValueError(
        f"{misfit.name!r} does not fit: {misfit.reason}; say what becomes of such layers, by "
        "`otherwise=rt.dense_layer` or `rt.random_layer`, or which modules correspond, by `source` or `names`"
    )


def dense_layer(misfit: Misfit, generator: np.random.Generator) -> torch.Tensor:
    """All of its weights are kept (Morcos et al. 2019, arXiv 1906.02773, do so with output layers).

    Example:
        >>> dense_layer(Misfit("head", (1, 4), 0.5, "other actions"), np.random.default_rng(0)).tolist()
        [[True, True, True, True]]
    """
    return torch.ones(misfit.shape, dtype=torch.bool)


def random_layer(misfit: Misfit, generator: np.random.Generator) -> torch.Tensor:
    """As many as the ticket's density keeps, at least one, in random places.

    Example:
        >>> random_layer(Misfit("head", (1, 4), 0.5, "other actions"), np.random.default_rng(0)).sum().item()
        2
    """
    total = int(np.prod(misfit.shape))
    kept = torch.zeros(total, dtype=torch.bool)
    kept[torch.from_numpy(generator.permutation(total)[: max(1, round(misfit.density * total))])] = True
    return kept.reshape(misfit.shape)
