"""Schedules of densities: which level keeps how much."""

import itertools
import math
from collections.abc import Iterable, Sequence
from numbers import Real


def geometric(*, keep: float, levels: int) -> tuple[float, ...]:
    """Densities 1, keep, keep², ...: every level keeps the same fraction of the survivors.

    Args:
        keep: fraction of the surviving weights each level keeps, in (0, 1).
        levels: number of levels, the dense level 0 included.

    Example:
        >>> [round(density, 3) for density in geometric(keep=0.8, levels=4)]
        [1.0, 0.8, 0.64, 0.512]
    """
    if not 0 < keep < 1:
        raise ValueError(f"keep must be in (0, 1), got {keep!r}")
    if levels < 1:
        raise ValueError(f"levels must be at least 1 (level 0 is dense), got {levels!r}")
    return tuple(keep**level for level in range(levels))


def exponential(before: float, density: float, rounds: int) -> tuple[float, ...]:
    """Densities of so many rounds of pruning, each keeping the same fraction of what the one before left.

    Args:
        before: density that the first round finds.
        density: of the last round, exactly.
        rounds: how many, 1 for all at once (Tanaka et al. 2020, arXiv 2006.05467, take 100).

    Raises:
        ValueError: no whole number of rounds.

    Example:
        >>> [round(density, 3) for density in exponential(1.0, 0.1, 3)]
        [0.464, 0.215, 0.1]
    """
    if isinstance(rounds, bool) or not isinstance(rounds, int) or rounds < 1:
        raise ValueError(f"rounds must be a whole number of at least 1, got {rounds!r}")
    if rounds == 1 or not (isinstance(density, Real) and 0 < density < before):
        return (density,)  # What is no density, the round itself will refuse.
    return (*(before * (density / before) ** (each / rounds) for each in range(1, rounds)), density)


def among(density: float, densities: Iterable[float]) -> bool:
    """Whether one of these is the same density, but for rounding."""
    return any(math.isclose(density, each) for each in densities)


def same_density(one: float, other: float) -> bool:
    """Whether they differ by less than 2 % of the other: what rounding to whole weights does to one density.

    Example:
        >>> same_density(0.1601, 0.16), same_density(0.2, 0.16)
        (True, False)
    """
    return abs(one - other) < 0.02 * other


def as_floats(densities: Sequence[float]) -> tuple[float, ...]:
    """Numbers of any sequence or array, possible densities or not; raises TypeError for anything else."""
    try:
        return tuple(float(density) for density in densities)
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"densities must be a sequence of numbers such as (1.0, 0.5, 0.2), not {densities!r}"
        ) from error


def check_densities(densities: Sequence[float]) -> tuple[float, ...]:
    """The densities as a tuple, if they start dense and decrease.

    Args:
        densities: a sequence or an array of numbers.

    Raises:
        TypeError: they are no sequence of numbers.
        ValueError: they do not start at 1.0, do not decrease strictly, or leave (0, 1].
    """
    checked = as_floats(densities)
    for density in checked:
        if not (math.isfinite(density) and 0 < density <= 1):
            raise ValueError(f"density must be in (0, 1], got {density!r}")
    if not checked or checked[0] != 1.0:
        raise ValueError(f"densities must start at 1.0, the dense level, got {checked!r}")
    if any(later >= earlier for earlier, later in itertools.pairwise(checked)):
        raise ValueError(f"densities must decrease strictly, got {checked!r}")
    return checked
