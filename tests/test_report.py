"""The report: numbers held against hand-made ones, sentences, plots, TensorBoard files, refusals."""

import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from PIL import Image
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import rl_tickets.report as report
from rl_tickets.evaluation.families import holm
from rl_tickets.evaluation.statistics import interval
from rl_tickets.report import Summary, compare_folders, headline, terminal_table, write_index, write_level, write_report
from rl_tickets.report.facets import return_against_density
from rl_tickets.report.looks import by_place
from rl_tickets.report.markdown_table import markdown_table
from rl_tickets.report.rows import LayerRow, LevelRow, Run, Series, TimingRow
from rl_tickets.report.tables import append_rows
from rl_tickets.report.tensorboard import picture
from rl_tickets.report.wording import number, plain, sparsity

RANDOM = 0.0
SEEDS = 48
"""With which four densities at once can be shown to match where no run fails: it takes 46."""
NOISE = (0.0, 0.5, -0.5, 1.0, -1.0, 0.0, 0.3, -0.3)
DENSITY = {0: 1.0, 1: 0.8, 2: 0.4, 3: 0.168, 4: 0.1}


def level(search, seed, index, mean, **other):
    values = {
        "run": Run(search, seed, index),
        "density": DENSITY[index],
        "mean_return": float(mean),
        "timesteps": 1000,
        "start": 0,
        "mask_distance": 0.2 if index else 0.0,
        "diverged": False,
        "problem": "",
        "collapsed": "",
        "ticket": "",
    }
    return LevelRow(**{**values, **other})


def runs(search, means, seeds=SEEDS):
    """Levels 1, 2, ... of a search (level 0 for dense) whose seeds scatter alike around the means."""
    first = 0 if search == "dense" else 1
    return [
        level(search, seed, first + place, mean + NOISE[seed % len(NOISE)])
        for place, mean in enumerate(means)
        for seed in range(seeds)
    ]


def save(folder: Path, levels, *, others=(), **settings) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"random_return": RANDOM, "margin": 0.05, "episodes": 20, **settings}
    described = {"format": 2, "name": "Toy", "command": "python scripts/toy.py --seeds 6", "settings": settings}
    (folder / "experiment.json").write_text(json.dumps(described))
    returns = [Series("returns", row.run, {"returns": [row.mean_return], "lengths": [10]}) for row in levels]
    append_rows(folder, [*levels, *returns, *others])
    return folder


def plan(kind, control_of=None, **settings):
    return {"plan": kind, "settings": settings, "control_of": control_of}


IMP = plan("IMP", criterion="lamp", rewind={"type": "Rewind", "at": 0})
SEARCHES = {"imp": IMP, "random_reinit": plan("Control", "imp", make="random_reinit", of="imp")}


def typical(seeds=SEEDS, dense_seeds=None):
    """IMP matches down to level 3; at level 4 it is worse. The control matches at level 1, and fails at level 4."""
    return [
        *runs("dense", [100.0], dense_seeds or seeds),
        *runs("imp", [100.0, 101.0, 99.0, 60.0], seeds),
        *runs("random_reinit", [99.5, 80.0, 50.0, 20.0], seeds),
    ]


def extras(seeds=2):
    sizes = {"net.0.weight": 64, "net.2.weight": 256}
    found = [
        LayerRow(
            Run(search, seed, index),
            {name: (max(1, round(total * DENSITY[index])), total) for name, total in sizes.items()},
        )
        for search in ("dense", "imp")
        for seed in range(seeds)
        for index in ((0,) if search == "dense" else (1, 2, 3, 4))
    ]
    for search, index in (("dense", 0), ("imp", 1), ("imp", 3), ("random_reinit", 1)):
        found += [curve(Run(search, seed, index), (250, 500, 1000)) for seed in range(seeds)]
    pairs = [(step, other) for step in (100, 200, 300) for other in range(100, step, 100)]
    return found + [
        Series(
            "distances",
            Run("imp", seed, 0),
            {
                "step": [step for step, _ in pairs],
                "other_step": [other for _, other in pairs],
                "distance": [(step - other) / 1000 for step, other in pairs],
                "chance": [0.6] * len(pairs),
            },
        )
        for seed in range(seeds)
    ]


def curve(run, steps):
    totals = [5 * (step / 10 + run.seed) for step in steps]
    return Series("curves", run, {"timesteps": steps, "total_return": totals, "episodes": [5] * len(steps)})


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    folder = save(tmp_path_factory.mktemp("toy"), typical(), others=extras(), searches=SEARCHES)
    write_report(folder)
    return folder


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


# -- numbers -------------------------------------------------------------------------------------------------


def test_summary_holds_hand_made_numbers(toy):
    summary = Summary.read(toy)
    assert summary.dense.returned == pytest.approx(100.0)  # NOISE has as much above as below
    assert summary.dense.normalised == pytest.approx(1.0)
    imp, control = summary.searches
    assert (imp.name, control.name) == ("imp", "random_reinit")
    assert control.described.control_of == "imp"
    assert [found.density for found in imp.levels] == pytest.approx([0.8, 0.4, 0.168, 0.1])
    last = imp.levels[-1]
    assert last.scores[3] == pytest.approx(61.0)
    assert last.returned_interval == interval(list(last.scores.values()))
    assert last.normalised_interval.low == pytest.approx(last.returned_interval.low / 100)
    assert last.normalised == pytest.approx(0.60)
    assert last.comparison is not None
    assert last.comparison.difference == pytest.approx(-0.40)
    assert last.comparison.lower < -0.40
    assert last.comparison.probability_of_improvement == 0.0
    assert [found.verdicts for found in imp.levels] == [("yes",) * 3] * 3 + [("no", "yes", "no")]
    assert imp.matching == imp.levels[:3]
    assert [found.verdicts for found in control.levels] == [
        ("yes", "yes", "yes"),
        ("no", "yes", "no"),
        ("no", "no", "no"),
        ("no", "no", "no"),
    ]
    assert [found.failed for found in control.levels] == [0, 0, 18, SEEDS]  # around 50: 3 of 8, by NOISE
    assert {found.comparison.family for found in imp.levels} == {4}


