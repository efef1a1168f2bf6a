"""An experiment on disk: rows, tickets and event files that fit together, refused changes, survived divergence."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import DQN, PPO, TD3, HerReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_cohort import NOT_TRPO
from tiny import DQN_EXPERIMENT, PPO_EXPERIMENT, assert_same, contents, counted, make_ppo

import rl_tickets as rt
from rl_tickets.agents.describing import describe_agent
from rl_tickets.lab import preparing
from rl_tickets.lab.experiment import Experiment
from rl_tickets.lab.store import Store
from rl_tickets.report.rows import Run
from rl_tickets.report.tables import read_layers, read_levels, read_series, read_timings

ALL = replace(
    PPO_EXPERIMENT,
    searches={
        **PPO_EXPERIMENT.searches,
        "random_mask": rt.Control(rt.random_mask),
        "permuted_mask": rt.Control(rt.permuted_mask, of="late"),
    },
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parent of the results of a whole experiment; run in this process, where a warning is an error."""
    out = tmp_path_factory.mktemp("lab")
    rt.run(ALL, jobs=1, out=out)
    return out


@pytest.fixture
def copied(out: Path, tmp_path: Path) -> Path:
    """The same in a place of its own."""
    shutil.copytree(out / "tiny", tmp_path / "tiny")
    return tmp_path


def ticket(folder: Path, search: str, level: int, seed: int = 0) -> rt.Ticket:
    return rt.Ticket.load(Store(folder).ticket(Run(search, seed, level)))


def trainings(experiment: rt.Experiment) -> list[Run]:
    """Every training that an experiment is to leave."""
    setups = {seed: experiment.setup(seed) for seed in experiment.all_seeds}
    plans = experiment.plans.items()
    return sorted(
        Run(n, s, *each) for n, plan in plans for s, setup in setups.items() for each in plan.trainings(setup)
    )


def test_every_level_is_there_once_with_its_rows(out: Path) -> None:
    folder = out / "tiny"
    levels = read_levels(folder)
    wanted = trainings(ALL)
    assert [row.run for row in levels] == wanted
    assert [row.run for row in read_timings(folder)] == wanted
    returns = {row.run: row.columns for row in read_series(folder, "returns")}
    curves = {row.run: row.columns for row in read_series(folder, "curves")}
    layers = {row.run: row.counts for row in read_layers(folder)}
    for row in levels:
        assert len(returns[row.run]["returns"]) == len(returns[row.run]["lengths"]) == ALL.episodes
        assert np.mean(returns[row.run]["returns"]) == row.mean_return
        kept, total = (sum(count[index] for count in layers[row.run].values()) for index in (0, 1))
        assert row.density == kept / total
        # Of a run so short that no episode ended in it there is no curve.
        steps = curves[row.run]["timesteps"] if row.timesteps > 64 else [row.start + row.timesteps]
        assert row.start < max(steps) <= row.start + row.timesteps
        assert not row.diverged
        assert not row.problem


def test_densities_are_exact_and_controls_have_their_tickets(out: Path) -> None:
    levels = {row.run: row for row in read_levels(out / "tiny")}
    total = ticket(out / "tiny", "imp", 1).mask.total
    layers = {row.run: row.counts for row in read_layers(out / "tiny")}
    for run, row in levels.items():
        assert abs(row.density * total - ALL.densities[run.level] * total) <= 0.5, "to the nearest weight"
        if run.search == "random_reinit":
            assert row.density == levels[run._replace(search="imp")].density
        if run.search == "permuted_mask":
            assert layers[run] == layers[run._replace(search="late")], "each layer keeps as many as the ticket's"


@pytest.mark.parametrize("search", ["imp", "late", "early_bird"])
def test_masks_nest_and_weights_rewind(out: Path, search: str) -> None:
    folder = out / "tiny"
    dense = ticket(folder, "early_bird" if search == "early_bird" else "dense", 0)
    sparse, sparser = ticket(folder, search, 1), ticket(folder, search, 2)
    for name, kept in sparser.mask.items():
        assert bool((sparse.mask[name] >= kept).all()), "what was pruned stays pruned"
    for name in sparse.mask:
        same = torch.equal(sparse.weights[name], dense.weights[name])
        assert torch.equal(sparse.weights[name], sparser.weights[name]), "every level starts from the rewind point"
        assert same == (search != "late"), "which is the initialisation, or later"


