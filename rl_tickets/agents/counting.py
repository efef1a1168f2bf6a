"""Counting masks, to draw one uniformly among those of given layer counts that leave a path to given outputs.

The units of a layer are alike: in how many ways the layers beyond it can be filled depends on *how many* of its units
an input reaches, and not on which. So the ways are counted from the heads backwards, in whole numbers; then, from the
inputs on, it is drawn how many units are reached, which, and where the weights lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import comb, prod

import numpy as np
import torch
from numpy.typing import NDArray

from rl_tickets.agents.layers import Layer, WiringError
from rl_tickets.agents.paths import Bits, columns_reached, inputs_of
from rl_tickets.agents.wiring import Wiring
from rl_tickets.tickets.mask import Mask

Places = NDArray[np.intp]


@dataclass(frozen=True)
class _Table:
    """A layer's weights as a table with a row for each unit.

    Args:
        places: flat index of each weight, shape (units, columns, weights that join one unit and one column).
        kept: how many weights the layer keeps.
        source: the layer that it hears, or None if it hears inputs alone.
        fixed: how many columns inputs feed.
        block: how many columns each unit of the source feeds.
    """

    places: Places
    kept: int
    source: str | None
    fixed: int
    block: int

    @property
    def rows(self) -> int:
        """Units."""
        return len(self.places)

    def reaching(self, units: int) -> int:
        """Weights of one row that would join its unit to what is reached, if so many units of the source are."""
        return (self.fixed + self.block * units) * len(self.places[0, 0])


class Counting:
    """The masks of layers that hang together, none of which hears two others.

    Args:
        part: the wiring of these layers.
        like: a mask whose shapes and layer counts theirs have.
        wanted: heads with the outputs that must be reached.

    Raises:
        WiringError: a layer hears several others, or hears units of one through unlike numbers of columns.
    """

    def __init__(self, part: Wiring, like: Mask, wanted: Mapping[str, Bits]) -> None:
        self._part, self._like, self._wanted = part, like, wanted
        self._tables = {layer.name: _table(layer, part, like) for layer in part.layers}
        self._known: dict[tuple[str, int], list[int]] = {}
        self._beyond: dict[str, list[str]] = {name: [] for name in self._tables}
        for name in reversed(self._tables):
            source = self._tables[name].source
            if source is not None and (name in wanted or self._beyond[name]):
                self._beyond[source].append(name)

    def draw(self, generator: np.random.Generator) -> dict[str, torch.Tensor]:
        """One of the masks, each with the same chance; there must be one."""
        drawn: dict[str, torch.Tensor] = {}
        reached = inputs_of(self._part)
        for layer in self._part.layers:
            table = self._tables[layer.name]
            columns = columns_reached(layer, self._part, reached)
            reached[layer.name] = units = np.zeros(table.rows, dtype=bool)
            places = self._places(layer.name, table, columns, units, generator)
            if layer.name in self._like:
                kept = np.zeros(table.places.size, dtype=bool)
                kept[places] = True
                drawn[layer.name] = torch.from_numpy(kept).reshape(self._like[layer.name].shape)
        return drawn

    def _places(self, name: str, table: _Table, columns: Bits, units: Bits, generator: np.random.Generator) -> Places:
        """Where a layer's weights lie; the units that are reached by them are marked."""
        reaching = table.places[:, columns].reshape(table.rows, -1)
        if name in self._wanted:
            units[self._wanted[name]] = True
            free = [table.places[units][:, ~columns], table.places[~units]]
        elif self._beyond[name]:
            heard = int(columns.sum()) - table.fixed
            ways = self._ways(name, heard // table.block if table.block else 0)
            units[generator.choice(table.rows, _pick(enumerate(ways), sum(ways), generator), replace=False)] = True
            free = [table.places[:, ~columns]]
        else:
            free = [table.places]
        return _filled(reaching[units], np.concatenate([each.ravel() for each in free]), table.kept, generator)

    def _ways(self, name: str, source: int) -> list[int]:
        """Ways to fill a layer and all beyond it, if so many units of its source are reached.

        By how many of the layer's own units are reached then; of a head, all those that are wanted.
        """
        if (name, source) not in self._known:
            table = self._tables[name]
            reaching, total = table.reaching(source), table.places.size
            if name in self._wanted:
                wanted = int(self._wanted[name].sum())
                found = [_onto(wanted, reaching, total - wanted * reaching, table.kept)[wanted]]
            else:
                most = min(table.rows, table.kept)
                exactly = _onto(most, reaching, total - table.rows * reaching, table.kept)
                found = [comb(table.rows, own) * exactly[own] for own in range(most + 1)]
                found = [
                    ways and ways * prod(sum(self._ways(other, own)) for other in self._beyond[name])
                    for own, ways in enumerate(found)
                ]
            self._known[name, source] = found
        return self._known[name, source]


def _table(layer: Layer, part: Wiring, like: Mask) -> _Table:
    shape = like[layer.name].shape if layer.name in like else torch.Size((layer.outputs, layer.inputs))
    by_gate = np.arange(shape.numel()).reshape(-1, layer.outputs, layer.inputs, shape[2:].numel())
    places = by_gate.transpose(1, 2, 0, 3).reshape(layer.outputs, layer.inputs, -1)
    kept = like.layers[layer.name].kept if layer.name in like else int(places.size)
    sizes = {other.name: other.outputs for other in part.layers}
    hidden = [feed for feed in part.into(layer.name) if feed.source in sizes]
    if not hidden:
        return _Table(places, kept, None, layer.inputs, 0)
    (feed, *others) = hidden
    blocks = np.bincount([unit for unit in feed.units if unit >= 0], minlength=sizes[feed.source])
    if others or len({*blocks.tolist()}) > 1:
        raise WiringError(
            f"{layer.name!r} hears several layers, or units unequally, so that masks which leave a path cannot be "
            "counted, and none was drawn by chance; take a denser ticket, or a control that need not connect"
        )
    return _Table(places, kept, feed.source, layer.inputs - int(blocks.sum()), int(blocks[0]))


def _filled(rows: Places, free: Places, kept: int, generator: np.random.Generator) -> Places:
    """So many of the places in `rows`, one of each row at least, and in `free`: each choice with the same chance."""
    many, size = len(rows), rows.shape[1]
    least = max(many, kept - len(free))
    ways = (
        (count, _surjections(many, size, count) * comb(len(free), kept - count)) for count in range(least, kept + 1)
    )
    total = _onto(many, size, len(free), kept)[many]
    inside = _pick(ways, total, generator)
    chosen = [generator.choice(free, kept - inside, replace=False, shuffle=False)]
    for row, left in zip(rows, range(many - 1, -1, -1), strict=True):
        ways = ((own, comb(size, own) * _surjections(left, size, inside - own)) for own in range(1, inside - left + 1))
        own = _pick(ways, _surjections(left + 1, size, inside), generator)
        chosen.append(generator.choice(row, own, replace=False, shuffle=False))
        inside -= own
    return np.concatenate(chosen)


def _onto(most: int, size: int, free: int, kept: int) -> list[int]:
    """Ways to keep so many weights in n rows of a size, none of them empty, and in free places: for n = 0 ... most.

    The n-th is the n-th finite difference, at 0, of the ways to keep them in some rows that may be empty.

    >>> _onto(2, size=2, free=0, kept=2)  # in one row of two places both, in two rows one of each
    [0, 1, 4]
    """
    line = [comb(free + rows * size, kept) for rows in range(most + 1)]
    found = []
    while line:
        found.append(line[0])
        line = [upper - lower for lower, upper in pairwise(line)]
    return found


@lru_cache(maxsize=100_000)
def _surjections(rows: int, size: int, kept: int) -> int:
    """Ways to keep so many weights in rows of a size, none of them empty."""
    return sum((-1) ** empty * comb(rows, empty) * comb((rows - empty) * size, kept) for empty in range(rows + 1))


def _pick(ways: Iterable[tuple[int, int]], total: int, generator: np.random.Generator) -> int:
    """One of the numbers, each with a chance in proportion to its ways, whole numbers that sum to the total."""
    left = _below(total, generator)
    for number, count in ways:
        if left < count:
            return number
        left -= count
    raise AssertionError("there are fewer ways than were counted")


def _below(total: int, generator: np.random.Generator) -> int:
    """A whole number in [0, total), however large, each with the same chance."""
    size = (total.bit_length() + 7) // 8
    while True:
        number = int.from_bytes(generator.bytes(size), "little") >> (8 * size - total.bit_length())
        if number < total:
            return number
