"""Verdicts, contrasts and power: hand-computed cases, SciPy's numbers, errors in simulated experiments, refusals."""

from __future__ import annotations

import doctest
from itertools import product
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rl_tickets.evaluation import contrasts, failures, families, verdicts
from rl_tickets.evaluation import power as power_module
from rl_tickets.evaluation.contrasts import Contrast, contrast
from rl_tickets.evaluation.failures import excess_bound, excess_p, share_interval, wilson
from rl_tickets.evaluation.families import holm
from rl_tickets.evaluation.power import power, seeds_needed
from rl_tickets.evaluation.statistics import Interval, iqm, probability_of_improvement
from rl_tickets.evaluation.verdicts import Comparison, compare, together
from rl_tickets.evaluation.yuen import yuen

Z95 = stats.norm.isf(0.05)


@pytest.mark.parametrize("module", [contrasts, failures, families, power_module, verdicts])
def test_documented_examples_hold(module: Any) -> None:
    outcome = doctest.testmod(module)
    assert outcome.attempted >= 1
    assert outcome.failed == 0


# --- typical -----------------------------------------------------------------------------------------


def test_the_lower_bound_is_yuens() -> None:
    # By hand: 8 scores, 2 trimmed at each end, so 4 are left, and winsorising repeats the 3rd and the 6th.
    sparse = np.array([-9.0, 0.0, 1.0, 2.0, 4.0, 5.0, 7.0, 99.0])
    dense = np.array([0.0, 1.0, 2.0, 3.0])
    winsorised = np.array([1.0, 1.0, 1.0, 2.0, 4.0, 5.0, 5.0, 5.0])
    first = np.sum((winsorised - winsorised.mean()) ** 2) / (4 * 3)
    second = np.sum((np.array([1.0, 1.0, 2.0, 2.0]) - 1.5) ** 2) / (2 * 1)
    freedom = (first + second) ** 2 / (first**2 / 3 + second**2 / 1)
    found = compare(sparse, dense)
    assert found.difference == pytest.approx(3.0 - 1.5)
    assert found.lower == pytest.approx(1.5 - stats.t.ppf(0.95, freedom) * np.sqrt(first + second))


def test_the_difference_is_that_of_the_iqms() -> None:
    rng = np.random.default_rng(1)
    sparse, dense = rng.normal(size=21), rng.normal(size=103)
    found = compare(sparse, dense)
    assert found.difference == pytest.approx(iqm(sparse) - iqm(dense))
    assert found.probability_of_improvement == probability_of_improvement(sparse, dense)
    assert (found.seeds, found.dense_seeds, found.family) == (21, 103, 1)


def test_p_and_bound_say_the_same() -> None:
    rng = np.random.default_rng(2)
    found = [compare(rng.normal(0.98, 0.1, 20), rng.normal(1, 0.1, 100)) for _ in range(200)]
    typical = [each.p_typical < 0.05 for each in found]
    assert typical == [each.lower > -each.margin for each in found] == [each.typical for each in found]
    assert 20 < sum(typical) < 180
    reliable = [compare([0.0] * k + [1.0] * (40 - k), [0.0] * 8 + [1.0] * 192) for k in range(12)]
    assert [each.p_reliable < 0.05 for each in reliable] == [each.upper < 0.10 for each in reliable]
    assert [each.reliable for each in reliable] == [True] * 2 + [False] * 10


def test_many_pairs_at_once_are_each_pair_alone() -> None:
    rng = np.random.default_rng(3)
    sparse, dense = np.minimum(1, rng.normal(1, 0.2, (30, 12))), np.minimum(1, rng.normal(1, 0.2, (30, 60)))
    found = yuen(sparse, dense, 0.05)
    alone = [compare(one, other) for one, other in zip(sparse, dense, strict=True)]
    np.testing.assert_allclose(found.lower, [each.lower for each in alone])
    np.testing.assert_allclose(found.p, [each.p_typical for each in alone])