def test_a_level_starts_where_its_search_rewinds(out: Path) -> None:
    for row in read_levels(out / "tiny"):
        late = row.run.search in ("late", "permuted_mask")
        assert row.start == (64 if late else 0)
        if row.run.search == "early_bird" and row.run.level == 0:
            assert row.timesteps < ALL.total_timesteps
        else:
            assert row.start + row.timesteps == ALL.total_timesteps, "rewinding counts as trained"


def test_the_first_ticket_trains_as_in_the_experiment(out: Path) -> None:
    """A shipped ticket is what was measured: planted, it starts from those weights and keeps its mask in training."""
    shipped = ticket(out / "tiny", "late", 2)
    model = shipped.plant(make_ppo(seed=5))
    for name, weight in model.policy.state_dict().items():
        kept = shipped.mask.get(name, torch.ones_like(weight, dtype=torch.bool))
        assert torch.equal(weight, shipped.weights[name] * kept)
    model.learn(64)
    for name, parameter in model.policy.named_parameters():
        if name in shipped.mask:
            assert torch.equal(parameter != 0, shipped.mask[name])
    rows = read_levels(out / "tiny")
    for row in rows:
        if row.ticket:
            assert rt.Ticket.load(out / "tiny" / row.ticket).density == row.density
    assert {row.run.search for row in rows if not row.ticket} == {"random_reinit", "random_mask", "permuted_mask"}


