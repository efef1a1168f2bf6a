"""Scores over seeds: against rliable, against simulated truths, and every refusal. Verdicts: test_verdicts.py."""

from __future__ import annotations

import doctest
from typing import Any

import numpy as np
import pytest

from rl_tickets.evaluation import statistics
from rl_tickets.evaluation.statistics import (
    Anchors,
    Interval,
    interval,
    iqm,
    performance_profile,
    probability_of_improvement,
)


@pytest.fixture
def rliable() -> Any:
    import rliable.metrics

    return rliable.metrics


def scores_with_ties(seeds: int, tasks: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.6, 0.4, size=(seeds, tasks)).round(1).clip(max=1.0)


def test_documented_examples_hold() -> None:
    outcome = doctest.testmod(statistics)
    assert outcome.attempted >= 5
    assert outcome.failed == 0


# --- against rliable ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("seeds", "tasks"), [(1, 1), (3, 1), (10, 1), (7, 3), (10, 26)])
def test_iqm_is_rliables(rliable: Any, seeds: int, tasks: int) -> None:
    scores = scores_with_ties(seeds, tasks, seed=seeds)
    assert iqm(scores) == pytest.approx(rliable.aggregate_iqm(scores), rel=1e-12)


@pytest.mark.parametrize(("seeds", "tasks"), [((5, 5), 1), ((10, 7), 3), ((20, 20), 5)])
def test_probability_of_improvement_is_rliables(rliable: Any, seeds: tuple[int, int], tasks: int) -> None:
    x, y = scores_with_ties(seeds[0], tasks, seed=1), scores_with_ties(seeds[1], tasks, seed=2)
    assert (x[:, None] == y).any(), "the case must contain ties"
    expected = rliable.probability_of_improvement(x, y)
    assert probability_of_improvement(x, y) == pytest.approx(expected, rel=1e-12)


# --- iqm, probability of improvement, profile --------------------------------------------------------


def test_iqm_drops_a_quarter_at_each_end() -> None:
    assert iqm([-1e9, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 1e9]) == pytest.approx(3.5)


def test_iqm_pools_tasks() -> None:
    scores = np.arange(8.0).reshape(4, 2) ** 2
    assert iqm(scores) == iqm(scores.ravel()) == pytest.approx((4 + 9 + 16 + 25) / 4)


def test_improvement_is_certain_even_or_impossible() -> None:
    assert probability_of_improvement([2.0, 3.0], [0.0, 1.0]) == 1.0
    assert probability_of_improvement([0.0, 1.0], [2.0, 3.0]) == 0.0
    assert probability_of_improvement([1.0, 1.0], [1.0, 1.0, 1.0]) == 0.5


def test_improvement_and_its_reverse_sum_to_one() -> None:
    x, y = scores_with_ties(6, 3, seed=3), scores_with_ties(9, 3, seed=4)
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1.0)


def test_improvement_compares_within_a_task_only() -> None:
    # Pooled over tasks, x would beat y in half of the pairs of different tasks.
    assert probability_of_improvement([[1.0, 100.0]], [[0.0, 99.0]]) == 1.0


def test_profile_counts_runs_strictly_above() -> None:
    scores = [[0.0, 0.5], [0.5, 1.0]]
    np.testing.assert_array_equal(performance_profile(scores, [-1.0, 0.0, 0.5, 1.0]), [1.0, 0.75, 0.25, 0.0])


def test_area_under_the_profile_is_the_mean() -> None:
    scores = np.random.default_rng(5).random((10, 3))
    edges = np.linspace(0, 1, 20_001)
    assert performance_profile(scores, edges).mean() == pytest.approx(scores.mean(), abs=1e-3)


# --- interval ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [1, 3])
def test_interval_covers_the_true_iqm_as_often_as_it_says(tasks: int) -> None:
    # Nominal 0.95; with 20 seeds the bootstrap has about 0.94. The standard error over 500 repetitions is
    # 0.01, so the band is about four of them wide on the low side, where a wrong method would fall.
    rng = np.random.default_rng(0)
    shift = np.arange(tasks)
    truth = iqm(rng.normal(size=(400_000, tasks)) + shift)
    found = [
        interval(rng.normal(size=(20, tasks)) + shift, resamples=500, seed=repetition) for repetition in range(500)
    ]
    coverage = np.mean([each.low <= truth <= each.high for each in found])
    assert 0.90 <= coverage <= 0.98


def test_interval_follows_its_confidence() -> None:
    scores = np.random.default_rng(1).normal(size=15)
    narrow, wide = interval(scores, confidence=0.5), interval(scores, confidence=0.99)
    assert wide.low < narrow.low < iqm(scores) < narrow.high < wide.high