def test_contrasts_hold_hand_made_numbers(toy):
    (found,) = Summary.read(toy).contrasts
    assert (found.search, found.other, found.control) == ("imp", "random_reinit", True)
    assert [each.density for each in found.levels] == pytest.approx([0.8, 0.4, 0.168, 0.1])
    differences = [0.005, 0.21, 0.49, 0.40]
    assert [each.contrast.difference for each in found.levels] == pytest.approx(differences)
    assert found.mean.difference == pytest.approx(sum(differences) / 4)
    assert found.mean.interval.high - found.mean.interval.low < 1e-9  # paired: the scatter of the seeds cancels
    assert found.mean.seeds == SEEDS


def test_contrasts_pair_the_seeds_and_densities_that_both_have(tmp_path):
    # A control at two chosen densities, of which one seed is missing and one has no ticket.
    control = [
        level("cut", seed, number, mean + NOISE[seed % 8])
        for number, mean in ((2, 90.0), (4, 50.0))
        for seed in (*range(1, 12), 99)
        if (number, seed) != (4, 5)
    ]
    levels = [*runs("dense", [100.0]), *runs("imp", [100.0, 100.0, 100.0, 100.0], seeds=20), *control]
    searches = {"imp": IMP, "cut": plan("Control", "imp")}
    (found,) = Summary.read(save(tmp_path, levels, searches=searches)).contrasts
    assert [each.density for each in found.levels] == pytest.approx([0.4, 0.1])
    assert [each.contrast.difference for each in found.levels] == pytest.approx([0.1, 0.5])
    assert [each.contrast.seeds for each in found.levels] == [11, 10]
    assert (found.mean.seeds, found.mean.difference) == (10, pytest.approx(0.3))


def test_a_control_of_another_size_is_paired_by_level(tmp_path):
    small = [level("small", seed, index, 90 + NOISE[seed % 8], density=1.0) for index in (1, 2) for seed in range(20)]
    levels = [*runs("dense", [100.0]), *runs("imp", [100.0, 98.0], seeds=20), *small]
    searches = {"imp": IMP, "small": plan("Small", "imp")}
    (found,) = Summary.read(save(tmp_path, levels, searches=searches)).contrasts
    assert [each.contrast.difference for each in found.levels] == pytest.approx([0.10, 0.08])


def test_p_of_contrasts_is_adjusted_for_their_number(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, size=(3, 20))
    levels = [*runs("dense", [100.0]), *runs("imp", [100.0], seeds=20)]
    levels += [level(f"c{i}", seed, 1, 97 + noise[i, seed]) for i in range(3) for seed in range(20)]
    searches = {"imp": IMP, **{f"c{i}": plan("Control", "imp") for i in range(3)}}
    found = Summary.read(save(tmp_path, levels, searches=searches)).contrasts
    assert [each.p for each in found] == pytest.approx(holm([each.mean.p for each in found]).tolist())
    assert [each.p for each in found] != [each.mean.p for each in found]


def test_dense_may_have_more_seeds_than_the_searches(tmp_path):
    levels = [*runs("dense", [100.0], seeds=100), *runs("imp", [100.0], seeds=30), level("imp", 777, 1, 0.0)]
    summary = write_report(save(tmp_path, levels))
    found = summary.searches[0].levels[0].comparison
    assert (found.seeds, found.dense_seeds, found.failed) == (31, 100, 1)  # a seed that dense lacks counts as well
    assert summary.power is not None
    assert (summary.power.seeds, summary.power.dense_seeds) == (31, 100)


def test_the_level_of_failure_is_the_experiments(tmp_path):
    levels = [*runs("dense", [100.0]), *runs("imp", [60.0])]
    assert Summary.read(save(tmp_path / "a", levels)).searches[0].levels[0].failed == 0
    assert Summary.read(save(tmp_path / "b", levels, failed_below=0.7)).searches[0].levels[0].failed == SEEDS


def test_a_run_without_return_counts_as_random(tmp_path):
    levels = [
        *runs("dense", [100.0]),
        *runs("imp", [100.0], seeds=5),
        level("imp", 5, 1, math.nan, diverged=True),
    ]
    folder = save(tmp_path, levels)
    (imp,) = write_report(folder).searches
    assert imp.levels[0].scores[5] == RANDOM
    assert (imp.levels[0].diverged, imp.levels[0].unscored) == (1, 1)
    text = (folder / "report.md").read_text()
    assert "1 run diverged" in text
    assert "1 run without a finite return, scored as a random policy" in text


def test_collapsed_layers_are_named(tmp_path):
    levels = [
        *runs("dense", [100.0]),
        *(level("imp", seed, 1, 99, collapsed="a.weight b.weight" if seed < 2 else "") for seed in range(6)),
    ]
    folder = save(tmp_path, levels)
    assert write_report(folder).searches[0].levels[0].collapsed == {"a.weight": 2, "b.weight": 2}
    text = (folder / "report.md").read_text()
    assert "last weight of `a.weight` in `imp` (at density 0.8: 2 runs)." in text
    assert text.count("a.weight") == 1