def scalars(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_event_files_hold_sb3s_tags_and_ours(out: Path) -> None:
    folder = out / "tiny"
    for row in read_levels(folder):
        if row.run.seed:
            continue
        events = scalars(Store(folder).tensorboard(row.run))
        tags = set(events.Tags()["scalars"])
        if row.timesteps > 64:
            assert {"rollout/ep_rew_mean", "train/loss", "train/learning_rate", "time/fps"} <= tags
            assert len(events.Scalars("train/loss")) == len({e.step for e in events.Scalars("train/loss")})
        (density,) = events.Scalars("ticket/density")
        (returned,) = events.Scalars("ticket/eval_return")
        assert density.value == pytest.approx(row.density)
        assert returned.value == pytest.approx(row.mean_return)
        assert density.step == row.start + row.timesteps
        kept = {tag for tag in tags if tag.startswith("ticket/layer_density/")}
        assert len(kept) == 4
        assert "ticket/input_mask" in events.Tags()["images"]


def test_a_summary_run_holds_the_levels_of_each_search(out: Path) -> None:
    for name in ALL.searches:
        events = scalars(out / "tiny" / "tensorboard" / "summary" / name)
        (tag,) = [tag for tag in events.Tags()["scalars"] if tag.endswith("/density")]
        assert [event.value for event in events.Scalars(tag)] == pytest.approx(ALL.densities, abs=2e-3)


CHANGES: list[tuple[str, Callable[[], Experiment]]] = [
    ("total_timesteps = 160, now it is 192", lambda: replace(ALL, total_timesteps=192)),
    ("densities = [1.0, 0.5, 0.2], now it is [1.0, 0.5, 0.1]", lambda: replace(ALL, densities=(1.0, 0.5, 0.1))),
    ("episodes = 3, now it is 4", lambda: replace(ALL, episodes=4)),
    ("dense_seeds = [0, 1], now it is [0]", lambda: replace(ALL, seeds=1, dense_seeds=1)),
    ("dense_seeds = [0, 1], now it is [5, 0, 1]", lambda: replace(ALL, seeds=[5, 0, 1], dense_seeds=[5, 0, 1])),
    ("agent.hyperparameters.gamma = 0.99, now it is 0.9", lambda: _agent(gamma=0.9)),
    ("agent.hyperparameters.learning_rate = 0.0003, now it is 0.1", lambda: _agent(learning_rate=0.1)),
    ("agent.modules.action_net = ", lambda: _agent(policy_kwargs={"net_arch": [8]})),
    (
        "agent.modules.mlp_extractor.policy_net.1 = 'Tanh()', now it is 'ReLU()'",
        lambda: _policy(activation_fn=torch.nn.ReLU),
    ),
    ("agent.optimizers.policy.optimizer.eps = 1e-05", lambda: _optimizer(eps=1e-4)),
    ("agent.policy_kwargs.ortho_init = None, now it is False", lambda: _policy(ortho_init=False)),
    ("agent.wrappers = [{", lambda: replace(ALL, make_model=_wrapped)),
    ("agent.wrappers = [{", lambda: replace(ALL, make_model=_normalized)),
    ("callback = 'Count', now it is None", lambda: replace(ALL, callback=None)),
    (
        "searches.imp.settings.criterion = 'lamp', now it is 'magnitude'",
        lambda: _searches(imp=rt.IMP(criterion=rt.magnitude)),
    ),
    (
        "searches.late.settings.rewind.optimizer = True",
        lambda: _searches(late=rt.IMP(rewind=rt.Rewind(at=64, optimizer=False))),
    ),
    ("searches.random_mask.control_of = 'imp', now it is None", lambda: _searches(random_mask=rt.IMP())),
    ("searches.early_bird = {", lambda: replace(ALL, searches={"imp": ALL.searches["imp"]})),
]


def _wrapped(seed: int) -> Any:
    env = VecNormalize(DummyVecEnv([lambda: Monitor(TimeLimit(gym.make("CartPole-v1"), 100))]))
    return make_ppo(seed, env=env)


def _normalized(seed: int) -> Any:
    return make_ppo(seed, env=VecNormalize(DummyVecEnv([lambda: Monitor(gym.make("CartPole-v1"))]), norm_reward=False))


def _agent(**changes: Any) -> Experiment:
    return replace(ALL, make_model=partial(make_ppo, **changes))


def _policy(**changes: Any) -> Experiment:
    return _agent(policy_kwargs={"net_arch": [16], **changes})


def _optimizer(**changes: Any) -> Experiment:
    return _policy(optimizer_kwargs=changes)


def _searches(**changes: rt.Plan) -> Experiment:
    return replace(ALL, searches={**ALL.searches, **changes})


def noise(width: float) -> NormalActionNoise:
    return NormalActionNoise(np.zeros(1), np.full(1, width))


HER = {"policy": "MultiInputPolicy", "replay_buffer_class": HerReplayBuffer}
NOT_NUMBERS: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "frequency": (DQN, {"train_freq": 4}, {"train_freq": 16}),
    "unit": (DQN, {"train_freq": 1}, {"train_freq": (1, "episode")}),
    "noise": (TD3, {"action_noise": noise(0.1)}, {"action_noise": noise(0.5)}),
    "goals": (
        DQN,
        {**HER, "replay_buffer_kwargs": {"n_sampled_goal": 1}},
        {**HER, "replay_buffer_kwargs": {"n_sampled_goal": 4}},
    ),
    "value clipping": (PPO, {"clip_range_vf": 0.1}, {"clip_range_vf": 0.9}),
}


@pytest.mark.parametrize("name", NOT_NUMBERS)
def test_hyperparameters_that_are_no_numbers_are_described_too(name: str) -> None:
    kind, *both = NOT_NUMBERS[name]
    env: Any = BitFlippingEnv(4) if name == "goals" else "Pendulum-v1" if kind is TD3 else "CartPole-v1"
    buffer = {} if kind is PPO else {"buffer_size": 100}
    one, other = (
        describe_agent(kind(**{"policy": "MlpPolicy", "env": env, "device": "cpu", **buffer, **settings}))
        for settings in both
    )
    assert one != other
    assert json.loads(json.dumps(one)) == one


