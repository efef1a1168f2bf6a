"""Schedules of densities, and what is refused as one."""

from itertools import pairwise

import pytest

from rl_tickets.tickets.densities import check_densities, geometric


@pytest.mark.parametrize(("keep", "levels"), [(0.8, 1), (0.8, 12), (0.01, 3), (0.999, 100)])
def test_a_geometric_schedule_keeps_the_same_fraction_each_level(keep: float, levels: int) -> None:
    densities = geometric(keep=keep, levels=levels)
    assert len(densities) == levels
    assert densities[0] == 1.0
    for before, after in pairwise(densities):
        assert after == pytest.approx(keep * before, rel=1e-12)
    assert check_densities(densities) == densities


@pytest.mark.parametrize("keep", [0, 1, 1.2, -0.5, float("nan")])
def test_keep_must_lie_between(keep: float) -> None:
    with pytest.raises(ValueError, match=r"keep must be in \(0, 1\), got "):
        geometric(keep=keep, levels=3)


def test_there_must_be_a_level() -> None:
    with pytest.raises(ValueError, match=r"levels must be at least 1 \(level 0 is dense\), got 0"):
        geometric(keep=0.8, levels=0)


def test_any_decreasing_sequence_is_a_schedule() -> None:
    assert check_densities([1, 0.1]) == (1.0, 0.1)
    assert check_densities((1.0,)) == (1.0,)


@pytest.mark.parametrize(
    ("densities", "sentence"),
    [
        ((), r"must start at 1\.0, the dense level, got \(\)"),
        ((0.8, 0.5), r"must start at 1\.0, the dense level"),
        ((1.0, 0.5, 0.5), "must decrease strictly"),
        ((1.0, 0.5, 0.6), "must decrease strictly"),
        ((1.0, 0.0), r"density must be in \(0, 1\], got 0\.0"),
        ((1.0, -0.5), r"density must be in \(0, 1\], got -0\.5"),
        ((1.5, 1.0), r"density must be in \(0, 1\], got 1\.5"),
        ((1.0, float("nan")), r"density must be in \(0, 1\], got nan"),
    ],
)
def test_what_is_no_schedule_is_refused(densities: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        check_densities(densities)