def test_a_layer_that_collapses_at_many_densities_is_told_once(tmp_path):
    at = {1: 1, 2: 3, 3: 2}
    levels = [
        *runs("dense", [100.0]),
        *(
            level(name, seed, index, 99, collapsed="a.weight" if seed < runs_ else "")
            for name in ("imp", "control")
            for index, runs_ in at.items()
            for seed in range(6)
        ),
    ]
    folder = save(tmp_path, levels, searches={"imp": IMP, "control": plan("Control", "imp")})
    write_report(folder)
    (told,) = [line for line in (folder / "report.md").read_text().splitlines() if "a.weight" in line]
    assert told == (
        "- Pruning would have taken the last weight of `a.weight` in `imp` (from density 0.8 on: 3 runs of a density "
        "at most)."
    )


def test_the_sparsest_typical_density_and_what_it_costs(tmp_path):
    """Ours is typical at its first density, after two levels; `free` at none, and `silent` does not say its cost."""
    levels = [
        *runs("dense", [100.0]),
        *(replace(row, spent=1000 * row.run.level) for row in runs("ours", [100.0, 20.0])),
        *(replace(row, spent=64) for row in runs("free", [20.0, 20.0])),
        *runs("silent", [100.0]),
    ]
    write_report(save(tmp_path, levels, searches=dict.fromkeys(("ours", "free", "silent"), IMP)))
    text = (tmp_path / "report.md").read_text()
    assert "| density | ours | free |\n| --- | ---: | ---: |\n| 0.8 | 2,000 | 1,064 |\n| 0.4 | 3,000 | 1,064 |" in text
    assert (
        "Sparsest density at which a search is typical: `ours` at 0.8 for 2,000 environment steps and `free` at none; "
        "`dense` takes 1,000."
    ) in text


def test_a_run_that_diverged_early_saves_nothing(tmp_path):
    levels = [replace(row, spent=1000) for row in [*runs("dense", [100.0]), *runs("imp", [100.0])]]
    levels[-1] = replace(levels[-1], timesteps=10, diverged=True)
    (search,) = Summary.read(save(tmp_path, levels)).searches
    assert [level.cost for level in search.levels] == [2_000]


def test_costs_that_nobody_told_are_not_told(tmp_path):
    write_report(save(tmp_path, typical()))
    assert "costs in all" not in (tmp_path / "report.md").read_text()


def birds(name):
    """A search that ends its own dense run early, and then has one level at IMP's third density."""
    stopped = [level(name, seed, 0, 40, timesteps=200 + 20 * (seed % 2)) for seed in range(6)]
    return stopped + [level(name, seed, 1, 97 + NOISE[seed], density=0.168) for seed in range(6)]


@pytest.mark.parametrize("name", ["early_bird", "eb", "imp"])
def test_early_bird_under_any_name_against_the_first_full_search(tmp_path, name):
    full = [row if row.run.search != "imp" else level("full", *row.run[1:3], row.mean_return) for row in typical()]
    searches = {name: IMP, "control": plan("Control", name), "full": IMP, "another": IMP}
    folder = save(tmp_path, [*full, *birds(name), *runs("another", [0.0])], searches=searches)
    summary = write_report(folder)
    (savings,) = summary.savings
    assert (savings.search, savings.full) == (name, "full")
    assert savings.saved == pytest.approx(0.79)
    assert savings.saved_in_all == pytest.approx(0.395)  # 790 of the 1000 dense steps and the 1000 of its one level
    assert savings.lost == (pytest.approx((0.168, 0.02)),)  # the full search is at this density at level 3, not 1
    bird = next(search for search in summary.searches if search.name == name)
    assert [found.level for found in bird.levels] == [1]  # the run stopped early is no ticket
    assert savings.sentence in (folder / "report.md").read_text()
    assert savings.sentence.startswith(f"`{name}` ended its dense runs after 210 of 1,000 environment steps")
    assert "saved 79 % of them, which is 39.5 % of the 2,000 steps" in savings.sentence
    assert "lost against `full`: +0.020 (at density 0.168)" in savings.sentence


def test_searches_are_typical_beside_each_other_at_densities_that_both_have_alone(tmp_path):
    """The control stands at the second density; the search is typical at the first alone."""
    at_second = [row for row in runs("random_reinit", [20.0, 100.0]) if row.run.level == 2]
    write_report(save(tmp_path, [*runs("dense", [100.0]), *runs("imp", [100.0, 20.0]), *at_second]))
    report = (tmp_path / "report.md").read_text()
    assert "| search | less | sparsest typical | densities |" in report
    assert "| imp | random_reinit | none / 0.4 | 1 |" in report


def test_early_bird_is_held_against_a_full_search_for_the_same_tickets_alone(tmp_path):
    """Tickets that a search drew along its own dense run, and another criterion's, are others."""
    drawn = [level("drawn", seed, 0, 100) for seed in range(6)]
    drawn += [replace(row, run=row.run._replace(variant="step8")) for row in runs("drawn", [0.0])]
    magnitude = plan("IMP", criterion="magnitude", rewind={"type": "Rewind", "at": 0})
    bird = plan("EarlyBirdIMP", **IMP["settings"], early_bird={"type": "EarlyBird", "every": 8}, at=[0.168])
    searches = {"drawn": plan("DrawnEarly", **IMP["settings"], at=[8], every=8), "magnitude": magnitude}
    levels = [*runs("dense", [100.0]), *drawn, *runs("magnitude", [0.0]), *birds("eb")]
    (savings,) = Summary.read(save(tmp_path / "a", levels, searches={**searches, "eb": bird})).savings
    assert (savings.search, savings.full) == ("eb", "")
    levels += [replace(row, density=0.168) for row in runs("lamp", [100.0])]
    (savings,) = Summary.read(save(tmp_path / "b", levels, searches={**searches, "eb": bird, "lamp": IMP})).savings
    assert (savings.full, savings.lost) == ("lamp", (pytest.approx((0.168, 0.03), abs=0.02),))


