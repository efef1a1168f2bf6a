"""What an experiment may be, which levels it has, and what scaling it keeps."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from tiny import PPO_EXPERIMENT, make_env, make_ppo

import rl_tickets as rt
from rl_tickets.search.plan import DENSE, Dense
from rl_tickets.training.requests import Name

SEARCHES = {
    "imp": rt.IMP(),
    "late": rt.IMP(rewind=rt.Rewind(at=2_000), densities=(1.0, 0.1)),
    "reinit_late": rt.Control(rt.random_reinit, of="late"),
    "early_bird": rt.IMP(early_bird=rt.EarlyBird(every=500, after=1_000)),
}
experiment = partial(
    rt.Experiment,
    name="plan",
    make_model=make_ppo,
    make_env=make_env,
    total_timesteps=10_000,
    densities=(1.0, 0.5, 0.25, 0.1),
    searches=SEARCHES,
)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"densities": (1.0, 1.5)}, r"density must be in \(0, 1\], got 1.5"),
        ({"densities": (1.0, 0.0)}, r"density must be in \(0, 1\], got 0.0"),
        ({"densities": (0.5, 0.2)}, "must start at 1.0"),
        ({"densities": (1.0, 0.2, 0.5)}, "must decrease strictly"),
        ({"densities": ()}, "must start at 1.0"),
        ({"total_timesteps": 0}, "total_timesteps must be a whole number of at least 1, got 0"),
        ({"total_timesteps": 1e5}, "total_timesteps must be a whole number of at least 1, got 100000.0"),
        ({"episodes": 0}, "episodes must be a whole number of at least 1, got 0"),
        ({"segment": 0}, "segment must be a whole number of at least 1, got 0"),
        ({"warmup": -1}, "warmup must be a whole number of at least 0, got -1"),
        ({"evaluation_seed": -5}, "evaluation_seed must be a whole number of at least 0, got -5"),
        ({"margin": -0.1}, "margin must be a finite normalised score of at least 0, got -0.1"),
        ({"margin": float("nan")}, "margin must be"),
        ({"seeds": 0}, "seeds must be a positive number or different integers"),
        ({"seeds": (1, 1)}, r"different integers from 0 on, got \(1, 1\)"),
        ({"seeds": (-1, 2)}, "different integers from 0 on"),
        ({"name": ""}, "name must be a plain folder name"),
        ({"name": "a/b"}, "name must be a plain folder name, got 'a/b'"),
        ({"name": ".."}, "name must be a plain folder name"),
        ({"searches": {"dense": rt.IMP()}}, "a search cannot be called 'dense'"),
        ({"searches": {"my search": rt.IMP()}}, "cannot be called 'my search'"),
        ({"searches": {"../x": rt.IMP()}}, "cannot be called"),
        (
            {"searches": {"imp": rt.IMP(rewind=rt.Rewind(at=10_000))}},
            "rewind point 10000 is beyond the budget of 10000",
        ),
        ({"searches": {"imp": rt.IMP(densities=(1.0, 2.0))}}, "density must be"),
        (
            {"searches": {**SEARCHES, "x": rt.Control(rt.random_mask, at=(0.3,))}},
            r"search 'x': a control at density 0\.3, at which 'imp' has no ticket: ",
        ),
        (
            {
                "densities": (1.0, 0.5, 0.1),
                "searches": {
                    "cheap": rt.EarlyBirdIMP(early_bird=rt.EarlyBird(every=100), at=(0.1,)),
                    "x": rt.Control(rt.random_mask, of="cheap", at=(0.5,)),
                },
            },
            r"search 'x': a control at density 0\.5, at which 'cheap' has no ticket: 0\.1$",
        ),
        ({"dense_seeds": [1, 2, 3], "seeds": [1, 4]}, r"dense_seeds must have the 2 of seeds among them"),
        ({"dense_seeds": 2, "seeds": 3}, r"dense_seeds must have the 3 of seeds among them"),
        ({"dense_seeds": [0, 0, 1], "seeds": 1}, "dense_seeds must be a positive number or different integers"),
        ({"random_episodes": 0}, "random_episodes must be a whole number of at least 1, got 0"),
        ({"failed_below": 1.0}, r"failed_below must be a normalised score in \(0, 1\), got 1\.0"),
        ({"searches": {"x": rt.Control(rt.random_reinit)}}, "search 'x': a control of 'imp', which is no search here"),
        (
            {"searches": {**SEARCHES, "x": rt.Control(rt.random_mask, of="reinit_late")}},
            "no search here; choose from: imp, late, early_bird",
        ),
        (
            {"searches": {"bird": rt.IMP(early_bird=rt.EarlyBird(every=100), densities=(1.0,))}},
            "early-bird needs the density of its masks",
        ),
    ],
)
def test_an_impossible_setting_is_refused_at_once(setting: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        experiment(**setting)


def test_numbers_that_numpy_counted_are_numbers() -> None:
    counted: dict[str, Any] = {"seeds": np.int64(2), "dense_seeds": np.int64(4), "total_timesteps": np.int32(10_000)}
    counted |= {"segment": np.int64(500), "evaluation_seed": np.int64(7)}
    plain = experiment(seeds=2, dense_seeds=4, total_timesteps=10_000, segment=500, evaluation_seed=7)
    assert experiment(**counted).all_seeds == (0, 1)
    assert json.dumps(experiment(**counted).settings()) == json.dumps(plain.settings())


def test_trainings_are_those_a_search_trains_itself() -> None:
    plan = experiment()
    found = {name: [n.level for n in each.trainings(plan.setup(0))] for name, each in plan.plans.items()}
    assert found[DENSE] == [0]
    assert found["imp"] == [1, 2, 3]
    assert found["late"] == found["reinit_late"] == [1]
    assert found["early_bird"] == [0, 1, 2, 3], "early-bird shortens its own dense run"


def test_controls_stand_at_chosen_densities_alone() -> None:
    some = rt.Control(rt.random_mask, at=[0.1])
    own = rt.Control(rt.random_mask, of="late", at=(0.1,))
    plan = experiment(searches={**SEARCHES, "some": some, "own": own}, densities=(1.0, 0.5, 0.1, 0.05))
    assert plan.plans["some"].trainings(plan.setup(0)) == (Name(2),)
    assert plan.plans["own"].trainings(plan.setup(0)) == (Name(1),), "of the densities of the search itself"
    assert some.settings()["at"] == [0.1]
    assert "at" not in rt.Control(rt.random_mask).settings()


def test_boundaries_are_the_grid_of_segments_whatever_is_searched() -> None:
    assert experiment().boundaries == (0,)
    assert experiment(segment=3_000).boundaries == (0, 3_000, 6_000, 9_000)
    assert experiment().plans[DENSE] == Dense(keep_at=(0, 2_000))


def test_exact_rewind_points_move_to_the_grid_and_it_is_said() -> None:
    exact = {"exact": rt.IMP(rewind=rt.Rewind.exact(at=2_000))}
    assert experiment(searches=exact, segment=1_000).on_grid().searches == exact
    with pytest.warns(rt.RewindWarning, match="exact rewinding to step 2000 needs a cut .* the next one, at step 3000"):
        moved = experiment(searches=exact, segment=3_000).on_grid().searches["exact"]
    assert moved == rt.IMP(rewind=rt.Rewind.exact(at=3_000))
    with pytest.raises(ValueError, match=r"the last is at step 0; choose Experiment\(segment=...\)"):
        experiment(searches=exact).on_grid()


def test_seeds_are_a_number_or_a_list() -> None:
    assert experiment(seeds=3).all_seeds == (0, 1, 2)
    assert experiment(seeds=[7, 3]).all_seeds == (7, 3)


def test_a_seeds_place_depends_on_those_before_it_experiment() -> None:
    assert experiment(seeds=5, dense_seeds=5).groups == ((0, 1, 2, 3, 4),)
    assert experiment(seeds=5, dense_seeds=7).groups == ((0, 1, 2, 3, 4), (5, 6, None, None, None))
    assert experiment(seeds=10, dense_seeds=10).groups == ((0, 1, 2, 3, 4), (5, 6, 7, 8, 9))
    assert experiment(seeds=[5, 3, 9], dense_seeds=[5, 3, 9]).groups == ((5, 3, 9, None, None),)
    assert experiment(seeds=3, dense_seeds=3, trainer=rt.Plain()).groups == ((0,), (1,), (2,))
    assert experiment(seeds=4, dense_seeds=4, trainer=rt.Cohorts(seeds=3)).groups == ((0, 1, 2), (3, None, None))


def test_dense_runs_are_five_for_each_seed_and_those_of_the_searches_among_them() -> None:
    assert experiment(seeds=3).pool == tuple(range(15))
    assert experiment(seeds=4).pool[:15] == experiment(seeds=3).pool, "more seeds, and no place changes"
    assert experiment(seeds=[2, 7]).pool == (2, 7, 0, 1, 3, 4, 5, 6, 8, 9)
    assert experiment(seeds=2, dense_seeds=[5, 1, 0]).pool == (5, 1, 0)
    assert experiment(seeds=2).seeds_of(DENSE) == tuple(range(10))
    assert experiment(seeds=2).seeds_of("imp") == (0, 1)
    assert experiment(seeds=2).count - experiment(seeds=2, dense_seeds=2).count == 8


def test_scaling_keeps_fractions_of_the_budget() -> None:
    scaled = experiment(warmup=500).scaled(1_000)
    assert (scaled.total_timesteps, scaled.warmup) == (1_000, 50)
    late, bird = scaled.searches["late"], scaled.searches["early_bird"]
    assert isinstance(late, rt.IMP)
    assert isinstance(bird, rt.IMP)
    assert bird.early_bird is not None
    assert (late.rewind.at, bird.early_bird.every, bird.early_bird.after) == (200, 50, 100)
    assert late.densities == (1.0, 0.1)
    assert scaled.searches["reinit_late"] == SEARCHES["reinit_late"]
    in_rollouts = experiment().scaled(1_000, rollout=256).searches["late"]
    assert isinstance(in_rollouts, rt.IMP)
    assert in_rollouts.rewind.at == 256, "as training would round it up"
    tiny = experiment().scaled(1)
    assert tiny.plans[DENSE] == Dense(keep_at=(0,))
    assert experiment().scaled(10_000) == experiment()


@pytest.mark.parametrize(
    "change",
    [
        {"criterion": rt.magnitude},
        {"scope": "layer"},
        {"rewind": rt.Rewind(at=5)},
        {"rewind": rt.Rewind(at=0, optimizer=False)},
        {"rewind": rt.FineTuning(at=0)},
        {"keep_last": False},
        {"densities": (1.0, 0.3)},
        {"early_bird": rt.EarlyBird(every=10)},
    ],
)
def test_settings_tell_every_choice_of_a_search_apart(change: dict[str, Any]) -> None:
    changed = experiment(searches={"imp": rt.IMP(**change)}).settings()
    assert changed != experiment(searches={"imp": rt.IMP()}).settings()
    assert json.loads(json.dumps(changed)) == changed


def test_a_cohort_has_members() -> None:
    with pytest.raises(ValueError, match="a cohort needs at least 1 seed, got 0"):
        rt.Cohorts(seeds=0)


def test_settings_tell_how_agents_are_trained() -> None:
    told = [experiment(trainer=trainer).settings()["trainer"] for trainer in (rt.Plain(), rt.Cohorts(), rt.Cohorts(2))]
    assert told == [{"type": "Plain"}, {"type": "Cohorts", "seeds": 5}, {"type": "Cohorts", "seeds": 2}]


def test_settings_do_not_change_with_what_cannot_change_results() -> None:
    again = replace(PPO_EXPERIMENT, command="python other.py", keep="none")
    assert again.settings() == PPO_EXPERIMENT.settings()
    assert replace(PPO_EXPERIMENT, callback=None).settings() != PPO_EXPERIMENT.settings(), "callbacks may change it"
