"""Random masks that keep what connects, drawn uniformly among all that have the same layer counts and leave a path to
the same outputs.

Sparse enough, few random masks leave any path (Vysogorets & Kempe 2023, arXiv 2107.02306), so that they are tried only
so often, and counted after that (see `counting`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
import torch

from rl_tickets.agents.counting import Counting
from rl_tickets.agents.layers import Layer
from rl_tickets.agents.paths import Bits, columns_reached, hearing, inputs_of, links
from rl_tickets.agents.wiring import Wiring
from rl_tickets.tickets.mask import Mask

TRIES = 300
"""Draws without a condition before masks are counted."""


def connected_mask(
    found: Wiring, like: Mask, outputs: Mapping[str, torch.Tensor], generator: np.random.Generator
) -> Mask:
    """A mask drawn uniformly among those that keep as many weights of each layer and leave a path to these outputs.

    The paths that are demanded take one step: an LSTM's recurrent weights are drawn without a condition. Other outputs
    may be reached as well.

    Args:
        found: the wiring of the agent.
        like: a mask whose shapes and layer counts it has.
        outputs: for each head, True at the outputs that must be reached, as `Paths.outputs`.
        generator: decides.

    Raises:
        ValueError: a layer keeps too few weights.
        WiringError: no draw left the paths, and masks cannot be counted since a layer hears several others.
    """
    least = least_counts(found, outputs)
    for name, count in least.items():
        if name in like and like.layers[name].kept < count:
            raise ValueError(f"{like.layers[name].kept} weights of {name!r} leave no path; it takes {count}")
    drawn: dict[str, torch.Tensor] = {}
    for part in _parts(found):
        needed = {layer.name for layer in part.layers if least[layer.name]}
        drawn |= _of_part(part, like, {name: outputs[name].numpy() for name in outputs if name in needed}, generator)
    # Not through their paths: what an LSTM remembers comes on top of what it is told.
    drawn |= {name: _shuffled(like[name], generator) for name in like if name not in drawn}
    return Mask({name: drawn[name] for name in like})


def least_counts(found: Wiring, outputs: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """How many weights each layer must keep at least to leave a path to each of these outputs; 0 if it is on none."""
    least: dict[str, int] = {}
    for layer in reversed(found.layers):
        beyond = [min(1, least[feed.target]) for feed in found.out_of(layer.name)]
        least[layer.name] = max(beyond) if beyond else int(outputs[layer.name].sum())
    return least


def _shuffled(kept: torch.Tensor, generator: np.random.Generator) -> torch.Tensor:
    """As many weights, anywhere."""
    bits = np.zeros(kept.numel(), dtype=bool)
    bits[generator.choice(kept.numel(), int(kept.sum()), replace=False, shuffle=False)] = True
    return torch.from_numpy(bits).reshape(kept.shape)


def _parts(found: Wiring) -> Iterator[Wiring]:
    """The networks that share no layer, each by itself."""
    group = {layer.name: {layer.name} for layer in found.layers}
    for feed in found.feeds:
        if feed.source in group:
            joined = group[feed.source] | group[feed.target]
            group |= dict.fromkeys(joined, joined)
    for names in {id(names): names for names in group.values()}.values():
        layers = tuple(layer for layer in found.layers if layer.name in names)
        yield replace(found, layers=layers, feeds=tuple(feed for feed in found.feeds if feed.target in names))


def _of_part(
    part: Wiring, like: Mask, wanted: Mapping[str, Bits], generator: np.random.Generator
) -> dict[str, torch.Tensor]:
    """Masks of layers that hang together, by trial as far as that succeeds, else by counting: uniform either way."""
    for _ in range(TRIES):
        if (drawn := _tried(part, like, wanted, generator)) is not None:
            return drawn
    return Counting(part, like, wanted).draw(generator)


def _tried(
    part: Wiring, like: Mask, wanted: Mapping[str, Bits], generator: np.random.Generator
) -> dict[str, torch.Tensor] | None:
    """A draw without a condition, None where it leaves out a path that is wanted."""
    drawn: dict[str, torch.Tensor] = {}
    reached = inputs_of(part)
    for layer in part.layers:
        if layer.name in like:
            drawn[layer.name] = _shuffled(like[layer.name], generator)
        reached[layer.name] = units = _units(layer, drawn, columns_reached(layer, part, reached))
        if layer.name in wanted and not units[wanted[layer.name]].all():
            return None
    return drawn


def _units(layer: Layer, drawn: Mapping[str, torch.Tensor], columns: Bits) -> Bits:
    """The units that hear one of these columns; all of a layer outside the mask, which is dense."""
    return hearing(
        links(layer, drawn[layer.name]) if layer.name in drawn else np.ones((layer.outputs, 1), dtype=bool), columns
    )