@pytest.mark.parametrize("shape", ["normal", "saturated"])
@pytest.mark.parametrize("seeds", [10, 20])
def test_worse_by_the_margin_is_typical_in_about_one_of_twenty(shape: str, seeds: int) -> None:
    # 4,000 experiments: standard error 0.004. The module's table has 0.05 to 0.07 for these.
    rng = np.random.default_rng(seeds)
    worse = {"normal": 0.05, "saturated": 0.0545}[shape]  # of the latent normal: the IQM is lower by 0.05
    sparse, dense = rng.normal(0.97 - worse, 0.1, (4_000, seeds)), rng.normal(0.97, 0.1, (4_000, 5 * seeds))
    if shape == "saturated":
        sparse, dense = np.minimum(1, sparse), np.minimum(1, dense)
        truth = np.minimum(1, stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000, 0.97, 0.1))
        lower = np.minimum(1, stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000, 0.97 - worse, 0.1))
        assert iqm(truth) - iqm(lower) == pytest.approx(0.05, abs=0.001)
    assert 0.035 <= np.mean(yuen(sparse, dense, 0.05).p < 0.05) <= 0.09


def test_more_seeds_and_more_dense_runs_show_more() -> None:
    rng = np.random.default_rng(5)

    def found(seeds: int, dense_seeds: int) -> float:
        sparse, dense = rng.normal(1, 0.1, (2_000, seeds)), rng.normal(1, 0.1, (2_000, dense_seeds))
        return float(np.mean(yuen(sparse, dense, 0.05).p < 0.05))

    assert found(20, 20) + 0.05 < found(20, 100) < found(80, 400) - 0.05


@pytest.mark.parametrize("shift", [0.0, -0.04, -0.1, 1 / 3])
def test_equal_scores_leave_no_doubt(shift: float) -> None:
    found = compare(np.full(30, 1.0 + shift), np.ones(150))
    assert found.lower == found.difference == pytest.approx(shift)
    assert found.p_typical == (0.0 if shift > -0.05 else 1.0)
    assert found.matches == (shift > -0.05)


def test_scores_equal_up_to_rounding_raise_no_warning() -> None:
    found = compare(np.full(30, 0.1) * 3 + 0.7 * (1 + 1e-16), np.full(30, 1.0))
    assert found.lower == pytest.approx(0.0, abs=1e-9)
    assert found.typical


def test_typical_is_blind_to_few_failures_and_reliable_sees_them() -> None:
    found = compare([1.0] * 24 + [0.1] * 6, [1.0] * 150)
    assert (found.typical, found.reliable, found.matches) == (True, False, False)
    worse = compare(np.full(30, 0.9), np.ones(150))
    assert (worse.typical, worse.reliable, worse.matches) == (False, True, False)


# --- reliable ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("failed", "runs"), [(0, 20), (1, 20), (7, 20), (20, 20), (3, 7)])
def test_wilsons_interval_is_scipys(failed: int, runs: int) -> None:
    expected = stats.binomtest(failed, runs).proportion_ci(0.95, method="wilson")
    found = share_interval(failed, runs)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_newcombes_bound_is_his_own() -> None:
    # Newcombe 1998, table II, method 10, cases (a) and (b): 56/70 - 48/80 and 9/10 - 3/10, two-sided 95 %.
    z = stats.norm.isf(0.025)
    assert float(excess_bound(56, 70, 48, 80, z)) == pytest.approx(0.3339, abs=5e-5)
    assert float(excess_bound(9, 10, 3, 10, z)) == pytest.approx(0.8090, abs=5e-5)


def test_p_inverts_the_bound() -> None:
    for failed, dense_failed in product(range(5), range(0, 20, 4)):
        p = float(excess_p(failed, 40, dense_failed, 200))
        if p < 1:
            assert float(excess_bound(failed, 40, dense_failed, 200, stats.norm.isf(p))) == pytest.approx(0.10)
        else:
            assert failed / 40 - dense_failed / 200 >= 0.10


@pytest.mark.parametrize("share", [0.02, 0.06, 0.15])
@pytest.mark.parametrize("seeds", [20, 40, 80])
def test_ten_points_more_failures_are_reliable_in_at_most_one_of_twenty(share: float, seeds: int) -> None:
    # No simulation: over all counts, each with its binomial probability.
    failed, others = np.meshgrid(np.arange(seeds + 1), np.arange(5 * seeds + 1), indexing="ij")
    passed = excess_bound(failed, seeds, others, 5 * seeds, Z95) < 0.10
    dense = stats.binom.pmf(others, 5 * seeds, share)
    assert np.sum(stats.binom.pmf(failed, seeds, share + 0.10) * dense * passed) < 0.05
    assert np.sum(stats.binom.pmf(failed, seeds, share) * dense * passed) > 0.2


