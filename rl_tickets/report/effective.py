"""What a level's masks leave connected: effective densities, live units, and runs that are cut off."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from typing import Self

from .rows import LevelRow
from .wording import plain

HEADS = ("search", "density", "effective", "actor", "critic", "live units", "cut off")
MEANING = (
    "Effective: the fraction of prunable weights that lie on a path from an input (an observation; for a critic, also "
    "an action) to an output, mean over seeds, and the same of the actor's and the critic's own layers (Vysogorets & "
    "Kempe 2023); live units are the hidden units on one. A run is *cut off* if no input reaches any output of the "
    "network that acts: whatever it learns, it acts alike everywhere."
)


@dataclasses.dataclass(frozen=True)
class Effective:
    """All seeds of one search at one level, as far as it is known of them; means over seeds."""

    density: float
    actor: float | None
    """None where there is no actor."""
    critic: float | None
    live_units: float
    cut_off: int
    """Runs whose acting network no input passes: the actor, or the whole agent where none is told apart."""
    runs: int

    @classmethod
    def of(cls, rows: Sequence[LevelRow]) -> Self | None:
        """None where nothing is known, as in older folders."""
        known = [row for row in rows if row.effective_density is not None]
        if not known:
            return None
        acting = [
            row.effective_density if row.effective_actor_density is None else row.effective_actor_density
            for row in known
        ]
        return cls(
            density=_mean(row.effective_density for row in known) or 0.0,
            actor=_mean(row.effective_actor_density for row in known),
            critic=_mean(row.effective_critic_density for row in known),
            live_units=_mean(row.live_units for row in known) or 0.0,
            cut_off=sum(density == 0 for density in acting),
            runs=len(known),
        )

    def cells(self, search: str, density: float) -> tuple[str, ...]:
        """A row of text under HEADS."""
        shares = (self.density, self.actor, self.critic, self.live_units)
        shown = ("–" if share is None else plain(share) for share in shares)
        return (search, plain(density), *shown, f"{self.cut_off} of {self.runs}")


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.mean(known) if known else None