def test_a_dense_run_of_its_own_that_was_not_shortened_saves_nothing(tmp_path):
    own = [level("mine", seed, 0, 100) for seed in range(6)]
    assert Summary.read(save(tmp_path, [*typical(), *own, *runs("mine", [100.0])])).savings == ()


def test_savings_without_a_full_search_to_compare_with(tmp_path):
    (savings,) = Summary.read(save(tmp_path, [*runs("dense", [100.0]), *birds("eb")])).savings
    assert (savings.full, savings.lost) == ("", ())
    assert savings.sentence.endswith("would have taken.")


def test_problems_are_told_once(tmp_path):
    said = "ValueError: Expected parameter `logits` to be finite,\nbut found " + "nan, " * 90
    failed = {"diverged": True, "problem": said}
    levels = [
        *runs("dense", [100.0]),
        *(level("imp", seed, index, 99, **failed if seed < 2 else {}) for index in (1, 2) for seed in range(6)),
    ]
    folder = save(tmp_path, levels)
    write_report(folder)
    (note,) = [line for line in (folder / "report.md").read_text().splitlines() if "ValueError" in line]
    assert note.startswith(
        "- Training ended with `ValueError: Expected parameter 'logits' to be finite, but found nan, "
    )
    assert note.endswith("…` in `imp` at density 0.8 (2 runs) and `imp` at density 0.4 (2 runs).")


def test_variants_are_summed_up_apart(tmp_path):
    levels = [
        level("twins", seed, index, mean + NOISE[seed % 8], run=Run("twins", seed, index, variant))
        for variant, means in (("a", [100.0, 100.0]), ("b", [100.0, 50.0]))
        for index, mean in enumerate(means, start=1)
        for seed in range(SEEDS)
    ]
    folder = save(tmp_path, [*runs("dense", [100.0]), *levels], searches={"twins": plan("Mine")})
    summary = write_report(folder)
    matching = [(search.name, [each.density for each in search.matching]) for search in summary.searches]
    assert matching == [("twins:a", [0.8, 0.4]), ("twins:b", [0.8])]
    assert headline(summary) == (
        "Mine (twins:a) returns 0.25 [0.25, 0.25] more than twins:b (p < 0.001) (normalised return, mean over 2 "
        "densities, 48 seeds paired). Against dense it matches at every tested density, 0.8 and 0.4 (48 seeds against "
        "48 dense runs)."
    )
    assert len(scalars(folder / "tensorboard" / "summary" / "twins" / "b", "by_level/density")) == 3  # with dense


# -- sentences -----------------------------------------------------------------------------------------------


def test_headline_says_contrasts_first_and_then_where_it_matches(toy):
    assert headline(Summary.read(toy)) == (
        "IMP (imp) returns 0.28 [0.28, 0.28] more than random_reinit (p < 0.001) (normalised return, mean over 4 "
        "densities, 48 seeds paired). Against dense it matches at densities 0.8, 0.4 and 0.168 (48 seeds against 48 "
        "dense runs)."
    )


SPREAD = (40.0, -40.0, 38.0, -38.0)


def scattered(search, seeds):
    """At level 1, around 100 but far."""
    return [level(search, seed, 1, 100.0 + SPREAD[seed % 4]) for seed in range(seeds)]


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (
            runs("imp", [90.0], 20) + scattered("random_reinit", 20) + runs("permuted_mask", [10.0], 20),
            "IMP (imp) returns 0.80 [0.80, 0.80] more than permuted_mask (p < 0.001) and is not shown to differ from "
            "random_reinit (-0.099 [-0.288, +0.089], p = 0.28) (normalised return, 20 seeds paired, p adjusted for "
            "all). Against dense it matches at no tested density, where an agent exactly as good at it is missed in up "
            "to 100 %.",
        ),
        (
            runs("imp", [50.0]) + runs("imp_late", [100.0]) + runs("permuted_mask", [70.0]),
            "IMP (imp) returns 0.20 [0.20, 0.20] less than permuted_mask (p < 0.001) (normalised return, 48 seeds "
            "paired). Against dense it matches at no tested density, where an agent exactly as good at it is missed in "
            "up to 0 %.",
        ),
        (
            runs("mine", [100.0, 100.0]) + runs("other", [90.0, 90.0], 20) + runs("zero", [100.0, 100.0], seeds=3),
            "mine returns 0.10 [0.10, 0.10] more than other (p < 0.001) (normalised return, mean over 2 densities, 20 "
            "seeds paired, p adjusted for all); too few seeds to set it apart from zero (+0.000 [+0.000, +0.000]). "
            "Against dense it matches at every tested density, 0.8 and 0.4 (48 seeds against 48 dense runs).",
        ),
        (
            runs("mine", [100.0], 20) + runs("zero", [90.0], seeds=1),
            "Too few seeds (1) to set mine apart from zero (+0.100). Against dense it is typical at density 0.8 and "
            "has too few seeds for a match (20 of at least 25).",
        ),
        (
            runs("mine", [100.0, 100.0, 50.0], 20),
            "mine is typical at densities 0.8 and 0.4, has too few seeds for a match there (20 of at least 41) and "
            "matches at no other.",
        ),
        (runs("mine", [100.0]), "mine matches at density 0.8 (48 seeds against 48 dense runs)."),
        ([], "Only dense agents were trained: they return 100.0 over 48 seeds."),
    ],
)
def test_headlines(tmp_path, levels, expected):
    # The first search of the experiment speaks, wherever its name comes in the alphabet and its controls in the list.
    searches = {
        "permuted_mask": plan("Control", "imp"),
        "imp": IMP,
        "imp_late": IMP,
        "random_reinit": plan("Control", "imp"),
    }
    folder = save(tmp_path, [*runs("dense", [100.0]), *levels], searches=searches)
    assert headline(Summary.read(folder)) == expected


