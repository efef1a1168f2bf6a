"""Criteria of whole units: a score for each weight, and what a unit makes of those of its own; the lowest units go."""

from __future__ import annotations

from dataclasses import dataclass

from rl_tickets.tickets.criteria import Criterion, Weights, demand_criterion, magnitude
from rl_tickets.tickets.units import Units, UnitScore, incoming, outgoing, through


@dataclass(frozen=True)
class UnitCriterion:
    """Scores units, and never single weights: `prune` and every search take it beside `units`.

    Args:
        weights: criterion `(weights, start) -> scores` of single weights.
        score: from a unit and the scores of its weights to its own: one of `tickets/units.py`, or a function of one's
            own.

    Raises:
        TypeError: one of them is no function.

    Example:
        >>> import torch
        >>> from rl_tickets.tickets.selecting import prune
        >>> from rl_tickets.tickets.units import Unit
        >>> units = Units([Unit("0", 0, {"0": [0]}, {"1": [0]}), Unit("0", 1, {"0": [1]}, {"1": [1]})])
        >>> weights = {"0": torch.tensor([[9.0], [1.0]]), "1": torch.tensor([[1.0, 2.0]])}
        >>> prune(weights, 0.5, criterion=UnitCriterion(magnitude, outgoing), units=units).mask["1"].tolist()
        [[False, True]]
    """

    weights: Criterion
    score: UnitScore

    def __post_init__(self) -> None:
        demand_criterion(self.weights)
        if not callable(self.score):
            raise TypeError(f"score must be a function `(unit, scores) -> float`, not {self.score!r}")

    def __call__(self, weights: Weights, start: Weights) -> Weights:
        """Scores of single weights, of which `score` makes those of units."""
        return self.weights(weights, start)

    def scored(self, units: Units | None) -> Units:
        """The units with this criterion's score.

        Raises:
            ValueError: there are none.
        """
        if units is None:
            raise ValueError(NO_UNITS)
        return units.scored_by(self.score)


NO_UNITS = "this criterion scores whole units, not single weights; say which: units=rt.neurons"

incoming_magnitude = UnitCriterion(magnitude, incoming)
"""The sum of |w| over the weights that come in (Li et al. 2017, arXiv 1608.08710)."""
outgoing_magnitude = UnitCriterion(magnitude, outgoing)
"""The sum of |w| over the weights that go out: how loudly a unit is heard, however much or little it says."""
path_magnitude = UnitCriterion(magnitude, through)
"""The sum, over all paths of two weights that lead through a unit, of the product of their magnitudes (the path norm of
Neyshabur et al. 2015, arXiv 1506.02617, taken unit by unit).

A ReLU unit whose incoming weights are scaled up and whose outgoing ones are scaled down computes the same, and scores
the same here, but not by the sum of both sides that plain `magnitude` gives a unit.
"""
