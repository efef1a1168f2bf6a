"""Trimming: which rows and columns of an agent's tensors are left without its inactive units."""

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch

from rl_tickets.agents.layers import WiringError
from rl_tickets.agents.wiring import Wiring

Index = npt.NDArray[np.int64]
NONE = -1
"""A place that no unit takes: zeros, which keep layers that must be equally wide as wide as the widest of them."""


class Trim:
    """Cuts tensors of an agent, or others of their shapes such as optimizer moments, to the units that are left.

    Args:
        found: the agent's wiring.
        kept: layers whose width changes -> units that are left, in order, then perhaps `NONE`.
        origins: other names of parameters, such as those of target networks, -> the name in the wiring.

    Raises:
        WiringError: columns of a layer are not in the order of the units that feed them.
    """

    def __init__(self, found: Wiring, kept: Mapping[str, Index], origins: Mapping[str, str]) -> None:
        self._found, self._kept, self._origins = found, kept, origins
        self._rows: dict[str, Index] = {}
        self._columns: dict[str, Index] = {}
        for layer in found.layers:
            self._columns[layer.name] = self._columns_of(layer.name)
            if layer.name not in kept:
                continue
            units = kept[layer.name]
            gates = range(4 if layer.kind == "lstm" else 1)
            rows = np.concatenate([np.where(units < 0, NONE, units + gate * layer.outputs) for gate in gates])
            self._rows |= dict.fromkeys([layer.name, *layer.biases], rows)
            if layer.recurrent:
                self._rows[layer.recurrent], self._columns[layer.recurrent] = rows, units
                self._rows[f"{layer.module}.state_l{layer.name.rpartition('_l')[2]}"] = units

    def cut(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """What is left of a tensor that belongs to a parameter, or to an LSTM's state with its units last."""
        origin = self._origins.get(name, name)
        if ".state_l" in name:
            return _select(tensor, self._rows.get(name), -1)
        return _select(_select(tensor, self._rows.get(origin), 0), self._columns.get(origin), 1)

    def _columns_of(self, target: str) -> Index:
        """Columns of a layer's weights that are left; sources stand one after the other, as they stood."""
        units = {feed.source: np.array(feed.units) for feed in self._found.into(target)}
        sources = np.full(self._found.layer(target).inputs, "", dtype=object)
        for source, of in units.items():
            sources[of >= 0] = source
        left: list[Index] = []
        for source, run in groupby(range(len(sources)), key=sources.__getitem__):
            columns = np.array(list(run))
            if source in self._kept:
                columns = _blocks(columns, units[source][columns], self._kept[source], target)
            left.append(columns)
        return np.concatenate(left)


def _blocks(columns: Index, units: Index, kept: Index, target: str) -> Index:
    """The columns of the units that are left: one each, or as many as a flattened channel has pixels."""
    count = int(units.max()) + 1
    if not np.array_equal(units, np.repeat(np.arange(count), len(units) // count)):
        raise WiringError(f"columns of {target!r} are not in the order of the units that feed them")
    blocks = columns.reshape(count, -1)
    return np.where(kept[:, None] < 0, NONE, blocks[kept]).flatten()


def _select(tensor: torch.Tensor, index: Index | None, axis: int) -> torch.Tensor:
    if index is None:
        return tensor
    chosen = torch.as_tensor(index, device=tensor.device)
    left = tensor.index_select(axis, chosen.clamp(min=0))
    return left.index_fill(axis, (chosen < 0).nonzero().flatten(), 0)


def padded(kept: Sequence[Index], size: int) -> list[Index]:
    """Units of several layers, each filled up to the same size."""
    return [np.concatenate([units, np.full(size - len(units), NONE)]).astype(np.int64) for units in kept]