def test_a_description_by_an_older_version_is_gone_on_with(out: Path, tmp_path: Path) -> None:
    shutil.copytree(out / "tiny", tmp_path / "tiny")
    path = tmp_path / "tiny" / "experiment.json"
    described = json.loads(path.read_text())
    assert described["settings"]["agent"].pop("experience")
    path.write_text(json.dumps(described, indent=1) + "\n")
    rt.run(ALL, jobs=1, out=tmp_path)


@pytest.mark.parametrize(("named", "change"), CHANGES)
def test_a_changed_experiment_is_refused_and_the_change_named(
    out: Path, named: str, change: Callable[[], Experiment]
) -> None:
    before = contents(out / "tiny")
    with pytest.raises(ValueError, match=re.escape(f"holds an experiment with {named}")) as refused:
        rt.run(change(), jobs=1, out=out)
    assert str(out / "tiny") in str(refused.value)
    assert str(refused.value).endswith("choose another --out, or delete the folder to start over")
    assert contents(out / "tiny") == before


def test_more_seeds_are_trained_and_finished_ones_stay(tmp_path: Path) -> None:
    small = replace(ALL, searches={"imp": rt.IMP(criterion=rt.lamp)}, densities=(1.0, 0.3))
    rt.run(replace(small, seeds=1, dense_seeds=1), jobs=1, out=tmp_path)
    more = replace(small, seeds=[0, 4, 2, 3, 1, 9], dense_seeds=[0, 4, 2, 3, 1, 9])
    with counted(tmp_path / "steps"):
        rt.run(more, jobs=1, out=tmp_path)
    assert (tmp_path / "steps").stat().st_size == 5 * 2 * ALL.total_timesteps, "dense and one level of five seeds"
    assert {row.run.seed for row in read_levels(tmp_path / "tiny")} == {0, 1, 2, 3, 4, 9}
    rt.run(more, jobs=1, out=tmp_path / "at_once")
    assert_same(tmp_path / "tiny", tmp_path / "at_once" / "tiny")


@pytest.mark.compiled
def test_seeds_give_the_same_bytes_however_many_there_are(tmp_path: Path) -> None:
    small = replace(ALL, searches={"imp": rt.IMP()}, densities=(1.0, 0.3))
    rt.run(replace(small, seeds=2, dense_seeds=2), jobs=1, out=tmp_path / "two")
    rt.run(replace(small, seeds=7, dense_seeds=7), jobs=1, out=tmp_path / "seven")
    two, seven = (contents(tmp_path / name / "tiny") for name in ("two", "seven"))
    of_seeds = [name for name in two if "seed-" in name]
    assert len(of_seeds) == 2 * 2 * 2, "a ticket and weights of two levels of two seeds"
    assert [name for name in of_seeds if two[name] != seven[name]] == []


def test_a_pool_of_dense_runs_stands_beside_the_searches(tmp_path: Path) -> None:
    """Those that no search goes on with train in the same groups, and change no byte of those that one does."""
    small = replace(ALL, searches={"imp": rt.IMP()}, densities=(1.0, 0.3), trainer=rt.Cohorts(seeds=3))
    rt.run(small, jobs=1, out=tmp_path / "alone")
    rt.run(replace(small, dense_seeds=4), jobs=1, out=tmp_path)
    rows = [row.run for row in read_levels(tmp_path / "tiny")]
    assert {run.seed for run in rows if run.search == "dense"} == {0, 1, 2, 3}
    assert {run.seed for run in rows if run.search == "imp"} == {0, 1}
    alone, beside = (contents(folder / "tiny") for folder in (tmp_path / "alone", tmp_path))
    of_seeds = [name for name in alone if "seed-" in name]
    assert len(of_seeds) == 2 * 2 * 2
    assert [name for name in of_seeds if alone[name] != beside[name]] == []
    with counted(tmp_path / "steps"):
        rt.run(replace(small, dense_seeds=7), jobs=1, out=tmp_path)
    assert (tmp_path / "steps").stat().st_size == 3 * ALL.total_timesteps, "three more dense runs"
    summary = rt.run(replace(small, dense_seeds=7), jobs=1, out=tmp_path / "at_once")
    assert_same(tmp_path / "tiny", tmp_path / "at_once" / "tiny")
    compared = summary.searches[0].levels[0].comparison
    assert compared is not None
    assert (compared.seeds, compared.dense_seeds) == (2, 7)