def test_bounds_grow_with_their_width() -> None:
    z = np.linspace(0, 5, 40)
    bounds = excess_bound(3, 20, 5, 100, z)
    assert bounds[0] == pytest.approx(0.1)
    assert (np.diff(bounds) > 0).all()
    low, high = wilson(3, 20, z)
    assert (low <= 0.15 + 1e-12).all()
    assert (high >= 0.15 - 1e-12).all()


# --- refusals of a verdict ---------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "dense_seeds"), [(1, 1), (1, 50), (9, 50), (50, 9)])
def test_below_ten_seeds_there_is_no_verdict(seeds: int, dense_seeds: int) -> None:
    found = compare([1.0] * seeds, [1.0] * dense_seeds)
    assert (found.typical, found.reliable, found.matches) == (None, None, None)
    assert not found.enough
    assert found.verdict.startswith("too few seeds")


def test_too_few_seeds_for_reliability_say_how_many_it_takes() -> None:
    for seeds, reliable in ((24, None), (25, True)):
        found = compare([1.0] * seeds, [1.0] * 200)
        assert (found.typical, found.reliable, found.matches) == (True, reliable, reliable)
        assert found.seeds_needed == 25
    assert compare([1.0] * 24, [1.0] * 200).verdict.startswith("too few seeds: 24 of at least 25 (")
    assert compare([1.0] * 20, [0.0] * 20 + [1.0] * 180).reliable  # dense fails itself: fewer seeds show it


def test_what_ten_points_more_failures_refute_needs_no_more_seeds() -> None:
    found = compare([1.0] * 8 + [0.0] * 4, [1.0] * 200)
    assert (found.reliable, found.matches) == (False, False)


def test_one_seed_bounds_nothing() -> None:
    assert compare([1.0], [1.0]).lower == -np.inf


def test_verdicts_say_what_was_shown() -> None:
    assert compare([1.0] * 60, [1.0] * 299 + [0.0]).verdict == (
        "matches dense: typical (difference of IQMs +0.000, lower bound +0.000, margin 0.05) and reliable "
        "(0 of 60 runs failed and 1 of 300 dense, at most 4.0 points more, limit 10)"
    )
    assert compare([0.9] * 60, [1.0] * 300).verdict.startswith(
        "not shown to match dense: not typical (difference of IQMs -0.100, lower bound -0.100, margin 0.05), reliable ("
    )


# --- families ----------------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    # 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1, none below the one before.
    np.testing.assert_allclose(holm([0.03, 0.01, 0.04, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.5, 1.0]), [1.0, 1.0, 1.0])
    np.testing.assert_allclose(holm([0.2]), [0.2])


def test_holm_keeps_the_level_over_a_family_and_beats_bonferroni() -> None:
    rng = np.random.default_rng(6)
    p = rng.uniform(size=(4_000, 10))
    p[:, :5] /= 1_000  # five are false; five hold
    adjusted = np.array([holm(row) for row in p])
    assert np.mean((adjusted[:, 5:] < 0.05).any(axis=1)) < 0.05 + 4 * 0.0035
    assert (adjusted <= np.minimum(1, 10 * p) + 1e-12).all()
    assert (adjusted[:, 5:] < 10 * p[:, 5:] - 1e-12).any()


def test_together_more_is_asked_of_each() -> None:
    rng = np.random.default_rng(7)
    dense = rng.normal(1, 0.1, 300)
    alone = compare(rng.normal(1, 0.1, 60), dense)
    many = together([alone, *(compare(rng.normal(0.6, 0.1, 60), dense) for _ in range(11))])
    assert many[0].family == 12
    assert many[0].p_typical == pytest.approx(12 * alone.p_typical)
    assert many[0].p == pytest.approx(12 * alone.p)
    assert many[0].lower == alone.lower
    assert many[0].seeds_needed > alone.seeds_needed
    assert together([]) == ()
    assert together([alone]) == (alone,)


def test_what_matches_together_is_typical_and_reliable_together() -> None:
    rng = np.random.default_rng(8)
    dense = rng.normal(1, 0.1, 300)
    for _ in range(30):
        sparse = [np.where(rng.random(60) < 0.03, 0.0, rng.normal(0.99, 0.1, 60)) for _ in range(5)]
        for each in together([compare(scores, dense) for scores in sparse]):
            assert each.matches in (True, False)
            assert not each.matches or (each.typical and each.reliable)


# --- contrasts ---------------------------------------------------------------------------------------


