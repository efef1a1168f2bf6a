"""What stands beside a search, paired by seed: its controls first, then the experiment's other searches."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from rl_tickets.evaluation.contrasts import Contrast, contrast
from rl_tickets.evaluation.families import holm
from rl_tickets.tickets.densities import same_density

from .judging import TOO_FEW, LevelSummary
from .searches import Described
from .wording import plain

Pair = tuple[LevelSummary, LevelSummary]
"""A level of the search and the one beside it."""


@dataclasses.dataclass(frozen=True)
class AtDensity:
    """Both at one density."""

    density: float
    """Of the search's tickets."""
    contrast: Contrast
    p: float
    """Adjusted over the densities of this pair of searches (Holm)."""
    typical: tuple[bool | None, bool | None]
    """Whether the one, and the other, typically does as well as dense there; None with too few seeds."""


@dataclasses.dataclass(frozen=True)
class Beside:
    """A search less what stands beside it, in normalised return."""

    search: str
    other: str
    control: bool
    """Whether the other is a control of the search, or a search of its own."""
    mean: Contrast
    """Averaged over the densities that both were trained at, by the seeds that were trained at all of them."""
    p: float
    """Adjusted over all controls, or all searches, of the experiment (Holm)."""
    family: int
    """How many these are."""
    levels: tuple[AtDensity, ...]
    """From dense to sparse."""

    @property
    def sparsest_typical(self) -> tuple[str, str]:
        """The lowest of these densities at which the one, and the other, is typical: none, or too few seeds."""
        return self._sparsest(0), self._sparsest(1)

    def _sparsest(self, side: int) -> str:
        typical = [at.density for at in self.levels if at.typical[side]]
        undecided = any(at.typical[side] is None for at in self.levels)
        return plain(min(typical)) if typical else TOO_FEW if undecided else "none"


def contrasts(described: Mapping[str, Described], levels: Mapping[str, Sequence[LevelSummary]]) -> tuple[Beside, ...]:
    """Every control against the search it is a control of, then every other search against the first.

    Nothing where scores have no scale, and no pair without a seed that both were trained with.
    """
    proper = [label for label, each in described.items() if each.control_of is None]
    controls = [
        (source, label) for label, each in described.items() if (source := _source(label, each, described)) is not None
    ]
    rivals = [(proper[0], label) for label in proper[1:]]
    beside = [_beside(*pair, _with_tickets(*(levels[name] for name in pair)), control=True) for pair in controls]
    others = [_beside(*pair, _at_same_density(*(levels[name] for name in pair)), control=False) for pair in rivals]
    return (*_together(beside), *_together(others))


def _source(label: str, each: Described, described: Mapping[str, Described]) -> str | None:
    """The label of the search that `each` is a control of: of the same variant, where it has several."""
    if each.control_of is None:
        return None
    _, _, variant = label.partition(":")
    return next((name for name in (f"{each.control_of}:{variant}", each.control_of) if name in described), None)


def _together(family: Sequence[Beside | None]) -> tuple[Beside, ...]:
    """Those that there are, adjusted over all of them (Holm)."""
    found = [each for each in family if each is not None]
    if not found:
        return ()
    adjusted = holm([each.mean.p for each in found])
    return tuple(
        dataclasses.replace(each, p=float(p), family=len(found)) for each, p in zip(found, adjusted, strict=True)
    )


def _beside(search: str, other: str, paired: Sequence[Pair], *, control: bool) -> Beside | None:
    """Both over all densities, not yet adjusted."""
    pairs = [pair for pair in paired if _seeds(*pair)]
    seeds = sorted(set.intersection(*(_seeds(*pair) for pair in pairs))) if pairs else []
    if not seeds:
        return None
    single = [_contrast([pair], sorted(_seeds(*pair))) for pair in pairs]
    adjusted = holm([each.p for each in single])
    at = [
        AtDensity(one.density, each, float(p), (one.typical, two.typical))
        for (one, two), each, p in zip(pairs, single, adjusted, strict=True)
    ]
    mean = _contrast(pairs, seeds)
    return Beside(search, other, control, mean, mean.p, 1, tuple(at))


def _with_tickets(levels: Sequence[LevelSummary], controls: Sequence[LevelSummary]) -> list[Pair]:
    """Each control with the ticket that it is a control of, at the level of the same number."""
    tickets = {level.level: level for level in levels}
    return [(tickets[control.level], control) for control in controls if control.level in tickets]


def _at_same_density(levels: Sequence[LevelSummary], others: Sequence[LevelSummary]) -> list[Pair]:
    """Levels at the same density: of several, where pruning stalled, the one with the same number."""
    pairs: list[Pair] = []
    for other in others:
        free = [level for level in levels if not any(level is taken for taken, _ in pairs)]
        near = [level for level in free if same_density(level.density, other.density)]
        same = [level for level in near if level.level == other.level]
        pairs += [(level, other) for level in (same or near)[:1]]
    return pairs


def _seeds(one: LevelSummary, two: LevelSummary) -> set[int]:
    return set(one.normalised_scores) & set(two.normalised_scores)


def _contrast(pairs: Sequence[Pair], seeds: Sequence[int]) -> Contrast:
    scores = np.array([[[level.normalised_scores[seed] for level in pair] for pair in pairs] for seed in seeds])
    return contrast(scores[..., 0], scores[..., 1])