def test_headline_begins_with_the_first_search_that_is_no_control(tmp_path):
    levels = [*runs("dense", [100.0]), *runs("zz", [100.0]), *runs("imp", [100.0]), *runs("aa", [100.0])]
    searches = {"aa": plan("Control", "zz"), "zz": plan("Spinning"), "imp": IMP}
    summary = Summary.read(save(tmp_path, levels, searches=searches))
    assert [search.name for search in summary.searches] == ["aa", "zz", "imp"]  # tables keep the experiment's order
    assert summary.colours == ("zz", "imp", "aa")
    assert headline(summary).startswith("Spinning (zz) is not shown to differ from aa (")


def test_headline_doubts_a_scale_that_dense_runs_scatter_over(tmp_path):
    dense = [level("dense", seed, 0, score) for seed, score in enumerate((10.0, 90.0) * 5)]
    told = headline(Summary.read(save(tmp_path, [*dense, *runs("imp", [50.0], 10)], random_return=RANDOM)))
    assert told.endswith(
        " Normalised returns mean little here: dense agents return 50.00 more than a random policy, and differ among "
        "themselves by 42.16 (standard deviation)."
    )


def test_levels_of_one_density_have_rows_of_their_own(tmp_path):
    """Where pruning stalled, no level hides another."""
    stalled = [replace(row, density=0.8) for row in runs("imp", [100.0, 90.0], 5)]
    other = [replace(row, density=0.8) for row in runs("random_reinit", [80.0, 60.0], 5)]
    levels = [*runs("dense", [100.0], 5), *stalled, *other]
    folder = save(tmp_path, levels, searches=SEARCHES)
    write_report(folder)
    text = (folder / "report.md").read_text()
    assert re.search(r"^\| 0\.8 \| .*\+0\.200.*\n\| 0\.8 \| .*\+0\.300", text, re.MULTILINE)


def test_one_seed_gives_values_and_no_verdict(tmp_path):
    folder = save(tmp_path, typical(seeds=1), others=extras(seeds=1), searches=SEARCHES)
    summary = write_report(folder)
    assert summary.dense.returned_interval is None
    assert headline(summary) == (
        "Too few seeds (1) to set IMP (imp) apart from random_reinit (+0.276). Against dense it has too few seeds for "
        "a match (1 of at least 46 and 1 of at least 10 dense)."
    )
    few = "too few seeds"
    line = f"| imp | 0.4 | 60 % | 1 | 101.0 | 1.01 | +0.010 | – | {few} | 0 of 1 | +73.0 | {few} | {few} |"
    assert line in (folder / "report.md").read_text()
    assert f"| imp | random_reinit | {few} / {few} | 4 | 1 | +0.276 | – | {few} |" in (folder / "report.md").read_text()


def test_no_verdict_where_dense_learned_nothing(tmp_path):
    folder = save(tmp_path, [*runs("dense", [10.0]), *runs("imp", [10.0])], random_return=12.0)
    assert headline(write_report(folder)) == (
        "No verdict: the dense agents are no better than a random policy (mean return: dense 10.00, random 12.00)."
    )
    assert Summary.read(folder).searches[0].levels[0].verdicts == ("–", "–", "–")
    assert Summary.read(folder).contrasts == ()


def test_no_verdict_without_a_random_return(tmp_path):
    folder = save(tmp_path, [*typical(), level("imp", 99, 1, math.nan)], random_return=None)
    summary = write_report(folder)
    assert "settings.random_return" in headline(summary)
    assert summary.dense.normalised is None
    assert len(summary.searches[0].levels[0].scores) == SEEDS  # left out, and the notes say so
    assert "without a finite return, left out" in (folder / "report.md").read_text()


def test_report_and_table_say_the_same(toy):
    text = (toy / "report.md").read_text()
    row = "| imp | 0.168 | 83 % | 48 | 99.00 [98.82, 99.18] | 0.99 [0.99, 0.99] | -0.010 | -0.012 | yes "
    assert f"{row}| 0 of 48 | +5.3 | yes | yes |" in text
    assert "| imp | random_reinit | 0.168 / 0.8 | 4 | 48 | +0.276 [+0.276, +0.276] | < 0.001 | < 0.001 |" in text
    assert "| 0.168 | **+0.490 [+0.490, +0.490]** |" in text
    assert text.startswith("# Toy\n\n**IMP (imp) returns 0.28")
    assert "- `imp`: IMP(criterion=lamp, rewind=Rewind(at=0))\n" in text
    assert text.endswith("Made by\n\n```\npython scripts/toy.py --seeds 6\n```\n")
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(Summary.read(toy)))
    shown = console.export_text()
    assert " imp 0.168 99.00 [98.82, 99.18] 0/48 yes yes yes" in " " + " ".join(shown.split())
    assert " ".join(headline(Summary.read(toy)).split()) in " ".join(shown.split())
    assert "…" not in shown


