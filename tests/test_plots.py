"""The plots of a report: what stands where on the axes, by hand-made numbers."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from rl_tickets.report.curves import learning_curves
from rl_tickets.report.rows import Run, Series
from rl_tickets.report.settling import Watch, settling
from rl_tickets.report.zoom import crowded, enlarge_top


def test_the_top_of_a_crowded_axis_takes_two_fifths_and_is_told_back_exactly():
    axes = Figure().subplots()
    enlarge_top(axes, 0.0, 100.0)
    axes.set_ylim(0.0, 100.0)
    scale = axes.yaxis.get_transform()
    assert scale.transform([0.0, 45.0, 90.0, 95.0, 100.0]) == pytest.approx([0.0, 0.3, 0.6, 0.8, 1.0])
    values = np.linspace(-20, 120, 29)
    assert scale.inverted().transform(scale.transform(values)) == pytest.approx(values)
    assert {0.0, 50.0, 90.0, 95.0, 100.0} <= set(axes.get_yticks())


@pytest.mark.parametrize(("scores", "found"), [([91.0, 95.0, 10.0], True), ([91.0, 10.0], False), ([], False)])
def test_what_is_crowded(scores, found):
    assert crowded(scores, 0.0, 100.0) == found


def sightings(seed: int, distances) -> Series:
    """Masks drawn at steps 0, 10, 20, ...: distance of each from every one of the two before it; chance is 0.5."""
    rows = [
        (10 * new, 10 * old, distance, 0.5)
        for new, pair in enumerate(distances)
        for old, distance in zip(range(max(0, new - 2), new), pair, strict=True)
    ]
    columns = zip(*rows, strict=True)
    names = ("step", "other_step", "distance", "chance")
    return Series("distances", Run("bird", seed, 0), dict(zip(names, map(list, columns), strict=True)))


def test_a_mask_is_held_against_the_farthest_of_a_full_window():
    rows = [sightings(0, [(), (0.4,), (0.2, 0.1), (0.05, 0.1), (0.01, 0.02)])]
    figure = settling(rows, ["bird"], {"bird": Watch(threshold=0.1, window=2)}, {Run("bird", 0, 0): 40})
    assert figure is not None
    (axes,) = figure.axes
    line, stop, threshold, *_ = axes.get_lines()
    assert line.get_xdata() == pytest.approx([20, 30, 40]), "one mask is no full window"
    assert line.get_ydata() == pytest.approx([0.4, 0.2, 0.04])
    assert (stop.get_xdata()[0], stop.get_ydata()[0]) == pytest.approx((40, 0.04))
    assert threshold.get_ydata()[0] == 0.1
    assert axes.get_title(loc="left") == "bird: 1 of 1 run stopped"


def test_the_watch_is_found_wherever_a_plan_keeps_it():
    bird = {"type": "EarlyBird", "threshold": 0.2, "window": 3}
    settings = {
        "searches": {"mine": {"settings": {"type": "Mine", "inner": [{"bird": bird}]}}, "imp": {"settings": {}}}
    }
    assert Watch.all(settings) == {"mine": Watch(0.2, 3)}


def curve(level: int, returns, episodes=None, seed: int = 0) -> Series:
    counts = np.ones(len(returns)) if episodes is None else np.asarray(episodes, dtype=float)
    columns = {
        "timesteps": list(range(10, 10 * len(returns) + 1, 10)),
        "total_return": list(np.asarray(returns) * counts),
        "episodes": list(counts),
    }
    return Series("curves", Run("dense" if level == 0 else "imp", seed, level), columns)


@pytest.mark.parametrize(
    ("teeth", "segment", "level"),
    [([20.0, 100.0] * 10, 20, 60.0), ([20.0, 100.0, 100.0, 100.0] * 5, 40, 100.0)],
    ids=["shorter than the window", "longer than the window"],
)
def test_cuts_leave_no_teeth_in_a_learning_curve(teeth, segment, level):
    """A return that falls after each cut and is the same in every segment is a straight line."""
    figure = learning_curves([curve(0, teeth), curve(1, teeth)], ["imp"], segment=segment)
    assert figure is not None
    dense = figure.axes[0].get_lines()[0]
    steps, returns = np.asarray(dense.get_xdata()), np.asarray(dense.get_ydata())
    assert returns[steps >= 50] == pytest.approx(level)


def test_a_stretch_counts_by_its_steps_and_not_by_its_episodes():
    """Else a thousand short episodes at the beginning would hide all that follows."""
    returns, episodes = [0.0, *[100.0] * 19], [1_000, *[1] * 19]
    figure = learning_curves([curve(0, returns, episodes), curve(1, returns)], ["imp"], segment=0)
    assert figure is not None
    dense = figure.axes[0].get_lines()[0]
    assert np.interp([10, 20, 30], dense.get_xdata(), dense.get_ydata()) == pytest.approx([0.0, 50.0, 100.0], abs=9)


def test_a_run_that_ended_early_does_not_end_the_curve_of_all():
    rows = [curve(0, [5.0] * 20, seed=seed) for seed in range(3)] + [curve(0, [95.0] * 2, seed=3)]
    figure = learning_curves([*rows, *(curve(1, [5.0] * 3, seed=seed) for seed in range(2))], ["imp"])
    assert figure is not None
    dense = figure.axes[0].get_lines()[0]
    steps, returns = np.asarray(dense.get_xdata()), np.asarray(dense.get_ydata())
    assert steps[-1] == 200
    assert returns[steps > 20] == pytest.approx(5)


def test_the_band_is_students_interval_of_the_seeds():
    rows = [curve(0, [value] * 3, seed=seed) for seed, value in enumerate([0.0, 10.0])]
    figure = learning_curves([*rows, *(curve(1, [5.0] * 3, seed=seed) for seed in range(2))], ["imp"])
    assert figure is not None
    band = figure.axes[0].collections[0].get_paths()[0].vertices[:, 1]
    assert (band.min(), band.max()) == pytest.approx((5 - 12.7062 * 5, 5 + 12.7062 * 5), rel=1e-4)
