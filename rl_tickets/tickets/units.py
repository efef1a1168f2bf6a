"""Units: weights kept or dropped together, as those of a neuron or channel are (Li et al. 2017, arXiv 1608.08710)."""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import torch

from rl_tickets.tickets.mask import Mask


@dataclass(frozen=True, eq=False)
class Unit:
    """The weights of one unit, those that come in and those that go out.

    Args:
        layer: the layer it is named for; scopes and layer collapse count it there.
        index: which of that layer's units it is.
        incoming: layer name -> its weights, as flat indices or a bool tensor of the layer's shape.
        outgoing: the same of the weights through which others hear it. A weight may be both, as that of a recurrent
            unit to itself is.

    Raises:
        ValueError: it has no weights at all.

    Example:
        >>> Unit("0", 1, {"0": torch.tensor([[False, False], [True, True]])}, {"1": [1]}).weights
        {'0': tensor([2, 3]), '1': tensor([1])}
    """

    layer: str
    index: int
    incoming: Mapping[str, torch.Tensor | Sequence[int]]
    outgoing: Mapping[str, torch.Tensor | Sequence[int]]

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError(
                f"unit {self.index} of {self.layer!r} has no weights, so it can be neither kept nor dropped"
            )

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """Layer name -> flat indices of all its weights, each once and in order."""
        return self._union(self.incoming, self.outgoing)

    @staticmethod
    def _union(*sides: Mapping[str, torch.Tensor | Sequence[int]]) -> dict[str, torch.Tensor]:
        flat: dict[str, list[torch.Tensor]] = {}
        for side in sides:
            for name, weights in side.items():
                flat.setdefault(name, []).append(_indices(weights))
        joined = {name: torch.from_numpy(np.unique(torch.cat(parts).numpy())) for name, parts in flat.items()}
        return {name: indices for name, indices in joined.items() if len(indices)}


def _indices(weights: torch.Tensor | Sequence[int]) -> torch.Tensor:
    weights = torch.as_tensor(weights).detach().cpu().flatten()
    return weights.nonzero().flatten() if weights.dtype == torch.bool else weights.long()


UnitScore = Callable[[Unit, Mapping[str, torch.Tensor]], float]
"""From a unit and the flat float64 scores of every layer, zero where a weight is gone, to the unit's score."""


def total(unit: Unit, scores: Mapping[str, torch.Tensor]) -> float:
    """The sum of the scores of all a unit's weights."""
    return _sum(unit.weights, scores)


def incoming(unit: Unit, scores: Mapping[str, torch.Tensor]) -> float:
    """The sum of the scores of the weights that come in (with magnitudes: Li et al. 2017, arXiv 1608.08710)."""
    return _sum(unit.incoming, scores)


def outgoing(unit: Unit, scores: Mapping[str, torch.Tensor]) -> float:
    """The sum of the scores of the weights that go out."""
    return _sum(unit.outgoing, scores)


def through(unit: Unit, scores: Mapping[str, torch.Tensor]) -> float:
    """The product of `incoming` and `outgoing`: the sum over paths of two weights through the unit.

    A unit that has no weights on one side, as a dimension of the observation, scores what the other side does.
    """
    sides = [_sum(side, scores) for side in (unit.incoming, unit.outgoing) if side]
    return math.prod(sides)


def _sum(weights: Mapping[str, torch.Tensor | Sequence[int]], scores: Mapping[str, torch.Tensor]) -> float:
    return sum(float(scores[name][_indices(part)].sum()) for name, part in weights.items())


class Units(Sequence[Unit]):
    """An immutable sequence of units, earlier ones first where scores tie.

    A weight may belong to two units, as one from neuron i to neuron j does: it is kept only if both are. A weight
    that belongs to none stays as it is.

    Args:
        units: at least one, no two of the same layer and index.
        score: `(unit, scores) -> float`: `total`, `incoming`, `outgoing`, `through`, or a function of one's own, which
            may ignore the weights' scores and give the unit's mean activation.

    Raises:
        ValueError: there is no unit, or the same one twice.

    Example:
        >>> neurons = Units([Unit("0", i, {"0": [2 * i, 2 * i + 1]}, {"1": [i]}) for i in range(2)])
        >>> mask = neurons.keep([True, False], Mask.full({"0": torch.ones(2, 2), "1": torch.ones(1, 2)}))
        >>> mask["0"].tolist(), mask["1"].tolist()
        ([[True, True], [False, False]], [[True, False]])
    """

    def __init__(self, units: Iterable[Unit], score: UnitScore = total) -> None:
        self._units = tuple(units)
        self.score = score
        if not self._units:
            raise ValueError("there are no units; to prune single weights leave `units` out")
        (layer, index), count = Counter((unit.layer, unit.index) for unit in self._units).most_common(1)[0]
        if count > 1:
            raise ValueError(f"unit {index} of {layer!r} is there {count} times; give each unit an index of its own")

    def __len__(self) -> int:
        return len(self._units)

    def __iter__(self) -> Iterator[Unit]:
        return iter(self._units)

    @overload
    def __getitem__(self, index: int) -> Unit: ...
    @overload
    def __getitem__(self, index: slice) -> "Units": ...
    def __getitem__(self, index: int | slice) -> "Unit | Units":
        return Units(self._units[index], self.score) if isinstance(index, slice) else self._units[index]

    def __repr__(self) -> str:
        return f"Units({len(self)} in {len(self.layers)} layers)"

    @property
    def layers(self) -> dict[str, int]:
        """How many units are named for each layer, in order."""
        return dict(Counter(unit.layer for unit in self))

    def scored_by(self, score: UnitScore) -> "Units":
        """The same units with another score."""
        return Units(self._units, score)

    def alive(self, mask: Mask) -> list[bool]:
        """For each unit whether the mask keeps any of its weights.

        Raises:
            ValueError: a unit has weights that the mask does not cover.
        """
        kept = {name: mask[name].flatten() for name in mask}
        return [any(bool(kept[n][w].any()) for n, w in self._covered(unit, kept).items()) for unit in self]

    def keep(self, kept: Sequence[bool], within: Mask) -> Mask:
        """A mask without the weights of every unit that is not kept.

        Raises:
            ValueError: a unit has weights that the mask does not cover.
        """
        bits = {name: within[name] for name in within}
        flat = {name: tensor.view(-1) for name, tensor in bits.items()}
        for unit, stays in zip(self, kept, strict=True):
            for name, weights in self._covered(unit, flat).items():
                if not stays:
                    flat[name][weights] = False
        return Mask(bits)

    @staticmethod
    def _covered(unit: Unit, flat: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        weights = unit.weights
        for name, indices in weights.items():
            if name not in flat or not 0 <= int(indices[0]) <= int(indices[-1]) < len(flat[name]):
                raise ValueError(
                    f"unit {unit.index} of {unit.layer!r} has weights in {name!r} that the mask does not cover; "
                    "find units and mask with the same model and `prunable`"
                )
        return weights