def test_a_verdict_that_the_bound_alone_would_give_says_its_p(tmp_path):
    # Alone, -0.041 or more is above the margin; as one of four it is not far enough above.
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 5, SEEDS)
    noise -= noise.mean()
    levels = [level("dense", seed, 0, 100 + noise[seed]) for seed in range(SEEDS)]
    levels += [
        level("imp", seed, index, (97.0 if index == 1 else 60.0) + noise[seed], density=0.9**index)
        for index in range(1, 5)
        for seed in range(SEEDS)
    ]
    folder = save(tmp_path, levels)
    found = write_report(folder).searches[0].levels[0].comparison
    assert found.lower > -found.margin
    assert 0.05 < found.p_typical < 0.4
    assert (
        f"| no (p = {found.p_typical:.{2 if found.p_typical >= 0.1 else 3}f}) |" in (folder / "report.md").read_text()
    )


def test_the_report_says_what_power_its_seeds_have(tmp_path):
    text = (write_report(save(tmp_path, typical(20), searches=SEARCHES)).folder / "report.md").read_text()
    assert (
        "with 20 seeds against 20 dense runs, an agent exactly as good as dense at one of 4 densities, all tested "
        "together, is found typical in 100 % of experiments, reliable in 0 %, and matching in 0 %; 80 % takes about 46 "
        "seeds, and five times as many dense."
    ) in text


def test_numbers_as_people_read_them():
    assert [plain(value) for value in (1.0, 0.4096, 0.16777, 0.00424, 0.0999999)] == [
        "1",
        "0.41",
        "0.168",
        "0.00424",
        "0.1",
    ]
    assert [sparsity(value) for value in (1.0, 0.168, 0.05, 0.0042, 0.0005)] == [
        "0 %",
        "83 %",
        "95 %",
        "99.6 %",
        "99.95 %",
    ]
    assert [number(value) for value in (12345.678, -1.234, 0.1234, math.nan)] == [
        "12,345.7",
        "-1.23",
        "0.123",
        "nan",
    ]


def test_the_axis_tells_actor_and_critic_apart_where_they_are_known(tmp_path):
    split = {"effective_density": 0.5, "effective_actor_density": 0.031, "effective_critic_density": 0.72}
    tickets = [level("imp", seed, 1, 99 + NOISE[seed], density=0.4, **split) for seed in range(6)]
    summary = Summary.read(save(tmp_path / "known", [*runs("dense", [100.0]), *tickets]))
    figure = return_against_density(summary)
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[-1].get_xticklabels()]
    assert labels == ["1\n1\n1", "0.4\n0.031\n0.72"]
    assert figure.axes[-1].get_xlabel() == "density; on a path: imp's actor, and critic"
    unknown = Summary.read(save(tmp_path / "unknown", [*runs("dense", [100.0]), *runs("imp", [99.0])]))
    assert return_against_density(unknown).axes[-1].get_xlabel() == "density"


# -- files ---------------------------------------------------------------------------------------------------


def test_two_calls_give_the_same_bytes(toy, tmp_path):
    names = [
        "report.md",
        "contrasts.png",
        "return_vs_density.png",
        "learning_curves.png",
        "layer_density.png",
        "early_bird.png",
    ]
    first = {name: (toy / name).read_bytes() for name in names}
    assert all(f"]({name})" in first["report.md"].decode() for name in names[1:])
    write_report(toy)
    assert {name: (toy / name).read_bytes() for name in names} == first
    assert not [path for path in toy.iterdir() if path.name.startswith(".")]


def test_an_index_tells_every_report_with_its_sentence_and_command(tmp_path):
    for name in ("b", "a"):
        write_report(save(tmp_path / name, typical(seeds=2)))
    append_rows(tmp_path / "a", [TimingRow(Run("imp", seed, 1), 41.0, "here") for seed in range(3)])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "report.md").write_text("# Other\n\nMade by `python other.py`.\n\n![Plot](plot.png)\n")
    text = write_index(tmp_path).read_text()
    assert re.findall(r"^## \[(\w)\]\(\1/report.md\)$", text, re.MULTILINE) == ["a", "b", "c"]
    assert text.count(headline(Summary.read(tmp_path / "a"))) == 2
    assert text.count("![What it returns more than its controls](a/contrasts.png)") == 1
    assert re.findall(r"^Training and .+$", text, re.MULTILINE) == [
        "Training and evaluation took 3 minutes of one process in all."
    ]
    assert "Training and" not in (tmp_path / "a" / "report.md").read_text()
    assert text.endswith("## [c](c/report.md)\n\n![Plot](c/plot.png)\n\n```\npython other.py\n```\n")
    with pytest.raises(ValueError, match=r"holds no results folder with a report\.md"):
        write_index(tmp_path / "a")


def test_plots_only_of_what_there_is(tmp_path):
    write_report(save(tmp_path, typical(seeds=2)))
    assert {path.name for path in tmp_path.glob("*.png")} == {"return_vs_density.png", "contrasts.png"}


def test_no_plot_of_a_single_point(tmp_path):
    save(tmp_path, runs("dense", [100.0]), others=[curve(Run("dense", seed, 0), (1000,)) for seed in range(6)])
    (tmp_path / "return_vs_density.png").write_bytes(b"of an older report")
    write_report(tmp_path)
    assert not list(tmp_path.glob("*.png"))
    assert "![" not in (tmp_path / "report.md").read_text()


