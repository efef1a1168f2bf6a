"""Paths through a masked network: which kept weights and units lie between an input and an output, and which are dead.

A mask's density counts weights that no output hears or no input reaches; its *effective* density leaves them out
(Vysogorets & Kempe 2023, arXiv 2107.02306). In agents, Vischer et al. 2022 (arXiv 2105.01648) look at which units of
the observation are left so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.layers import Layer
from rl_tickets.agents.probing import ACTION
from rl_tickets.agents.wiring import Feed, Wiring, wiring
from rl_tickets.tickets.mask import Mask

Bits: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Paths:
    """What of a mask lies on a path from an input to an output.

    A path begins at a dimension of the observation, or of the action that a critic takes, and runs along kept weights
    to a unit of a head: an action, a value. A kernel with one kept weight joins its two channels, any gate joins an
    LSTM's units, and a path may take several steps through its recurrent weights. Layers outside the mask are dense.

    Biases are never pruned and begin no path: a unit that no input reaches still says a constant, the same for every
    observation, and is dead here; so is an output without a path.

    Args:
        live: the mask without its dead weights; its density is the effective density, its layers tell each layer's.
        units: each hidden layer's units in order, True for those on a path.
        outputs: each head's units in order, True for those that an input reaches.
        reads: each masked layer that sees the observation -> how many of its live weights read each dimension, in the
            order of `Wiring.observations`; channels where a convolution looks.
    """

    live: Mask
    units: Mapping[str, torch.Tensor]
    outputs: Mapping[str, torch.Tensor]
    reads: Mapping[str, torch.Tensor]

    @property
    def live_units(self) -> float:
        """Fraction of all hidden units that lie on a path, in [0, 1]; 1 where there are none."""
        return _share(self.units)

    @property
    def live_outputs(self) -> float:
        """Fraction of all outputs that an input reaches, in [0, 1]."""
        return _share(self.outputs)

    @classmethod
    def along(cls, found: Wiring, mask: Mapping[str, torch.Tensor]) -> Paths:
        """The paths of a mask through layers that are wired in this way."""
        reached = _reached(found, mask)
        heard = heard_units(found, mask)
        live: dict[str, torch.Tensor] = {}
        for layer in found.layers:
            for name, columns in (
                (layer.name, columns_reached(layer, found, reached)),
                (layer.recurrent, reached[layer.name]),
            ):
                if name is not None and name in mask:
                    live[name] = mask[name] & _grid(layer, heard[layer.name], columns, mask[name])
        hidden = {layer.name for layer in found.hidden}
        both = {name: torch.from_numpy(reached[name] & heard[name]) for name in heard}
        return cls(
            live=Mask({name: live[name] for name in mask}),
            units={name: units for name, units in both.items() if name in hidden},
            outputs={name: units for name, units in both.items() if name not in hidden},
            reads=_reads(found, live),
        )


def paths(model: BaseAlgorithm, mask: Mask) -> Paths:
    """Which kept weights, units and outputs of an agent lie on a path from an input to an output.

    Args:
        model: any torch `BaseAlgorithm`, of which only the wiring matters; it is left as it was.
        mask: of its architecture.

    Raises:
        WiringError: it is not understood what feeds what.

    Example:
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [5]})
        >>> kept = dict(Mask.dense(model))
        >>> kept["action_net.weight"][:, 1:] = False  # only one of the actor's five units is heard
        >>> found = paths(model, Mask(kept))
        >>> found.live.layers["mlp_extractor.policy_net.0.weight"].kept, found.live_units
        (4, 0.6)
    """
    return Paths.along(wiring(model, lambda name, _: name in mask), mask)


def _reads(found: Wiring, live: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Live weights of every layer that sees the observation, counted by dimension; those of a dict in a row."""
    first = dict(zip(found.observations, np.cumsum([0, *found.observations.values()]).tolist(), strict=False))
    reads: dict[str, torch.Tensor] = {}
    for feed in found.feeds:
        if feed.source in first and feed.target in live:
            counts = reads.setdefault(feed.target, torch.zeros(sum(found.observations.values()), dtype=torch.long))
            fed, places = _fed(feed)
            columns = live[feed.target].transpose(0, 1).flatten(1).sum(1)
            counts.index_add_(0, torch.from_numpy(fed + first[feed.source]), columns[torch.from_numpy(places)])
    return reads


