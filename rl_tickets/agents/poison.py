"""Poison in a forward pass: NaN in one unit's output, followed to the inputs of the next layers and stopped there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from rl_tickets.agents.layers import WiringError, by_unit


@dataclass
class Trace:
    """What a poison reached.

    Args:
        hits: path of a layer's module -> which (unit, column) pairs were reached.
        passed: paths of the modules on the way, in order.
        mixing: the first of them after which units were no longer apart.
    """

    hits: dict[str, np.ndarray] = field(default_factory=dict)
    passed: dict[str, None] = field(default_factory=dict)
    mixing: str | None = None


def arrival(path: str, some: np.ndarray, units: int, trace: Trace) -> Callable[..., Any]:
    """A hook that notes where poison arrives at a layer, and stops it there."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args:
            return None
        bad = args[0].isnan()
        columns = by_unit(module, bad)
        if len(columns) != len(some):
            raise WiringError(
                f"{path!r} is given {len(columns)} rows for {len(some)} observations; prune single weights"
            )
        hits = columns.reshape(*columns.shape[:2], -1).any(2).cpu().numpy()
        if path not in trace.hits:
            trace.hits[path] = np.zeros((units, hits.shape[1]), dtype=bool)
        trace.hits[path][some] |= hits
        return (args[0].masked_fill(bad, 0), *args[1:])

    return hook


def departure(some: np.ndarray | None) -> Callable[..., Any]:
    """A hook that poisons some units of a layer's outputs, and cleans all others."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        values = output[0] if isinstance(output, tuple) else output
        values = values.masked_fill(values.isnan(), 0)
        if some is not None:
            by_unit(module, values)[np.arange(len(some)), some] = torch.nan
        return (values, *output[1:]) if isinstance(output, tuple) else values

    return hook


def witness(path: str, trace: Trace) -> Callable[..., Any]:
    """A hook that notes whether poison passes a module, and whether it comes out of it mixed."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        inputs: Sequence[Any] = (*args, output)
        tensors = [value for value in inputs if isinstance(value, torch.Tensor)]
        if len(tensors) < 2 or not any(bool(value.isnan().any()) for value in tensors[:-1]):
            return
        trace.passed[path] = None
        mixed = [bool((value.isnan().sum(0) > 1).any()) for value in tensors]
        if trace.mixing is None and mixed[-1] and not any(mixed[:-1]):
            trace.mixing = path

    return hook