def test_a_contrast_is_students_paired_test() -> None:
    rng = np.random.default_rng(9)
    ticket, control = rng.normal(1, 0.1, 12), rng.normal(0.9, 0.1, 12)
    found, expected = contrast(ticket, control), stats.ttest_rel(ticket, control)
    span = expected.confidence_interval(0.95)
    assert found.p == pytest.approx(expected.pvalue)
    assert (found.interval.low, found.interval.high) == pytest.approx((span.low, span.high))
    assert found.difference == pytest.approx(np.mean(ticket) - np.mean(control))


def test_densities_are_averaged_within_a_seed() -> None:
    rng = np.random.default_rng(10)
    ticket, control = rng.normal(size=(8, 5)), rng.normal(size=(8, 5))
    assert contrast(ticket, control) == contrast(ticket.mean(axis=1) - control.mean(axis=1), np.zeros(8))
    assert contrast(ticket, control).seeds == 8  # not 40: what one seed does at five densities is one replicate


def test_pairing_removes_what_seeds_share() -> None:
    rng = np.random.default_rng(11)
    luck = rng.normal(0, 1.0, size=10)
    ticket, control = 0.1 + luck + rng.normal(0, 0.01, size=10), luck
    assert contrast(ticket, control).p < 0.001
    assert contrast(rng.permutation(ticket), control).p > 0.05


@pytest.mark.parametrize("seeds", [5, 10, 20])
def test_equal_agents_are_told_apart_in_at_most_one_of_twenty(seeds: int) -> None:
    # 3,000 experiments: standard error 0.004. Saturated scores with shared luck: most differences are exactly 0.
    rng = np.random.default_rng(seeds)
    luck = rng.normal(1.0, 0.1, (3_000, seeds))
    ticket, control = (np.minimum(1, luck + rng.normal(0, 0.1, luck.shape)) for _ in range(2))
    found = [contrast(one, other) for one, other in zip(ticket, control, strict=True)]
    assert np.mean([each.p < 0.05 for each in found]) < 0.06
    covered = [each.interval.low <= 0 <= each.interval.high for each in found]
    assert [each.p >= 0.05 for each in found] == covered


def test_a_better_ticket_is_found() -> None:
    rng = np.random.default_rng(12)
    luck, noise = rng.normal(0, 0.2, (500, 10)), rng.normal(0, 0.1, (2, 500, 10))
    found = [contrast(a, b) for a, b in zip(luck + noise[0] + 0.15, luck + noise[1], strict=True)]
    assert np.mean([each.p < 0.05 for each in found]) > 0.75


def test_contrasts_without_spread() -> None:
    assert contrast(np.ones(8), np.ones(8)) == Contrast(8, 0.0, Interval(0.0, 0.0), 1.0)
    always = contrast(np.full(8, 0.75), np.full(8, 0.5))
    assert always == Contrast(8, 0.25, Interval(0.25, 0.25), 2 / 2**8)  # all eight signs agree, on either side
    assert contrast(np.full(8, 0.1 + 0.2), np.full(8, 0.3)).p == 1.0, "rounding is no difference"
    one = contrast([1.0], [0.5])
    assert (one.enough, one.p, one.interval) == (False, 1.0, Interval(-np.inf, np.inf))


@pytest.mark.parametrize(
    ("ticket", "control", "words"),
    [
        ([1.0, 1.0, 0.9, 1.0, 1.1], [0.5, 0.6, 0.5, 0.4, 0.5], "better than its control (+0.500"),
        ([0.5, 0.6, 0.5, 0.4, 0.5], [1.0, 1.0, 0.9, 1.0, 1.1], "worse than its control (-0.500"),
        ([1.0, 0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0, 1.0], "no difference shown (+0.000"),
        ([1.0, 1.0], [0.0, 0.1], "too few seeds (+0.950"),
    ],
)
def test_contrasts_say_what_was_shown(ticket: list[float], control: list[float], words: str) -> None:
    assert contrast(ticket, control).verdict.startswith(words)


# --- power -------------------------------------------------------------------------------------------


def test_power_is_how_often_compare_agrees() -> None:
    rng = np.random.default_rng(13)
    dense = np.where(rng.random(300) < 0.05, 0.2, rng.normal(1, 0.1, 300))
    expected = power(dense, seeds=40, trials=2_000)
    trials = [compare(rng.choice(dense, 40), rng.choice(dense, 200)) for _ in range(400)]
    for name in ("typical", "reliable", "matches"):
        share = np.mean([bool(getattr(each, name)) for each in trials])
        assert getattr(expected, name) == pytest.approx(share, abs=4 * 0.028)
    assert 0.3 < expected.matches < 0.95