def links(layer: Layer, kept: torch.Tensor) -> Bits:
    """Which of a layer's columns its units hear through one kept weight at least: shape (units, columns)."""
    by_gate = kept.numpy().reshape(-1, layer.outputs, kept.shape[1], kept[0, 0].numel())
    return np.asarray(by_gate.any((0, 3)))


def _reached(found: Wiring, mask: Mapping[str, torch.Tensor]) -> dict[str, Bits]:
    """Units of every source that an input reaches."""
    reached = inputs_of(found)
    for layer in found.layers:
        units = hearing(_links(layer, layer.name, layer.inputs, mask), columns_reached(layer, found, reached))
        if layer.recurrent is not None:
            units = _closure(units, _links(layer, layer.recurrent, layer.outputs, mask))
        reached[layer.name] = units
    return reached


def heard_units(found: Wiring, mask: Mapping[str, torch.Tensor]) -> dict[str, Bits]:
    """Units of every layer that an output hears."""
    heard: dict[str, Bits] = {}
    for layer in reversed(found.layers):
        out = found.out_of(layer.name)
        units = np.full(layer.outputs, not out)
        for feed in out:
            target = found.layer(feed.target)
            columns = hearing(_links(target, target.name, target.inputs, mask).T, heard[target.name])
            fed, places = _fed(feed)
            np.logical_or.at(units, fed, columns[places])
        if layer.recurrent is not None:
            units = _closure(units, _links(layer, layer.recurrent, layer.outputs, mask).T)
        heard[layer.name] = units
    return heard


def inputs_of(found: Wiring) -> dict[str, Bits]:
    """The inputs of all networks, observations and the action of critics: True for each of their dimensions."""
    return {name: np.ones(size, dtype=bool) for name, size in {**found.observations, ACTION: found.actions}.items()}


def columns_reached(layer: Layer, found: Wiring, reached: Mapping[str, Bits]) -> Bits:
    """Which of a layer's columns are fed by a unit that an input reaches."""
    columns = np.zeros(layer.inputs, dtype=bool)
    for feed in found.into(layer.name):
        fed, places = _fed(feed)
        columns[places] = reached[feed.source][fed]
    return columns


def _fed(feed: Feed) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Units that feed, and the columns they feed."""
    units = np.array(feed.units, dtype=np.intp)
    places = np.flatnonzero(units >= 0)
    return units[places], places


def hearing(heard: Bits, columns: Bits) -> Bits:
    """The units that hear one of these columns."""
    units: Bits = np.any(heard & columns, axis=1)
    return units


def _links(layer: Layer, name: str, columns: int, mask: Mapping[str, torch.Tensor]) -> Bits:
    return links(layer, mask[name]) if name in mask else np.ones((layer.outputs, columns), dtype=bool)


def _closure(units: Bits, hear: Bits) -> Bits:
    """The units, and all that hear one of them, directly or through others."""
    while True:
        more = units | hearing(hear, units)
        if (more == units).all():
            return units
        units = more


def _grid(layer: Layer, rows: Bits, columns: Bits, kept: torch.Tensor) -> torch.Tensor:
    """True at the weights between these units and these columns, in the shape of the weights."""
    gates = kept.shape[0] // layer.outputs
    between = torch.from_numpy(np.tile(rows, gates)[:, None] & columns)
    return between.reshape(*between.shape, *[1] * (kept.ndim - 2)).expand(kept.shape)


def _share(units: Mapping[str, torch.Tensor]) -> float:
    total = sum(each.numel() for each in units.values())
    return sum(int(each.sum()) for each in units.values()) / total if total else 1.0