def test_plots_have_a_palette_and_white_paper(toy):
    for path in toy.glob("*.png"):
        with Image.open(path) as image:
            assert image.mode == "P"
            assert image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_looks_follow_the_place_in_the_experiment():
    names = [f"search_{index}" for index in range(30)]
    found = by_place(names)
    assert len(set(list(found.values())[:24])) == 24
    assert by_place(names[:3]) == {name: found[name] for name in names[:3]}  # what comes behind changes nothing


def test_density_axis_runs_from_dense_to_sparse_in_plain_numbers(toy):
    figure = return_against_density(Summary.read(toy))
    facet, failures = figure.axes
    for axes in figure.axes:
        left, right = axes.get_xlim()
        assert left > 1
        assert right < 0.1
        labels = [axes.xaxis.get_major_formatter()(place) for place in axes.get_xticks()]
        assert labels == ["1", "0.8", "0.4", "0.17", "0.1"]
    assert facet.get_title(loc="left") == "against random_reinit"
    drawn = [list(line.get_ydata()) for line in failures.get_lines()]
    assert drawn[0] == [0.0, 0.0]  # of dense
    assert drawn[1:] == [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 18 / 48, 1.0]]


def test_every_seed_is_a_dot_and_every_failure_a_cross(toy):
    facet = return_against_density(Summary.read(toy)).axes[0]
    dots = [len(each.get_offsets()) for each in facet.collections if isinstance(each, PathCollection)]
    assert dots == [48, 0, 48, 0, 48, 0, 48, 0, 48, 0, 48, 0, 30, 18, 0, 48]


def test_facets_stand_in_order(tmp_path):
    names = ["imp", "other", "control", "controls_control"]
    levels = [*runs("dense", [100.0], 5), *(row for name in names for row in runs(name, [100.0, 90.0], 5))]
    searches = {
        "imp": IMP,
        "other": IMP,
        "controls_control": plan("Control", "other"),
        "control": plan("Control", "imp"),
    }
    figure = return_against_density(Summary.read(save(tmp_path, levels, searches=searches)))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == [
        "against control",
        "against other",
        "other against controls_control",
        "runs that fail (below 0.5)",
    ]


def test_a_search_alone_has_a_panel(tmp_path):
    figure = return_against_density(Summary.read(save(tmp_path, [*runs("dense", [100.0]), *runs("imp", [99.0])])))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["imp", "runs that fail (below 0.5)"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "experiment.json").unlink(), ["no experiment.json", "scripts/cartpole.py"]),
        (
            lambda folder: (folder / "experiment.json").write_text("{"),
            ["experiment.json cannot be read", "run the"],
        ),
        (
            lambda folder: (folder / "experiment.json").write_text("[]"),
            ["experiment.json holds no JSON object"],
        ),
        (lambda folder: (folder / "levels.csv").unlink(), ["levels.csv has no level 0 of search 'dense'"]),
        (lambda folder: (folder / "levels.csv").write_text(""), ["levels.csv has no level 0", "let the"]),
        (
            lambda folder: (folder / "levels.csv").write_bytes(b"\xff\xfe\x00"),
            ["levels.csv cannot be read as CSV"],
        ),
        (lambda folder: _replace(folder, "0.8", "much"), ["levels.csv, line", "'much'", "restore the file"]),
        (lambda folder: _replace(folder, "\nimp,1,", "\nimp,0,"), ["'imp', seed 0, level 1 twice", "delete"]),
        (
            lambda folder: _replace(folder, "imp,1,2,,0.4,101.5,", "imp,1,2,,0.4,101.50000000000001,"),
            ["search 'imp', seed 1, level 2 with a mean return of 101.50000000000001", "have the mean 101.5"],
        ),
        (lambda folder: _replace(folder, "imp,1,2,,", "imp,1,9,,"), ["'imp', seed 1, level 9", "not its returns"]),
        (lambda folder: (folder / "returns.csv").unlink(), ["'dense', seed 0, level 0", "not its returns"]),
        (lambda folder: _replace(folder, "imp,1,2,,", "imp,1,2,"), ["levels.csv, line", "restore the file"]),
    ],
)
def test_refusals_name_the_file_and_the_way_out(tmp_path, spoil, words):
    folder = save(tmp_path, typical(seeds=2))
    spoil(folder)
    with pytest.raises(ValueError, match=str(folder)) as raised:
        write_report(folder)
    assert all(word in str(raised.value) for word in words), str(raised.value)
    assert not (folder / "report.md").exists()


def _replace(folder, old, new):
    path = folder / "levels.csv"
    path.write_text(path.read_text().replace(old, new))


def test_missing_folder(tmp_path):
    with pytest.raises(ValueError, match="is not a results folder"):
        write_report(tmp_path / "nowhere")


# -- TensorBoard ---------------------------------------------------------------------------------------------


def test_summary_runs_have_the_level_on_the_x_axis(toy):
    folder = toy / "tensorboard" / "summary"
    assert scalars(folder / "imp", "by_level/density") == [
        (index, pytest.approx(density)) for index, density in DENSITY.items()
    ]
    assert scalars(folder / "imp", "by_level/eval_return")[0] == (0, pytest.approx(100.0, abs=0.2))  # of dense
    assert scalars(folder / "dense", "by_level/eval_return") == [(0, pytest.approx(100.0, abs=0.2))]
    assert scalars(folder / "random_reinit", "by_level/mask_distance")[1] == (1, pytest.approx(0.2))
    write_report(toy)
    assert len(list((folder / "imp").iterdir())) == 1  # replaced, not added to