def test_controls_are_trained_at_chosen_densities_alone(tmp_path: Path) -> None:
    searches = {"imp": rt.IMP(), "mask": rt.Control(rt.random_mask, at=(0.2,))}
    summary = rt.run(replace(ALL, searches=searches), jobs=1, out=tmp_path)
    found = {row.run.level: row.density for row in read_levels(tmp_path / "tiny") if row.run.search == "mask"}
    assert found == {2: pytest.approx(0.2, abs=0.01)}
    (mask,) = [search for search in summary.searches if search.name == "mask"]
    assert [level.level for level in mask.levels] == [2]


def test_a_random_policy_plays_all_its_episodes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later, a sample of them tells that the environment is the same."""
    played: list[int] = []
    real = preparing.play

    def counting(*args: Any, episodes: int, **kwargs: Any) -> Any:
        played.append(episodes)
        return real(*args, episodes=episodes, **kwargs)

    monkeypatch.setattr(preparing, "play", counting)
    small = replace(ALL, searches={}, random_episodes=50)
    rt.run(small, jobs=1, out=tmp_path)
    rt.run(small, jobs=1, out=tmp_path)
    assert played == [20, 50, 20]
    settings = json.loads((tmp_path / "tiny" / "experiment.json").read_text())["settings"]
    policy = rt.RandomPolicy(gym.spaces.Discrete(2), seed=1_000)
    assert settings["random_return"] == rt.evaluate(policy, ALL.make_env, episodes=50, seed=1_000).mean()
    with pytest.raises(ValueError, match=r"random_return = \S+, now it is 9\.0"):
        rt.run(replace(small, make_env=lambda: gym.make("CartPole-v1", max_episode_steps=9)), jobs=1, out=tmp_path)


def test_another_search_beside_it_changes_no_run(out: Path, tmp_path: Path) -> None:
    alone = replace(ALL, searches={"imp": ALL.searches["imp"]})
    rt.run(alone, jobs=1, out=tmp_path)
    ours, theirs = contents(tmp_path / "tiny"), contents(out / "tiny")
    shared = [name for name in ours if name.startswith(("weights", "tickets"))]
    assert len(shared) == 2 * 2 * 3
    assert [name for name in shared if ours[name] != theirs[name] and "tickets/dense" not in name] == []


def test_a_search_that_is_added_later_trains_beside_the_old_ones(out: Path, tmp_path: Path) -> None:
    early = replace(ALL, searches={name: ALL.searches[name] for name in ("imp", "early_bird")})
    rt.run(early, jobs=1, out=tmp_path)
    before = {name: file for name, file in contents(tmp_path / "tiny").items() if "/seed-" in name}
    with counted(tmp_path / "steps"):
        rt.run(replace(ALL, searches={**early.searches, **ALL.searches}), jobs=1, out=tmp_path)
    after, reference = contents(tmp_path / "tiny"), contents(out / "tiny")
    assert [name for name, file in before.items() if after[name] != file and "tickets/dense" not in name] == []
    rows = ("levels.csv", "returns.csv", "layers.csv", "curves.csv", "distances.csv")
    assert [name for name in rows if after[name] != reference[name]] == []
    # The dense runs again, for a state that nobody had wanted; of the old searches nothing.
    new = [row for row in read_levels(tmp_path / "tiny") if row.run.search not in ("imp", "early_bird")]
    assert (tmp_path / "steps").stat().st_size == sum(row.timesteps for row in new)


def test_a_control_that_is_added_later_to_a_search_with_a_dense_run_of_its_own(copied: Path) -> None:
    """What that run had kept for the search is gone: it is trained again, and nothing else of the search."""
    control = {"bird_reinit": rt.Control(rt.random_reinit, of="early_bird")}
    with counted(copied / "steps"):
        rt.run(replace(ALL, searches={**ALL.searches, **control}), jobs=1, out=copied)
    rows = read_levels(copied / "tiny")
    again = [row for row in rows if row.run.search == "bird_reinit" or row.run[::2] == ("early_bird", 0)]
    assert len(again) == 2 * (2 + 1)
    assert (copied / "steps").stat().st_size == sum(row.timesteps for row in again)


def test_runs_are_judged_anew_and_nothing_trained(copied: Path) -> None:
    with counted(copied / "steps"):
        summary = rt.run(replace(ALL, margin=0.25, failed_below=0.75), jobs=1, out=copied)
    assert (summary.margin, summary.failed_below) == (0.25, 0.75)
    assert (copied / "steps").stat().st_size == 0


@pytest.mark.parametrize(("keep", "levels"), [("all", {0, 1, 2}), ("last", {0, 2}), ("none", set())])
def test_final_weights_are_kept_as_asked(keep: Any, levels: set[int], tmp_path: Path) -> None:
    rt.run(replace(ALL, searches={"imp": rt.IMP()}, seeds=1, dense_seeds=1, keep=keep), jobs=1, out=tmp_path)
    found = sorted((tmp_path / "tiny").glob("weights/*/*/*.safetensors"))
    assert {int(path.stem.removeprefix("level-")) for path in found} == levels
    for row in read_levels(tmp_path / "tiny"):
        trained = Store(tmp_path / "tiny").trained(row.run)
        assert (trained is not None) == (row.run.level in levels)
        if trained is not None:
            assert trained.mask.density == row.density
            assert sum(points[-1] for points in trained.observed["curves"]) > 0


def test_two_runs_in_one_folder(copied: Path) -> None:
    with Store(copied / "tiny").locked(), pytest.raises(RuntimeError, match=r"another run is at work in .*tiny; wait"):
        rt.run(ALL, jobs=1, out=copied)
    assert (copied / "tiny" / ".lock").exists()
    rt.run(ALL, jobs=1, out=copied)  # A lock file left over locks nothing.


def test_an_impossible_number_of_jobs_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="jobs must be at least 1, got 0"):
        rt.run(ALL, jobs=0, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_damaged_description_is_named(copied: Path) -> None:
    (copied / "tiny" / "experiment.json").write_text("{")
    with pytest.raises(ValueError, match=r"experiment\.json is not what an experiment wrote there; choose another"):
        rt.run(ALL, jobs=1, out=copied)


def test_other_versions_are_told(copied: Path) -> None:
    path = copied / "tiny" / "experiment.json"
    described = json.loads(path.read_text())
    described["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(described))
    with pytest.warns(UserWarning, match="results may differ in the last bit"):
        rt.run(ALL, jobs=1, out=copied)


@pytest.mark.filterwarnings("ignore::rl_tickets.LayerCollapseWarning")  # Weights that are not finite score nothing.
def test_a_diverging_agent_is_recorded_and_the_experiment_goes_on(tmp_path: Path) -> None:
    wild = replace(
        ALL,
        make_model=partial(make_ppo, learning_rate=1e30),
        searches={"imp": rt.IMP(), "late": rt.IMP(rewind=rt.Rewind(at=64)), "reinit": rt.Control(rt.random_reinit)},
        seeds=1,
        dense_seeds=1,
    )
    with pytest.warns(rt.DivergenceWarning, match="7 of 7 runs diverged, and searches went on"):
        rt.run(wild, jobs=1, out=tmp_path)
    rows = read_levels(tmp_path / "tiny")
    assert len(rows) == 7
    assert all(row.diverged for row in rows)
    assert all(math.isfinite(row.mean_return) for row in rows)
    assert {row.run.level: row.density for row in rows}[1] == pytest.approx(0.5)
    assert not (tmp_path / "tiny" / ".work").exists()


def test_collapsed_layers_are_told_once(tmp_path: Path) -> None:
    searches = {"imp": rt.IMP(criterion=rt.magnitude), "bare": rt.IMP(criterion=rt.magnitude, keep_last=False)}
    sparse = replace(ALL, searches=searches, densities=(1.0, 0.2, 0.1))
    with pytest.warns(rt.LayerCollapseWarning) as told:
        rt.run(sparse, jobs=1, out=tmp_path)
    (warning,) = told
    collapsed = [row for row in read_levels(tmp_path / "tiny") if row.collapsed]
    assert f"in {len(collapsed)} runs from density {max(row.density for row in collapsed):.3g} on" in str(
        warning.message
    )
    assert "action_net.weight" in str(warning.message)
    assert warning.filename == __file__, "it points at the call of run"


def test_the_move_of_a_rewind_point_is_told_once(tmp_path: Path) -> None:
    inside = replace(ALL, searches={"imp": rt.IMP(criterion=rt.lamp, rewind=rt.Rewind(at=40))}, densities=(1.0, 0.5))
    with pytest.warns(rt.RewindWarning, match="rewind point 40 lies inside a rollout") as told:
        rt.run(inside, jobs=1, out=tmp_path)
    assert len(told) == 1
    assert {row.start for row in read_levels(tmp_path / "tiny") if row.run.search == "imp"} == {64}


def test_what_cannot_join_a_cohort_is_told_once_and_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = replace(DQN_EXPERIMENT, make_model=BY_NAME["trpo"].make)
    small = replace(plain, searches={"imp": rt.IMP(criterion=rt.lamp)}, densities=(1.0, 0.5), segment=64)
    rt.run(small, jobs=1, out=tmp_path)
    assert capsys.readouterr().err == f"This agent trains with plain SB3, since {NOT_TRPO}.\n"
    settings = json.loads((tmp_path / "tiny" / "experiment.json").read_text())["settings"]
    assert settings["trainer"] == {"type": "Plain"}
    assert len(read_levels(tmp_path / "tiny")) == 4


def test_both_trainers_give_the_same_rows_of_short_runs(out: Path, tmp_path: Path) -> None:
    """Long enough for several updates, short enough that the last bits have not grown into other actions."""
    plain = replace(ALL, trainer=rt.Plain())
    rt.run(plain, jobs=1, out=tmp_path)
    ours, theirs = (read_levels(folder / "tiny") for folder in (out, tmp_path))
    assert [replace(row, ticket="") for row in ours] == [replace(row, ticket="") for row in theirs], "returns too"
    for row in ours:
        if row.ticket:
            masks = [rt.Ticket.load(folder / "tiny" / row.ticket).mask for folder in (out, tmp_path)]
            assert masks[0] == masks[1]
    with pytest.raises(ValueError, match=r"trainer.seeds = None, now it is 5"):
        rt.run(ALL, jobs=1, out=tmp_path)


# --- what was lost, and what is wrong ------------------------------------------------------------------------------


def lose_ticket(folder: Path) -> None:
    Store(folder).ticket(Run("late", 1, 2)).unlink()


def lose_lines(table: str, start: str) -> Callable[[Path], None]:
    def lose(folder: Path) -> None:
        path = folder / f"{table}.csv"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if not line.startswith(start)))

    return lose


LOST: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a ticket": ("lost its ticket of search 'late', seed 1, level 2", lose_ticket),
    "returns": ("lost its returns of search 'imp', seed 0, level 1", lose_lines("returns", "imp,0,1,")),
    "layers": (
        "lost its layers of search 'early_bird', seed 0, level 0, and 2 more,",
        lose_lines("layers", "early_bird,0"),
    ),
    "a control's row": ("", lose_lines("levels", "permuted_mask,1,2,")),
    "the dense runs": ("", lose_lines("levels", "dense,")),
}


@pytest.mark.parametrize("kind", LOST)
def test_what_a_finished_folder_lost_is_told_and_trained_again_to_the_same_bytes(
    kind: str, copied: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said, lose = LOST[kind]
    lose(copied / "tiny")
    rt.run(ALL, jobs=1, out=copied)
    assert said in capsys.readouterr().err
    assert_same(copied / "tiny", out / "tiny")


def test_a_finished_folder_says_that_nothing_is_trained(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rt.run(ALL, jobs=1, out=copied)
    assert capsys.readouterr().err == f"{copied / 'tiny'} is complete, nothing is trained.\n"


def test_a_summary_is_readable_where_it_is_shown(copied: Path) -> None:
    summary = rt.run(ALL, jobs=1, out=copied)
    text = repr(summary)
    assert isinstance(summary, rt.Summary)
    assert "random_reinit" in text
    assert str(copied / "tiny" / "report.md") in text
    assert text.count("\n") < 60
    assert "random_reinit" in summary._repr_html_()


def same_for_all(seed: int) -> Any:
    return make_ppo(3)


def unseeded(seed: int) -> Any:
    return make_ppo(None)  # type: ignore[arg-type]


ONE_FOR_ALL = VecNormalize(DummyVecEnv([lambda: gym.make("CartPole-v1")]))


def shared(seed: int) -> Any:
    return make_ppo(seed, env=ONE_FOR_ALL)


def drawn(seed: int) -> Any:
    return make_ppo(int(np.random.default_rng().integers(2**30)))


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (same_for_all, r"make_model\(seed\) ignores its seed: agents of two seeds have the same weights"),
        (drawn, r"make_model\(0\) gave two agents with different weights, so that nothing reproduces"),
        (shared, "make_model gave the same environment to two agents; make a new one each time"),
    ],
)
def test_agents_that_are_no_replicates_are_refused(make: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        rt.run(replace(ALL, make_model=make, trainer=rt.Plain()), jobs=1, out=tmp_path)


def test_an_evaluation_in_another_task_is_refused_before_anything_trains(tmp_path: Path) -> None:
    with counted(tmp_path / "steps"), pytest.raises(ValueError, match="observ"):
        rt.run(replace(ALL, make_env=lambda: gym.make("Acrobot-v1")), jobs=1, out=tmp_path)
    assert (tmp_path / "steps").stat().st_size == 0


def test_agents_without_a_seed_of_their_own_follow_the_experiments(tmp_path: Path) -> None:
    small = replace(ALL, make_model=unseeded, searches={"imp": rt.IMP()}, densities=(1.0, 0.5), trainer=rt.Plain())
    for name in ("one", "two"):
        rt.run(small, jobs=1, out=tmp_path / name)
        torch.rand(13)
    assert_same(tmp_path / "one" / "tiny", tmp_path / "two" / "tiny")


class Breaks(BaseCallback):
    """Goes wrong in one training of all."""

    def __init__(self, place: rt.CallbackPlace) -> None:
        super().__init__()
        self._now = (place.search, place.seed, place.level) == ("late", 1, 2)

    def _on_step(self) -> bool:
        if self._now and self.num_timesteps > 100:
            raise KeyError("of a user's own")
        return True


def test_what_goes_wrong_is_told_with_the_training_it_went_wrong_in(tmp_path: Path) -> None:
    broken = replace(ALL, callback=Breaks, trainer=rt.Plain())
    with pytest.raises(RuntimeError, match=r"^search 'late', seed 1, level 2: KeyError: .of a user's own") as raised:
        rt.run(broken, jobs=1, out=tmp_path)
    assert isinstance(raised.value.__cause__, KeyError)
    together = replace(broken, trainer=rt.Cohorts())
    with pytest.raises(RuntimeError, match=r"level 2 \(or another of the 2 seeds that train with it\): KeyError"):
        rt.run(together, jobs=1, out=tmp_path / "together")


def with_files(place: rt.CallbackPlace) -> BaseCallback:
    return CheckpointCallback(64, str(place.folder))


def test_callbacks_that_write_files_have_a_folder_for_each_training(tmp_path: Path) -> None:
    small = replace(ALL, callback=with_files, searches={"imp": rt.IMP()})
    rt.run(small, jobs=1, out=tmp_path)
    found = sorted(str(path.relative_to(tmp_path / "tiny")) for path in (tmp_path / "tiny").glob("callbacks/**/*.zip"))
    folders = {str(Path(name).parent) for name in found}
    runs = {f"callbacks/{run.search}/seed-{run.seed}/level-0{run.level}" for run in trainings(small)}
    assert folders == runs
