"""What it saves, and what it costs, to end a search's own dense run early."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Self

from rl_tickets.evaluation.statistics import Anchors

from .rows import LevelRow
from .searches import DENSE, Searches
from .wording import plain, signed

SAME_DENSITY = 0.02
"""Two levels are at the same density where theirs differ by less than this fraction: rounding."""

Lost = tuple[tuple[float, float], ...]
"""(density, normalised return of a search less that of another, mean over seeds)."""


@dataclasses.dataclass(frozen=True)
class Savings:
    """A search that ended a dense run of its own early, against the full dense run of the same seeds."""

    search: str
    """Label of the search."""
    stopped_at: float
    """Environment steps of its own dense run, mean over seeds."""
    dense_steps: float
    """Environment steps of the full dense run of the same seeds."""
    sparse_steps: float
    """Environment steps of all its other levels."""
    full: str = ""
    """Label of the first search of the experiment that made use of the full dense run, empty where none did."""
    lost: Lost = ()
    """Against `full`, from dense to sparse."""

    @classmethod
    def all(cls, rows: Sequence[LevelRow], searches: Searches, anchors: Anchors | None) -> tuple[Self, ...]:
        """Of every search of the experiment that trained a level 0 of its own in fewer steps than the dense runs."""
        groups = {label: [row for row in rows if row.run.label == label] for label in (DENSE, *searches.proper)}
        own = {label for label, group in groups.items() if any(row.run.level == 0 for row in group)}
        full = next((label for label in searches.proper if groups[label] and label not in own), "")
        found = [
            cls.of(label, groups[label], groups[DENSE], full, _lost(groups[label], groups.get(full, []), anchors))
            for label in searches.proper
            if label in own
        ]
        return tuple(each for each in found if each is not None and each.saved > 0)

    @classmethod
    def of(
        cls,
        label: str,
        rows: Sequence[LevelRow],
        dense: Sequence[LevelRow],
        full: str = "",
        lost: Lost = (),
    ) -> Self | None:
        """None where no seed has both dense runs."""
        steps, whole = _steps(rows), _steps(dense)
        seeds = [seed for seed in steps if seed in whole]
        if not seeds:
            return None
        return cls(
            search=label,
            stopped_at=_mean([steps[seed] for seed in seeds]),
            dense_steps=_mean([whole[seed] for seed in seeds]),
            sparse_steps=sum(row.timesteps for row in rows if row.run.level > 0 and row.run.seed in seeds) / len(seeds),
            full=full,
            lost=lost,
        )

    @property
    def saved(self) -> float:
        """Fraction of the dense steps that the search did without."""
        return 1 - self.stopped_at / self.dense_steps

    @property
    def saved_in_all(self) -> float:
        """Fraction of the steps of all its levels, the dense one included."""
        return (self.dense_steps - self.stopped_at) / (self.dense_steps + self.sparse_steps)

    @property
    def sentence(self) -> str:
        """Both sides of the bargain."""
        whole = self.dense_steps + self.sparse_steps
        text = (
            f"`{self.search}` ended its dense runs after {self.stopped_at:,.0f} of {self.dense_steps:,.0f} environment "
            f"steps on average and so saved {100 * self.saved:.0f} % of them, which is {100 * self.saved_in_all:.1f} % "
            f"of the {whole:,.0f} steps that the whole search would have taken"
        )
        if not self.lost:
            return text + "."
        density, loss = max(self.lost, key=lambda pair: pair[1])
        where = f"at density {plain(density)}"
        if len(self.lost) > 1:
            where = f"averaged over {len(self.lost)} densities, at worst {signed(loss)} {where}"
            loss = _mean([loss for _, loss in self.lost])
        return f"{text}; normalised return lost against `{self.full}`: {signed(loss)} ({where})."


def _steps(rows: Sequence[LevelRow]) -> dict[int, int]:
    """Seed -> environment steps of level 0."""
    return {row.run.seed: row.timesteps for row in rows if row.run.level == 0}


def _lost(rows: Sequence[LevelRow], others: Sequence[LevelRow], anchors: Anchors | None) -> Lost:
    """What `rows` return less than `others` of the same seed and density, level by level; nothing without a scale."""
    if anchors is None:
        return ()
    full: dict[int, list[LevelRow]] = {}
    for row in others:
        full.setdefault(row.run.seed, []).append(row)
    found: dict[int, list[tuple[float, float]]] = {}
    for row in rows:
        if row.run.level == 0 or row.run.seed not in full:
            continue
        twin = min(full[row.run.seed], key=lambda other: abs(other.density - row.density))
        both = [twin.mean_return, row.mean_return]
        if abs(twin.density - row.density) < SAME_DENSITY * row.density and all(map(math.isfinite, both)):
            other, own = (float(value) for value in anchors.normalise(both))
            found.setdefault(row.run.level, []).append((row.density, other - own))
    pairs = [(_mean([d for d, _ in group]), _mean([loss for _, loss in group])) for group in found.values()]
    return tuple(sorted(pairs, reverse=True))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