def test_power_of_what_can_be_counted() -> None:
    # 24 seeds without a failure are refused, 25 are not; with one in twenty failing, 20 seeds pass with none only.
    assert power([1.0], seeds=24).matches == 0.0
    assert power([1.0], seeds=25).matches == 1.0
    found = power([1.0] * 19 + [0.0], seeds=20, dense_seeds=100_000, trials=20)
    assert found.typical == 1.0
    many = power([1.0] * 19 + [0.0], seeds=20, dense_seeds=500, trials=4_000)
    assert many.reliable == pytest.approx(0.95**20, abs=0.03)


def test_power_grows_with_seeds_and_falls_with_densities() -> None:
    dense = [1.0] * 19 + [0.0]
    found = [power(dense, seeds=seeds, densities=densities).matches for densities in (1, 4) for seeds in (20, 80)]
    assert found[0] < found[1]
    assert found[2] < found[3]
    assert found[3] < found[1]


def test_seeds_needed_are_enough_and_no_more() -> None:
    dense = np.random.default_rng(14).normal(1, 0.1, 200)
    needed = seeds_needed(dense, 0.8)
    assert needed is not None
    assert power(dense, seeds=needed, trials=1_000).matches >= 0.8
    assert power(dense, seeds=needed - 8, trials=1_000).matches < 0.8
    assert seeds_needed(np.random.default_rng(15).normal(1, 5.0, 200)) is None


def test_the_seed_decides_the_power() -> None:
    dense = np.random.default_rng(16).normal(1, 0.1, 50)
    assert power(dense, seeds=20, seed=1) == power(dense, seeds=20, seed=1)
    assert power(dense, seeds=20, seed=1) != power(dense, seeds=20, seed=2)
    assert str(power([1.0], seeds=25)) == "25 seeds against 125 dense: typical 1.00, reliable 1.00, matches 1.00"


# --- refusals ----------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compare(np.ones((5, 2)), np.ones(5)), r"sparse_scores must be 1-D, got shape \(5, 2\)"),
        (lambda: compare(np.ones(5), np.ones((5, 2))), r"dense_scores must be 1-D, got shape \(5, 2\)"),
        (lambda: compare([], []), "sparse_scores is empty: give at least one entry"),
        (lambda: compare([1.0], []), "dense_scores is empty: give at least one entry"),
        (lambda: compare([1.0, NAN], [1.0, 1.0]), r"sparse_scores\[1\] is nan: every run needs a finite score"),
        (lambda: compare([1.0, 1.0], [-INF, 1.0]), r"dense_scores\[0\] is -inf: every run needs"),
        (lambda: compare([1.0], [1.0], margin=-0.1), "margin must be a finite number of at least 0, got -0.1"),
        (lambda: compare([1.0], [1.0], margin=NAN), "margin must be a finite number of at least 0, got nan"),
        (lambda: compare([1.0], [1.0], failed_below=INF), "failed_below must be a finite number, got inf"),
        (lambda: contrast([1.0, 1.0], [1.0]), r"ticket_scores and control_scores must have the same seeds"),
        (lambda: contrast([NAN], [1.0]), r"ticket_scores\[0\] is nan"),
        (lambda: contrast([1.0], [INF]), r"control_scores\[0\] is inf"),
        (lambda: holm([]), "p is empty"),
        (lambda: holm([0.5, 1.5]), "p must lie between 0 and 1, got 0.5 to 1.5"),
        (lambda: power([], seeds=5), "dense_scores is empty"),
        (lambda: power([1.0], seeds=0), "seeds must be at least 1, got 0"),
        (lambda: power([1.0], seeds=5, dense_seeds=0), "dense_seeds must be at least 1, got 0"),
        (lambda: power([1.0], seeds=5, densities=0), "densities must be at least 1, got 0"),
        (lambda: seeds_needed([1.0], 80), "power_wanted must lie between 0 and 1, like 0.8, got 80"),
    ],
)
def test_refusals_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()


def test_comparisons_carry_their_numbers() -> None:
    found: Comparison = compare([0.0] * 3 + [1.0] * 27, [0.0] * 10 + [1.0] * 90)
    assert (found.failed, found.dense_failed, found.failed_share) == (3, 10, 0.1)
    assert found.failed_interval == share_interval(3, 30)
    assert found.excess == pytest.approx(0.0)
