"""Inactive units: constant whatever the policy sees, or read by nothing; found from weights and wiring alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rl_tickets.agents.layers import Layer
from rl_tickets.agents.wiring import Wiring

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Connections:
    """What of a layer's weights there is, over the trained network and its target networks together.

    Args:
        layer: see `Layer`.
        incoming: whether (row, column) is not zero, kernels as one; an LSTM's rows are those of its four gates.
        recurrent: the same of an LSTM's weights over its own last outputs.
        silent: units of an LSTM whose cell's candidate has no bias, so that without inputs they stay zero.
        foldable: whether the layer has a bias that can take up a constant input: a convolution must not pad.
        removable: whether the layer's width can change.
    """

    layer: Layer
    incoming: Bools
    recurrent: Bools | None
    silent: Bools | None
    foldable: bool
    removable: bool


@dataclass(frozen=True)
class Inactive:
    """Units that may go, by layer.

    Args:
        constant: their value is the same for all observations.
        unread: no unit that stays, and no head, has a weight for them.
    """

    constant: Mapping[str, Bools]
    unread: Mapping[str, Bools]

    def kept(self, layer: str) -> npt.NDArray[np.int64]:
        """Units that stay, in order."""
        return np.flatnonzero(~(self.constant[layer] | self.unread[layer]))


Zero = Callable[[str, int], bool]
"""Whether the input of a layer in a column is zero where it is constant."""


def inactive(found: Wiring, connections: Mapping[str, Connections], zero: Zero) -> Inactive:
    """Finds constant units from the observations upwards, and unread ones from the heads downwards.

    A unit without inputs is constant, so that those who read it have one input less; a unit that nobody reads needs
    no inputs, so that those who feed it have one reader less. One pass each way does, as layers come after those that
    feed them.

    Args:
        found: the wiring.
        connections: of every layer.
        zero: see `Zero`; such a constant needs no bias to be folded into.
    """
    constant: dict[str, Bools] = {}
    for layer in found.layers:
        mine = connections[layer.name]
        moving = ~_columns(layer.name, found, constant)
        if mine.recurrent is not None:
            alone: Bools = _zero_units(mine, moving, zero)
        else:
            alone = np.logical_not((mine.incoming & moving).any(1))
            alone &= np.array([_can_go(layer.name, unit, found, connections, zero) for unit in range(len(alone))])
        constant[layer.name] = alone & mine.removable & bool(found.out_of(layer.name))
    unread: dict[str, Bools] = {}
    for layer in reversed(found.layers):
        read = np.zeros(layer.outputs, dtype=bool)
        for feed in found.out_of(layer.name):
            reader = connections[feed.target]
            gone = constant[feed.target] | unread[feed.target]
            columns = (reader.incoming & _rows(~gone, reader)[:, None]).any(0)
            units = np.array(feed.units)
            read[units[columns & (units >= 0)]] = True
        # Constants go anyway, folded into those who read them: they read nothing themselves.
        read = _read_again(read & ~constant[layer.name], connections[layer.name])
        alive = read | constant[layer.name] | (not found.out_of(layer.name))
        unread[layer.name] = ~alive & connections[layer.name].removable
    return Inactive(constant, unread)


def _columns(target: str, found: Wiring, constant: Mapping[str, Bools]) -> Bools:
    """Columns of a layer that are fed by constant units."""
    still = np.zeros(found.layer(target).inputs, dtype=bool)
    for feed in found.into(target):
        if feed.source in constant:
            units = np.array(feed.units)
            still |= (units >= 0) & constant[feed.source][units]
    return still


def _can_go(source: str, unit: int, found: Wiring, connections: Mapping[str, Connections], zero: Zero) -> bool:
    """Whether everyone who reads a constant unit can take it into a bias, or it is zero."""
    return all(
        connections[feed.target].foldable or all(zero(feed.target, int(column)) for column in columns)
        for feed in found.out_of(source)
        if len(columns := np.flatnonzero(np.array(feed.units) == unit))
    )


def _zero_units(mine: Connections, moving: Bools, zero: Zero) -> Bools:
    """An LSTM's units that stay zero from the first step on: the candidates of their cells are zero for ever.

    As the largest set whose units hear nothing, at first or of anything outside the set.
    """
    assert mine.recurrent is not None
    assert mine.silent is not None
    name, units = mine.layer.name, mine.layer.outputs
    cell = slice(2 * units, 3 * units)  # torch's order: input, forget, cell, output.
    loud = np.array([not zero(name, column) for column in range(mine.layer.inputs)]) | moving
    still = mine.silent & ~(mine.incoming[cell] & loud).any(1)
    while (fewer := still & ~(mine.recurrent[cell] & ~still).any(1)).sum() < still.sum():
        still = fewer
    return still


def _rows(kept: Bools, reader: Connections) -> Bools:
    """Rows of a layer's weights that belong to the units; four to each of an LSTM's."""
    return np.tile(kept, len(reader.incoming) // len(kept))


def _read_again(read: Bools, mine: Connections) -> Bools:
    """With the units of an LSTM that are read by those that are read, if only through steps to come."""
    if mine.recurrent is None:
        return read
    heard = mine.recurrent.reshape(4, len(read), len(read)).any(0)
    while (more := read | (heard & read[:, None]).any(0)).sum() > read.sum():
        read = more
    return read