def test_tasks_are_resampled_apart() -> None:
    # Two tasks that mirror each other: their sum is constant only if the same seeds were drawn for both.
    column = np.random.default_rng(2).normal(size=12)
    found = interval(np.stack([column, -column], axis=1), np.mean)
    assert found.high - found.low > 0.2


def test_tasks_are_not_mixed() -> None:
    # Within each task all seeds agree, so nothing is uncertain however far apart the tasks are.
    assert interval(np.tile([0.0, 10.0, 20.0], (5, 1)), np.mean) == Interval(10.0, 10.0)


@pytest.mark.parametrize("shape", [(8,), (8, 1), (8, 3)])
def test_any_statistic_sees_the_shape_of_the_scores(shape: tuple[int, ...]) -> None:
    seen = set()

    def own(scores: np.ndarray) -> float:
        seen.add(scores.shape)
        return iqm(scores)

    scores = np.random.default_rng(3).normal(size=shape)
    one_by_one, at_once = interval(scores, own, resamples=200), interval(scores, resamples=200)
    assert seen == {shape}
    assert (one_by_one.low, one_by_one.high) == pytest.approx((at_once.low, at_once.high))


def test_the_seed_decides_the_interval() -> None:
    scores = np.random.default_rng(4).normal(size=(10, 2))
    np.random.seed(0)  # noqa: NPY002 - the global generator must not matter
    first = interval(scores, seed=7)
    np.random.seed(1)  # noqa: NPY002
    assert interval(scores, seed=7) == first
    assert interval(scores, seed=8) != first


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, -17.3])
def test_constant_scores_leave_no_width(value: float) -> None:
    found = interval(np.full((7, 3), value))
    assert found.low == found.high == pytest.approx(value)


def test_saturated_scores_have_a_finite_interval() -> None:
    # BCa is nan here: the IQM is 1 whichever seed is left out.
    found = interval([1.0] * 9 + [0.2])
    assert found.low == pytest.approx(13 / 15)  # the bad seed drawn three times: one of six in the IQM
    assert found.high == 1.0


# --- anchors -----------------------------------------------------------------------------------------


def test_anchors_are_zero_and_one_also_for_negative_returns() -> None:
    anchors = Anchors(random=-1200.0, dense=-200.0)
    scores = anchors.normalise([[-1200.0, -200.0], [-700.0, 800.0]])
    np.testing.assert_allclose(scores, [[0.0, 1.0], [0.5, 2.0]])
    assert scores.dtype == np.float64


# --- refusals ----------------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: iqm([]), "scores is empty: give at least one entry"),
        (lambda: iqm([1.0, NAN]), r"scores\[1\] is nan: every run needs a finite score"),
        (lambda: iqm([[1.0, 2.0], [INF, 2.0]]), r"scores\[1, 0\] is inf: every run needs a finite score"),
        (lambda: iqm(1.0), r"scores must be of shape \(seeds,\) or \(seeds, tasks\), got shape \(\)"),
        (lambda: iqm(np.ones((2, 2, 2))), r"scores must be of shape .*, got shape \(2, 2, 2\)"),
        (lambda: interval([0.5]), "an interval needs at least 2 seeds, got 1"),
        (lambda: interval([[0.5, 0.7]]), "an interval needs at least 2 seeds, got 1"),
        (lambda: interval([0.5, NAN]), r"scores\[1\] is nan"),
        (
            lambda: interval([0.5, 0.6], confidence=95),
            "confidence must lie between 0 and 1, like 0.95, got 95",
        ),
        (lambda: interval([0.5, 0.6], confidence=NAN), "confidence must lie between 0 and 1"),
        (lambda: probability_of_improvement([NAN], [1.0]), r"x\[0\] is nan"),
        (lambda: probability_of_improvement([1.0], [INF]), r"y\[0\] is inf"),
        (
            lambda: probability_of_improvement(np.ones((5, 2)), np.ones((5, 1))),
            r"x and y must have the same tasks, got shapes \(5, 2\) and \(5, 1\)",
        ),
        (lambda: performance_profile([1.0], [[0.0]]), r"thresholds must be 1-D, got shape \(1, 1\)"),
        (
            lambda: Anchors(9.0, 9.0).normalise([9.0]),
            "dense and random agents both return 9.0, which leaves no",
        ),
        (lambda: Anchors(NAN, 9.0).normalise([9.0]), "the random return must be finite .* got nan"),
        (lambda: Anchors(0.0, INF).normalise([9.0]), "the dense return must be finite .* got inf"),
    ],
)
def test_refusals_say_what_is_wrong(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        call()
