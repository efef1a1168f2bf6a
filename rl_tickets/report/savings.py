"""What early-bird saves, and what it costs, against full IMP."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Self

from rl_tickets.evaluation.statistics import Anchors

from .results import DENSE
from .rows import LevelRow
from .wording import plain, signed

EARLY_BIRD, IMP = "early_bird", "imp"
SAME_DENSITY = 0.02
"""Two levels are at the same density where theirs differ by less than this fraction: rounding."""


@dataclasses.dataclass(frozen=True)
class Savings:
    """Early-bird against full IMP of the same seeds."""

    stopped_at: float
    """Environment steps of early-bird's dense run, mean over seeds."""
    dense_steps: float
    """Environment steps of the full dense run of the same seeds."""
    lost: tuple[tuple[float, float], ...]
    """(density, normalised return of IMP less that of early-bird, mean over seeds), from dense to sparse."""

    @classmethod
    def of(cls, rows: Sequence[LevelRow], anchors: Anchors | None) -> Self | None:
        """None unless both searches were run and early-bird's dense run is recorded."""
        steps = {(row.search, row.seed): row.timesteps for row in rows if row.level == 0}
        seeds = [seed for search, seed in steps if search == EARLY_BIRD and (DENSE, seed) in steps]
        if not seeds or not any(row.search == IMP for row in rows):
            return None
        return cls(
            stopped_at=_mean([steps[EARLY_BIRD, seed] for seed in seeds]),
            dense_steps=_mean([steps[DENSE, seed] for seed in seeds]),
            lost=_lost(rows, anchors) if anchors else (),
        )

    @property
    def saved(self) -> float:
        """Fraction of the dense steps that early-bird did without."""
        return 1 - self.stopped_at / self.dense_steps

    @property
    def sentence(self) -> str:
        """Both sides of the bargain."""
        text = (
            f"Early-bird stopped its dense runs after {self.stopped_at:,.0f} of {self.dense_steps:,.0f} "
            f"environment steps on average and so saved {100 * self.saved:.0f} % of them"
        )
        if not self.lost:
            return text + "."
        density, loss = max(self.lost, key=lambda pair: pair[1])
        where = f"at density {plain(density)}"
        if len(self.lost) > 1:
            where = f"averaged over {len(self.lost)} densities, at worst {signed(loss)} {where}"
            loss = _mean([loss for _, loss in self.lost])
        return f"{text}; normalised return lost against full IMP: {signed(loss)} ({where})."


def _lost(rows: Sequence[LevelRow], anchors: Anchors) -> tuple[tuple[float, float], ...]:
    full: dict[int, list[LevelRow]] = {}
    for row in rows:
        if row.search == IMP and row.level > 0:
            full.setdefault(row.seed, []).append(row)
    found: dict[int, list[tuple[float, float]]] = {}
    for bird in rows:
        if bird.search != EARLY_BIRD or bird.level == 0 or not full.get(bird.seed):
            continue
        twin = min(full[bird.seed], key=lambda row: abs(row.density - bird.density))
        both = [twin.mean_return, bird.mean_return]
        if abs(twin.density - bird.density) < SAME_DENSITY * bird.density and all(map(math.isfinite, both)):
            other, own = (float(value) for value in anchors.normalise(both))
            found.setdefault(bird.level, []).append((bird.density, other - own))
    pairs = [(_mean([d for d, _ in group]), _mean([loss for _, loss in group])) for group in found.values()]
    return tuple(sorted(pairs, reverse=True))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
