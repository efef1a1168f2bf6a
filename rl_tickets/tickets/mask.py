"""A mask says for each prunable weight of a policy whether it is kept (Frankle & Carbin 2019, 1803.03635)."""

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch

Prunable = Callable[[str, torch.nn.Parameter], bool]
"""Answers for a parameter of the policy, by name and value, whether it may be pruned."""


@dataclass(frozen=True)
class LayerCount:
    """How many of a layer's weights are kept, and how many there are."""

    kept: int
    total: int

    @property
    def density(self) -> float:
        """Fraction kept, in [0, 1]."""
        return self.kept / self.total


class Mask(Mapping[str, torch.Tensor]):
    """An immutable map from a parameter's name in `policy.named_parameters()` to a bool tensor of its shape.

    Every look-up gives a copy, so that no user can change a mask that others hold.

    Args:
        kept: bool tensors, True where a weight is kept.

    Raises:
        ValueError: a tensor is not of dtype bool, or there is none.

    Example:
        >>> mask = Mask({"layer.weight": torch.tensor([[True, False], [True, True]])})
        >>> mask.density, mask.layers["layer.weight"].kept
        (0.75, 3)
    """

    def __init__(self, kept: Mapping[str, torch.Tensor]) -> None:
        if not kept:
            raise ValueError("a mask needs at least one prunable layer, got none")
        for name, tensor in kept.items():
            if tensor.dtype != torch.bool:
                raise ValueError(f"the mask of {name!r} must be bool, not {tensor.dtype}")
        self._kept = {name: tensor.detach().cpu().clone() for name, tensor in kept.items()}

    @classmethod
    def dense(cls, model: Any, prunable: Prunable | None = None) -> "Mask":
        """The mask that keeps every prunable weight of an SB3 agent.

        Args:
            model: any torch `BaseAlgorithm`.
            prunable: `f(name, parameter) -> bool`; by default every weight matrix and kernel that an optimizer
                trains, never biases, norms, embeddings (as Chen et al. 2020, arXiv 2007.12223, leave BERT's), or a
                distribution's `log_std`. Weights that are computed from other parameters, as those of `weight_norm`
                and `spectral_norm` are, stay dense too, which a `DenseLayerWarning` says.

        Raises:
            TypeError: `prunable` is no function.
            ValueError: the agent has no optimizer, or nothing to prune.
        """
        from rl_tickets.agents.anatomy import chosen_weights

        return cls.full(chosen_weights(model, prunable))

    @classmethod
    def full(cls, weights: Mapping[str, torch.Tensor]) -> "Mask":
        """The mask that keeps all of the given weights."""
        return cls({name: torch.ones(tensor.shape, dtype=torch.bool) for name, tensor in weights.items()})

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._kept[name].clone()

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mask):
            return NotImplemented
        return list(self) == list(other) and all(torch.equal(self._kept[n], other._kept[n]) for n in self)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"Mask(density={self.density:.4g}, kept={self.kept}, total={self.total}, layers={len(self)})"

    @property
    def layers(self) -> dict[str, LayerCount]:
        """Counts of each layer, in the policy's order."""
        return {name: LayerCount(int(kept.sum()), kept.numel()) for name, kept in self._kept.items()}

    @property
    def kept(self) -> int:
        """Number of weights kept."""
        return sum(int(kept.sum()) for kept in self._kept.values())

    @property
    def total(self) -> int:
        """Number of prunable weights."""
        return sum(kept.numel() for kept in self._kept.values())

    @property
    def density(self) -> float:
        """Fraction of prunable weights kept, in [0, 1]."""
        return self.kept / self.total

    def density_among(self, parameters: int) -> float:
        """Fraction kept of so many parameters, those that this mask covers and those that are never pruned.

        Example:
            >>> Mask({"weight": torch.tensor([True, False])}).density_among(10)
            0.9
        """
        return (parameters - self.total + self.kept) / parameters

    @property
    def digest(self) -> str:
        """SHA-256 of names, shapes and bits, as hex."""
        digest = hashlib.sha256()
        for name, kept in self._kept.items():
            digest.update(f"{name}{tuple(kept.shape)}".encode())
            digest.update(kept.numpy().tobytes())
        return digest.hexdigest()

    def part(self, names: Iterable[str]) -> "Mask":
        """The mask of some of its layers alone.

        Example:
            >>> two = Mask({"first": torch.tensor([True]), "second": torch.tensor([True, False])})
            >>> two.part(["second"]).density
            0.5
        """
        return Mask({name: self._kept[name] for name in names})

    def apply(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Copies of the weights, with exact zeros where this mask drops; what it does not cover stays."""
        return {
            # Filled, not multiplied: zero times a diverged weight is not zero.
            name: tensor.masked_fill(~self._kept[name].to(tensor.device), 0) if name in self._kept else tensor.clone()
            for name, tensor in weights.items()
        }

    def is_within(self, other: "Mask") -> bool:
        """Whether the other mask keeps every weight that this one keeps (masks nest)."""
        self._demand_same_layers(other)
        return all(bool((~self._kept[name] | other._kept[name]).all()) for name in self)

    def distance(self, other: "Mask") -> float:
        """Hamming distance over all weights: the fraction on which the masks differ, in [0, 1]."""
        return self._differing(other) / self.total

    def chance_distance(self, other: "Mask", within: "Mask | None" = None) -> float:
        """What `distance` is on average for two random masks of as many weights, within a mask where one is given."""
        return self._differing_by_chance(other, within) / self.total

    def kept_distance(self, other: "Mask") -> float:
        """Hamming distance over kept weights: 0 for equal masks, 1 for masks that share no weight."""
        return self._differing(other) / max(self.kept + other.kept, 1)

    def chance_kept_distance(self, other: "Mask", within: "Mask | None" = None) -> float:
        """What `kept_distance` is on average for two random masks of as many weights, see `chance_distance`.

        Example:
            >>> half = Mask({"weight": torch.tensor([True, True, False, False])})
            >>> half.chance_kept_distance(half), half.chance_kept_distance(half, within=half)
            (0.5, 0.0)
        """
        return self._differing_by_chance(other, within) / max(self.kept + other.kept, 1)

    def _differing_by_chance(self, other: "Mask", within: "Mask | None") -> float:
        self._demand_same_layers(other)
        ours, theirs, every = self.kept, other.kept, self.total if within is None else within.kept
        return (ours * (every - theirs) + theirs * (every - ours)) / max(every, 1)

    def _differing(self, other: "Mask") -> int:
        self._demand_same_layers(other)
        return sum(int((self._kept[name] ^ other._kept[name]).sum()) for name in self)

    def _demand_same_layers(self, other: "Mask") -> None:
        if {n: t.shape for n, t in self._kept.items()} != {n: t.shape for n, t in other._kept.items()}:
            raise ValueError("the two masks belong to different architectures: their layers differ")


def kept_count(density: float, total: int, things: str = "weights") -> int:
    """How many of `total` things a mask of this density keeps: round(density * total).

    Raises:
        ValueError: the density is not in (0, 1], or would keep nothing at all.
    """
    if not (isinstance(density, Real) and math.isfinite(density) and 0 < density <= 1):
        raise ValueError(f"density must be in (0, 1], got {density!r}")
    count = round(density * total)
    if count == 0:
        raise ValueError(f"density {density:g} keeps none of {total} {things}; the lowest is {1 / total:.3g}")
    return count
