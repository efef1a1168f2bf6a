"""Widths: how wide a dense agent must be to have a given number of prunable weights, found by building agents."""

from __future__ import annotations

from collections.abc import Callable

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import prunable_weights
from rl_tickets.agents.making import MakeModel, built
from rl_tickets.tickets.mask import Prunable

MakeOfWidth = Callable[[int, int], BaseAlgorithm]
"""`(seed, width) -> model`: a fresh dense agent, the more weights the wider."""


class Widths:
    """Agents of one factory, sized by their width; each width is built once.

    Args:
        make: the factory.
        prunable: which parameters count, as in `Mask.dense`.
    """

    def __init__(self, make: MakeOfWidth, prunable: Prunable | None = None) -> None:
        self._make, self._prunable = make, prunable
        self._counted: dict[int, int] = {}

    def weights(self, width: int) -> int:
        """Number of prunable weights of an agent so wide."""
        if width not in self._counted:
            with built(self.make_model(width), 0) as model:
                self._counted[width] = sum(w.numel() for w in prunable_weights(model, self._prunable).values())
        return self._counted[width]

    def make_model(self, width: int) -> MakeModel:
        """Makes agents so wide."""
        return lambda seed: self._make(seed, width)

    def nearest(self, weights: int) -> int:
        """The width from 1 on whose agents have the number of weights nearest to this; of two, the smaller one.

        Raises:
            ValueError: wider agents do not have more weights.
        """
        low, high = 0, 1
        while self.weights(high) < weights:
            if low and self.weights(high) <= self.weights(low):
                raise ValueError(
                    f"make(seed, width) gives agents of width {low} and {high} with {self.weights(low):,} and "
                    f"{self.weights(high):,} prunable weights: the wider one must have more"
                )
            low, high = high, 2 * high
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.weights(middle) < weights else (low, middle)
        return high if low == 0 or self.weights(high) - weights < weights - self.weights(low) else low
