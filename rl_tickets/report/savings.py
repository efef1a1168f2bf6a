"""What it saves, and what it costs, to end runs that look for masks early: the dense one, or those of all levels."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Self

from rl_tickets.evaluation.statistics import Anchors
from rl_tickets.search.plan import DENSE
from rl_tickets.tickets.densities import same_density

from .rows import LevelRow
from .searches import Searches
from .wording import plain, signed

Lost = tuple[tuple[float, float], ...]
"""(density, normalised return of a search less that of another, mean over seeds)."""


@dataclasses.dataclass(frozen=True)
class Savings:
    """A search that ended a dense run of its own early, against the full dense run of the same seeds; and those of its
    further levels that only look for masks, against as many full ones."""

    search: str
    """Label of the search."""
    stopped_at: float
    """Environment steps of its own dense run, mean over seeds."""
    dense_steps: float
    """Environment steps of the full dense run of the same seeds."""
    sparse_steps: float
    """Environment steps of all its other levels; of the sparsest alone where others only look for its mask."""
    full: str = ""
    """Label of the first search that looked for the same tickets with full dense runs, empty where none did."""
    lost: Lost = ()
    """Against `full`, from dense to sparse."""
    looked: float = 0.0
    """Environment steps of further levels that only looked for masks, together."""
    looked_whole: float = 0.0
    """What they would have been, trained to the end."""
    looking: int = 0
    """How many such levels there are."""

    @classmethod
    def all(cls, rows: Sequence[LevelRow], searches: Searches, anchors: Anchors | None) -> tuple[Self, ...]:
        """Of every search of the experiment that trained a level 0 of its own in fewer steps than the dense runs."""
        groups = {label: [row for row in rows if row.run.label == label] for label in (DENSE, *searches.proper)}
        own = {row.run.search for row in rows if row.run.level == 0}
        described = {label: searches.described[label] for label in searches.proper}
        whole = [label for label, each in described.items() if groups[label] and each.name not in own]
        found = []
        for label, each in described.items():
            if each.name not in own:
                continue
            full = next((other for other in whole if described[other].looks_for == each.looks_for), "")
            lost = _lost(groups[label], groups.get(full, []), anchors)
            looking = [row for row in rows if row.run.search == label and row.run.label in searches.aside]
            found.append(cls.of(label, groups[label], groups[DENSE], full, lost, looking))
        return tuple(each for each in found if each is not None and each.saved_in_all > 0)

    @classmethod
    def of(
        cls,
        label: str,
        rows: Sequence[LevelRow],
        dense: Sequence[LevelRow],
        full: str = "",
        lost: Lost = (),
        looking: Sequence[LevelRow] = (),
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
            sparse_steps=sum(row.timesteps for row in _counted(rows, looking) if row.run.seed in seeds) / len(seeds),
            full=full,
            lost=lost,
            looked=sum(row.timesteps for row in looking if row.run.seed in seeds) / len(seeds),
            looked_whole=sum(whole[row.run.seed] - row.start for row in looking if row.run.seed in seeds) / len(seeds),
            looking=len({row.run.level for row in looking}),
        )

    @property
    def saved(self) -> float:
        """Fraction of the dense steps that the search did without."""
        return 1 - self.stopped_at / self.dense_steps

    @property
    def saved_in_all(self) -> float:
        """Fraction of the steps of all its levels, the dense one included."""
        return 1 - self.taken / self.whole

    @property
    def taken(self) -> float:
        """Environment steps of all that counts."""
        return self.stopped_at + self.looked + self.sparse_steps

    @property
    def whole(self) -> float:
        """The same with every level trained to the end."""
        return self.dense_steps + self.looked_whole + self.sparse_steps

    @property
    def sentence(self) -> str:
        """Both sides of the bargain."""
        text = self._looking if self.looking else self._dense
        if not self.lost:
            return text + "."
        density, loss = max(self.lost, key=lambda pair: pair[1])
        where = f"at density {plain(density)}"
        if len(self.lost) > 1:
            where = f"averaged over {len(self.lost)} densities, at worst {signed(loss)} {where}"
            loss = _mean([loss for _, loss in self.lost])
        return f"{text}; normalised return lost against `{self.full}`: {signed(loss)} ({where})."

    @property
    def _dense(self) -> str:
        return (
            f"`{self.search}` ended its dense runs after {self.stopped_at:,.0f} of {self.dense_steps:,.0f} environment "
            f"steps on average and so saved {100 * self.saved:.0f} % of them, which is {100 * self.saved_in_all:.1f} % "
            f"of the {self.whole:,.0f} steps that the whole search would have taken"
        )

    @property
    def _looking(self) -> str:
        steps, whole = self.stopped_at + self.looked, self.dense_steps + self.looked_whole
        return (
            f"`{self.search}` ended the {1 + self.looking} runs that look for the mask of its sparsest ticket after "
            f"{steps:,.0f} of {whole:,.0f} environment steps, mean over seeds; with that ticket's own training to the "
            f"end it took {self.taken:,.0f} of {self.whole:,.0f} steps and so saved {100 * self.saved_in_all:.1f} %"
        )


def _counted(rows: Sequence[LevelRow], looking: Sequence[LevelRow]) -> list[LevelRow]:
    """The sparse trainings that a search's steps are told of: where others look for masks, of one ticket alone."""
    last = max((row.run.level for row in rows), default=0)
    return [row for row in rows if row.run.level > 0 and (not looking or row.run.level == last)]


def _steps(rows: Sequence[LevelRow]) -> dict[int, int]:
    """Seed -> environment steps of level 0, unless it diverged, which saves nothing."""
    return {row.run.seed: row.timesteps for row in rows if row.run.level == 0 and not row.diverged}


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
        if same_density(twin.density, row.density) and all(map(math.isfinite, both)):
            other, own = (float(value) for value in anchors.normalise(both))
            found.setdefault(row.run.level, []).append((row.density, other - own))
    pairs = [(_mean([d for d, _ in group]), _mean([loss for _, loss in group])) for group in found.values()]
    return tuple(sorted(pairs, reverse=True))


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
