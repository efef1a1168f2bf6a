"""Trimming: which rows and columns of an agent's tensors are left without its inactive units."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from rl_tickets.agents.layers import Layer, WiringError
from rl_tickets.agents.widths import Key, Width
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

    def uncut(self, name: str, left: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """The whole tensor of a parameter, with what is left of it written over it.

        Args:
            name: of the parameter.
            left: as `cut` gave it, and as it has become since.
            whole: what stands elsewhere; it stays as it is.
        """
        origin = self._origins.get(name, name)
        rows, columns = self._rows.get(origin), self._columns.get(origin)
        if rows is None and columns is None:
            return left
        filled, places = whole.clone(), [np.arange(whole.shape[0]) if rows is None else rows]
        places += [] if columns is None else [columns]
        into = np.ix_(*(place[place >= 0] for place in places))
        of = np.ix_(*(np.flatnonzero(place >= 0) for place in places))
        filled[tuple(map(torch.from_numpy, into))] = left[tuple(map(torch.from_numpy, of))].to(filled)
        return filled

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


def sized(every: Sequence[Width], kept: Callable[[str], Index]) -> tuple[dict[str, Index], dict[Key, int]]:
    """Units that are left in each layer, and how wide that makes it; zeros fill the narrower of two twins.

    Args:
        every: the widths that may change.
        kept: the units that are left of a layer, in order.
    """
    units: dict[str, Index] = {}
    sizes: dict[Key, int] = {}
    for width in every:
        left = [kept(layer) for layer in width.layers]
        sizes[width.key] = max(1, *map(len, left))
        units |= dict(zip(width.layers, (_padded(each, sizes[width.key]) for each in left), strict=True))
    return units, sizes


def _padded(units: Index, size: int) -> Index:
    return np.concatenate([units, np.full(size - len(units), NONE)]).astype(np.int64)


def demand_stateless(policy: nn.Module, layer: Layer) -> None:
    """Raises WiringError where a layer's units pass a module from which none can be taken without changing more."""
    for path in layer.after:
        module = policy.get_submodule(path)
        own = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
        if own or isinstance(module, nn.modules.dropout._DropoutNd | nn.RReLU):
            raise WiringError(
                f"units of {layer.name!r} pass {path!r} ({type(module).__name__}), which has a state of its own or "
                "differs in training, so a unit without inputs is not constant; such a policy cannot be shrunk"
            )