def test_level_in_tensorboard(tmp_path):
    (tmp_path / "events.out.tfevents.1.sb3").write_bytes(b"")
    masks = {
        "first": np.array([[True, False, True], [False, False, True]]),
        "dead": np.zeros((2, 2), dtype=bool),
        "wild": np.ones(3, dtype=bool),
    }
    weights = {
        "first": np.arange(6.0).reshape(2, 3),
        "dead": np.ones((2, 2)),
        "wild": np.array([1.0, np.nan, 2]),
    }
    for density in (0.9, 0.5):
        write_level(
            tmp_path,
            step=1000,
            density=density,
            mask_distance=0.25,
            eval_return=42.0,
            masks=masks,
            weights=weights,
        )
    assert len(list(tmp_path.iterdir())) == 2  # the second took the place of the first, SB3's stayed
    events = EventAccumulator(str(tmp_path)).Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found == {
        "ticket/density": [(1000, 0.5)],
        "ticket/mask_distance": [(1000, 0.25)],
        "ticket/eval_return": [(1000, 42.0)],
        "ticket/layer_density/first": [(1000, 0.5)],
        "ticket/layer_density/dead": [(1000, 0.0)],
        "ticket/layer_density/wild": [(1000, 1.0)],
    }
    assert events.Tags()["histograms"] == ["ticket/kept/first"]
    kept = events.Histograms("ticket/kept/first")[0].histogram_value
    assert (kept.num, kept.min, kept.max, kept.sum) == (3, 0.0, 5.0, 7.0)
    image = events.Images("ticket/input_mask")[0]
    assert (image.height, image.width) == (201, 600)


def test_picture_of_a_mask():
    mask = np.array([[True, False], [True, True]])  # the second input's first weight is gone
    pixels = picture(mask)
    assert pixels.shape == (200, 600)
    assert (pixels[:100] == 255).all()
    assert (pixels[100:, :300] == 0).all()
    assert (pixels[100:, 300:] == 255).all()
    assert picture(np.ones((32, 4, 8, 8), dtype=bool)).shape == (256, 608)
    assert picture(np.ones((300, 5), dtype=bool)).shape == (200, 600)
    assert picture(np.ones(7, dtype=bool)).shape == (203, 600)


# -- two folders ---------------------------------------------------------------------------------------------


def test_folders_side_by_side(tmp_path):
    one = save(tmp_path / "one", [*runs("dense", [100.0], 6), *runs("imp", [100.0, 90.0], 6), *runs("mine", [1.0], 6)])
    scaled = [*runs("dense", [1100.0], 5), *runs("imp", [1100.0, 600.0], 5), *runs("yours", [1.0], 5)]
    two = save(tmp_path / "two", scaled, random_return=100.0)
    lines = compare_folders(one, two).splitlines()
    assert lines[:2] == [f"A = {one}", f"B = {two}"]
    rows = {tuple(line.split()[:2]): line.split() for line in lines[5:8]}
    assert set(rows) == {("dense", "0"), ("imp", "1"), ("imp", "2")}
    assert rows["imp", "2"][2:5] == ["0.4", "0.4", "0.90"]
    assert "0.50" in rows["imp", "2"]
    assert rows["imp", "2"][-2:] == ["6/5", "1.00"]
    assert len({len(line) for line in lines[3:8]}) == 1


def test_folders_with_nothing_in_common(tmp_path):
    one = save(tmp_path / "one", [*runs("dense", [100.0]), *runs("imp", [100.0])])
    two = save(tmp_path / "two", [*runs("dense", [100.0]), *runs("mine", [100.0])])
    with pytest.raises(ValueError, match="share no search and level"):
        compare_folders(one, two)
    flat = save(tmp_path / "flat", [*runs("dense", [0.0]), *runs("imp", [0.0])], random_return=5.0)
    with pytest.raises(ValueError, match="flat cannot be compared, for the dense agents are no better"):
        compare_folders(one, flat)


def test_public_names():
    assert all(hasattr(report, name) for name in report.__all__)


def test_a_table_has_as_many_cells_in_a_row_as_heads_and_bars_in_cells_part_nothing() -> None:
    assert markdown_table(("a", "b", ""), [("x|y", "1", "z")], words=(0, -1)).splitlines() == [
        "| a | b |  |",
        "| --- | ---: | --- |",
        "| x/y | 1 | z |",
    ]
    with pytest.raises(ValueError, match=r"a row of 1 cells, \('x',\), below 2 heads, \('a', 'b'\)"):
        markdown_table(("a", "b"), [("x",)])


def test_trainings_that_ended_before_the_budget_are_told(tmp_path):
    levels = [*runs("dense", [100.0]), *runs("imp", [100.0, 90.0]), level("early", 0, 0, 100.0, timesteps=400)]
    levels[:2] = [replace(row, timesteps=steps) for row, steps in zip(levels, (200, 300), strict=False)]
    searches = {"imp": IMP, "early": plan("IMP"), "late": plan("IMP")}
    summary = Summary.read(save(tmp_path, levels, total_timesteps=1000, searches=searches))
    late = [replace(row, timesteps=900 - 100 * (row.run.seed == 0)) for row in runs("late", [90.0])]
    told = Summary.read(save(tmp_path / "late", [*levels, *late], total_timesteps=1000, searches=searches)).ended_early
    assert told[1].startswith(f"`late`: 1 of {SEEDS} runs ended before the budget, after 800 environment steps")
    assert summary.ended_early == (
        f"`dense`: 2 of {SEEDS} runs ended before the budget, after 250 environment steps on average: what is compared "
        "was not trained equally long.",
    )
    assert f"- {summary.ended_early[0]}" in (write_report(tmp_path).folder / "report.md").read_text()
