"""What stands beside a search, paired by seed: its controls first, then the experiment's other searches."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

import numpy as np

from rl_tickets.evaluation.contrasts import Contrast, contrast
from rl_tickets.evaluation.families import holm

from .judging import LevelSummary
from .savings import SAME_DENSITY
from .searches import Described

Pair = tuple[LevelSummary, LevelSummary]
"""A level of the search and the one beside it."""


@dataclasses.dataclass(frozen=True)
class AtDensity:
    """Both at one density."""

    density: float
    contrast: Contrast
    p: float
    """Adjusted over the densities of this pair of searches (Holm)."""


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
    levels: tuple[AtDensity, ...]
    """From dense to sparse."""


def contrasts(described: Mapping[str, Described], levels: Mapping[str, Sequence[LevelSummary]]) -> tuple[Beside, ...]:
    """Every control against the search it is a control of, then every other search against the first.

    Nothing where scores have no scale, and no pair without a seed that both were trained with.
    """
    proper = [label for label, each in described.items() if each.control_of is None]
    controls = [
        (source, label) for label, each in described.items() if (source := _source(label, each, described)) is not None
    ]
    rivals = [(proper[0], label) for label in proper[1:]]
    return (*_family(controls, levels, control=True), *_family(rivals, levels, control=False))


def _source(label: str, each: Described, described: Mapping[str, Described]) -> str | None:
    """The label of the search that `each` is a control of: of the same variant, where it has several."""
    if each.control_of is None:
        return None
    _, _, variant = label.partition(":")
    return next((name for name in (f"{each.control_of}:{variant}", each.control_of) if name in described), None)


def _family(
    pairs: Sequence[tuple[str, str]], levels: Mapping[str, Sequence[LevelSummary]], *, control: bool
) -> tuple[Beside, ...]:
    found = [each for search, other in pairs if (each := _beside(search, other, levels, control)) is not None]
    if not found:
        return ()
    adjusted = holm([each.mean.p for each in found])
    return tuple(dataclasses.replace(each, p=float(p)) for each, p in zip(found, adjusted, strict=True))


def _beside(search: str, other: str, levels: Mapping[str, Sequence[LevelSummary]], control: bool) -> Beside | None:
    """Both over all densities, not yet adjusted."""
    paired = _with_tickets if control else _at_same_density
    pairs = [pair for pair in paired(levels[search], levels[other]) if _seeds(*pair)]
    seeds = sorted(set.intersection(*(_seeds(*pair) for pair in pairs))) if pairs else []
    if not seeds:
        return None
    single = [_contrast([pair], sorted(_seeds(*pair))) for pair in pairs]
    adjusted = holm([each.p for each in single])
    at = [
        AtDensity(one.density if control else statistics.mean((one.density, two.density)), each, float(p))
        for (one, two), each, p in zip(pairs, single, adjusted, strict=True)
    ]
    mean = _contrast(pairs, seeds)
    return Beside(search, other, control, mean, mean.p, tuple(at))


def _with_tickets(levels: Sequence[LevelSummary], controls: Sequence[LevelSummary]) -> list[Pair]:
    """Each control with the ticket that it is a control of, at the level of the same number."""
    tickets = {level.level: level for level in levels}
    return [(tickets[control.level], control) for control in controls if control.level in tickets]


def _at_same_density(levels: Sequence[LevelSummary], others: Sequence[LevelSummary]) -> list[Pair]:
    """Levels at the same density: of several, where pruning stalled, the one with the same number."""
    pairs = []
    for other in others:
        near = [level for level in levels if abs(level.density - other.density) < SAME_DENSITY * other.density]
        same = [level for level in near if level.level == other.level]
        pairs += [(level, other) for level in (same or near)[:1]]
    return pairs


def _seeds(one: LevelSummary, two: LevelSummary) -> set[int]:
    return set(one.normalised_scores) & set(two.normalised_scores)


def _contrast(pairs: Sequence[Pair], seeds: Sequence[int]) -> Contrast:
    scores = np.array([[[level.normalised_scores[seed] for level in pair] for pair in pairs] for seed in seeds])
    return contrast(scores[..., 0], scores[..., 1])
