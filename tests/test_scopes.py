"""ERK against sums done by hand; apportioning against what it promises, on random cases."""

from fractions import Fraction

import numpy as np
import pytest

from rl_tickets.tickets.scopes import apportion, erk

# --- Erdős-Rényi-Kernel ----------------------------------------------------------------------------------


def test_erk_by_hand_where_no_layer_fills() -> None:
    """Raw: 20/100 and 12/20, so 20 + 12 = 32 weights at scale 1; a quarter of 120 weights is scale 30/32."""
    densities = erk({"wide": (10, 10), "narrow": (10, 2)}, 0.25)
    assert densities["wide"] == pytest.approx(0.2 * 30 / 32)
    assert densities["narrow"] == pytest.approx(0.6 * 30 / 32)


def test_erk_by_hand_where_one_layer_fills() -> None:
    """Half of 120 weights is scale 60/32, and 0.6 of it is above 1: narrow is full, wide has the 40 that are left."""
    assert erk({"wide": (10, 10), "narrow": (10, 2)}, 0.5) == {"wide": pytest.approx(0.4), "narrow": 1.0}


def test_erk_by_hand_where_layers_fill_one_after_another() -> None:
    """Of 0.8 * 1016: first c (1.25 raw), then b fills up; a has the 696.8 of its 900 that are left."""
    densities = erk({"a": (30, 30), "b": (10, 10), "c": (8, 2)}, 0.8)
    assert densities == {"a": pytest.approx((0.8 * 1016 - 116) / 900), "b": 1.0, "c": 1.0}


def test_erk_counts_kernel_sides() -> None:
    """RigL: (in + out + height + width) / (in * out * height * width)."""
    densities = erk({"conv": (8, 4, 3, 3), "linear": (50, 20)}, 0.1)
    assert densities["conv"] / densities["linear"] == pytest.approx((18 / 288) / (70 / 1000))


@pytest.mark.parametrize("density", [1.0, 0.9, 0.5, 0.1, 0.001])
def test_erk_spends_exactly_the_budget_and_no_layer_is_more_than_full(density: float) -> None:
    rng = np.random.default_rng(round(density * 1000))
    for _ in range(50):
        shapes = {f"{i}": tuple(rng.integers(1, 60, rng.integers(1, 5)).tolist()) for i in range(rng.integers(1, 9))}
        densities = erk(shapes, density)
        sizes = {name: int(np.prod(shape)) for name, shape in shapes.items()}
        assert all(0 < densities[name] <= 1 + 1e-12 for name in shapes)
        spent = sum(densities[name] * sizes[name] for name in shapes)
        assert spent == pytest.approx(density * sum(sizes.values()))


# --- apportioning ----------------------------------------------------------------------------------------


def test_exact_wishes_are_granted() -> None:
    assert apportion({"a": 3.0, "b": 7.0}, {"a": 9, "b": 9}, 10) == {"a": 3, "b": 7}


def test_largest_remainders_win_and_ties_go_to_the_earlier_layer() -> None:
    limits = {"a": 9, "b": 9, "c": 9}
    assert apportion({"a": 1.2, "b": 1.5, "c": 1.3}, limits, 4) == {"a": 1, "b": 2, "c": 1}
    assert apportion({"a": 1.5, "b": 1.5, "c": 1.0}, limits, 4) == {"a": 2, "b": 1, "c": 1}
    assert apportion(dict.fromkeys("abc", 1 / 3), limits, 2) == {"a": 1, "b": 1, "c": 0}


def test_what_a_limit_cuts_off_is_shared_in_proportion_to_wishes() -> None:
    limits = {"a": 10, "b": 90, "c": 90}
    assert apportion({"a": 90.0, "b": 9.0, "c": 1.0}, limits, 100) == {"a": 10, "b": 81, "c": 9}


def test_layers_that_want_nothing_get_nothing_until_the_others_are_full() -> None:
    limits = {"a": 10, "b": 30, "c": 60}
    assert apportion({"a": 5.0, "b": 0.0, "c": 0.0}, limits, 10) == {"a": 10, "b": 0, "c": 0}
    assert apportion({"a": 5.0, "b": 0.0, "c": 0.0}, limits, 40) == {"a": 10, "b": 10, "c": 20}


def test_more_than_survives_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="12 weights cannot be kept: only 11 survive"):
        apportion({"a": 6.0, "b": 6.0}, {"a": 6, "b": 5}, 12)


@pytest.mark.parametrize("far", [1e-9, 0.1, 1.0, 10.0, 1e12])
def test_sums_are_exact_limits_hold_and_no_layer_is_cheated_of_a_whole_weight(far: float) -> None:
    """On random cases, with wishes whose sum is `far` times the total, against exact water-filling."""
    rng = np.random.default_rng(7)
    for _ in range(300):
        layers = [f"{i}" for i in range(rng.integers(1, 12))]
        limits = {name: int(rng.choice([0, 1, 7, 1000, 300_000])) for name in layers}
        total = int(rng.integers(0, sum(limits.values()) + 1))
        draws = rng.exponential(size=len(layers)) * rng.choice([0, 1], len(layers), p=[0.2, 0.8])
        wishes = draws / max(draws.sum(), 1e-300) * max(total, 1) * far
        wanted = dict(zip(layers, wishes.tolist(), strict=True))
        counts = apportion(wanted, limits, total)
        assert list(counts) == layers
        assert sum(counts.values()) == total
        assert all(0 <= counts[name] <= limits[name] for name in layers)
        ideal = water_filled(wanted, limits, total)
        assert all(abs(counts[name] - ideal[name]) < 1 + 1e-6 for name in layers)


def water_filled(wanted: dict[str, float], limits: dict[str, int], total: int) -> dict[str, Fraction]:
    """min(limit, level * wish) with the level at which it all sums to the total, exactly; then what nobody wanted."""
    wishes = {name: Fraction(wish) for name, wish in wanted.items()}
    wanting = sorted((name for name in wishes if wishes[name]), key=lambda name: limits[name] / wishes[name])
    found = dict.fromkeys(wishes, Fraction(0))
    left = Fraction(total)
    for place, name in enumerate(wanting):
        level = left / sum(wishes[other] for other in wanting[place:])
        found[name] = min(Fraction(limits[name]), level * wishes[name])
        left -= found[name]
    idle = sum(limits[name] for name in wishes if not wishes[name])
    return {n: limits[n] * left / idle if idle and not wishes[n] else found[n] for n in found}
