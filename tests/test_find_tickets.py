"""Finding tickets: masks nest, densities are exact, the same seed gives the same bytes, and errors come at once."""

import itertools
import multiprocessing
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, Watch, cartpole, differing, small
from sb3_contrib import MaskablePPO
from sb3_contrib.common.envs import InvalidActionEnvDiscrete
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback, StopTrainingOnMaxEpisodes
from stable_baselines3.common.vec_env import SubprocVecEnv
from tiny import make_ppo

import rl_tickets as rt
from rl_tickets.agents.state import TrainingState
from rl_tickets.training import choosing
from rl_tickets.training.choosing import faster, gradient_steps

DENSITIES = (1.0, 0.6, 0.35)


def find(name: str, densities: tuple[float, ...] = DENSITIES, **settings: Any) -> list[rt.Level]:
    case = BY_NAME[name]
    return list(rt.find_tickets(case.make, total_timesteps=case.total, densities=densities, **settings))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_agent_of_the_matrix_gives_nested_tickets_of_exact_density(case: Case) -> None:
    levels = find(case.name, rewind=rt.Rewind(at=case.at))
    total = levels[0].ticket.mask.total
    assert set(levels[0].ticket.mask) == case.prunable
    assert [level.index for level in levels] == [0, 1, 2]
    assert [level.ticket.mask.kept for level in levels] == [round(density * total) for density in DENSITIES]
    for earlier, later in itertools.pairwise(levels):
        assert later.ticket.mask.is_within(earlier.ticket.mask)
    assert [level.density for level in levels] == [level.ticket.mask.kept / total for level in levels]
    for level in levels:
        named = dict(level.model.policy.named_parameters())
        assert not any(named[name][~kept].any() for name, kept in level.ticket.mask.items())
        assert differing(dict(level.ticket.weights), dict(levels[0].ticket.weights)) == []
        assert not level.trained.diverged


CRITERIA = {"magnitude": rt.magnitude, "lamp": rt.lamp, "random": rt.random_scores}


@pytest.mark.parametrize("scope", ["global", "network", "layer", rt.erk])
@pytest.mark.parametrize("criterion", CRITERIA.values(), ids=CRITERIA)
@pytest.mark.parametrize("name", ["a2c", "ddpg"])
@pytest.mark.filterwarnings("ignore::rl_tickets.LayerCollapseWarning")
def test_every_criterion_in_every_scope(name: str, criterion: Any, scope: Any) -> None:
    levels = find(name, criterion=criterion, scope=scope, rewind=rt.Rewind(at=32))
    total = levels[0].ticket.mask.total
    assert [level.ticket.mask.kept for level in levels] == [round(density * total) for density in DENSITIES]
    assert levels[2].ticket.mask.is_within(levels[1].ticket.mask)
    assert levels[1].ticket.provenance["criterion"] == criterion.__name__
    if scope == "layer":
        for count in levels[2].ticket.mask.layers.values():
            assert abs(count.kept - 0.35 * count.total) < 1


def test_the_largest_trained_weights_are_kept() -> None:
    dense, sparse = find("a2c", (1.0, 0.5), criterion=rt.magnitude, scope="layer")
    for name, kept in sparse.ticket.mask.items():
        size = dense.trained.end.policy[name].abs()
        assert size[kept].min() >= size[~kept].max()


def test_a_users_own_criterion_sees_trained_and_rewound_weights() -> None:
    seen: list[Any] = []

    def movement(weights: Any, start: Any) -> Any:
        seen.append((weights, start))
        return {name: (weights[name] - start[name]).abs() for name in weights}

    levels = find("ppo", (1.0, 0.5), criterion=movement, rewind=rt.Rewind(at=32))
    ((weights, start),) = seen
    assert differing(weights, {name: levels[0].trained.end.policy[name] for name in weights}) == []
    assert differing(start, {name: levels[0].ticket.weights[name] for name in start}) == []
    assert levels[1].ticket.provenance["criterion"].endswith("movement")


@pytest.mark.parametrize("name", ["ppo", "sac"])
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(name: str, tmp_path: Path) -> None:
    files = []
    for run, seed in enumerate((0, 0, 1)):
        levels = find(name, seed=seed, rewind=rt.Rewind(at=32))
        files.append([level.ticket.save(tmp_path / f"{run}.{level.index}").read_bytes() for level in levels])
        torch.rand(17)
    assert files[0] == files[1]
    assert all(ours != theirs for ours, theirs in zip(files[0], files[2], strict=True))


def test_digests_survive_the_file(tmp_path: Path) -> None:
    for level in find("sac", rewind=rt.Rewind(at=32)):
        assert rt.Ticket.load(level.ticket.save(tmp_path / "ticket")).digest == level.ticket.digest


def test_one_shot_is_a_search_of_two_levels() -> None:
    dense, sparse = find("ppo", (1.0, 0.2))
    assert sparse.density == pytest.approx(0.2, abs=0.01)
    assert (dense.timesteps, sparse.timesteps) == (96, 96)


def test_only_the_dense_level_is_a_search_too() -> None:
    (dense,) = find("ppo", (1.0,))
    assert dense.density == 1.0


def test_only_what_the_user_chose_is_pruned() -> None:
    levels = find("ppo", prunable=lambda name, parameter: "policy_net" in name and parameter.ndim == 2)
    for level in levels:
        assert set(level.ticket.mask) == {f"mlp_extractor.policy_net.{i}.weight" for i in (0, 2)}
        assert level.model.policy.state_dict()["action_net.weight"].all()


@pytest.mark.parametrize("rewind", [rt.Rewind.learning_rate(at=32), rt.FineTuning(at=32), rt.Rewind.exact(32)])
@pytest.mark.parametrize("name", ["ppo", "sac", "dqn"])
def test_every_kind_of_rewinding_trains_the_budget(name: str, rewind: rt.Rewind) -> None:
    levels = find(name, rewind=rewind)
    assert [level.timesteps for level in levels] == [96, 64, 64]
    if not rewind.weights or isinstance(rewind, rt.FineTuning):
        for earlier, later in itertools.pairwise(levels):
            assert differing(dict(later.ticket.weights), earlier.trained.end.policy) == []


def test_a_rewound_level_starts_from_start_times_mask() -> None:
    seen: list[TrainingState] = []
    levels = find("a2c", rewind=rt.Rewind(at=32), callback=lambda: Watch(seen))
    for level, state in zip(levels[1:], seen[1:], strict=True):
        assert differing(state.policy, level.ticket.mask.apply(levels[0].ticket.weights)) == []


def test_the_users_callback_is_made_anew_for_every_level() -> None:
    made: list[int] = []

    class Count(BaseCallback):
        def _on_training_start(self) -> None:
            made.append(0)

        def _on_step(self) -> bool:
            made[-1] += 1
            return True

    find("ppo", callback=Count)
    assert made == [96, 96, 96]


def test_a_collapse_does_not_pass_in_silence() -> None:
    def no_head(weights: Any, start: Any) -> Any:
        return {n: torch.full_like(w, float("action_net" not in n)) * w.abs() for n, w in weights.items()}

    with pytest.warns(rt.LayerCollapseWarning, match=r"level 1: action_net.weight lost the last weight"):
        levels = find("ppo", (1.0, 0.5), criterion=no_head)
    assert levels[1].ticket.mask.layers["action_net.weight"].kept == 1
    assert levels[1].ticket.provenance["collapsed"] == ["action_net.weight"]
    with pytest.warns(rt.LayerCollapseWarning, match="the layer is empty"):
        levels = find("ppo", (1.0, 0.5), criterion=no_head, keep_last=False)
    assert levels[1].ticket.mask.layers["action_net.weight"].kept == 0


def ppo(seed: int) -> PPO:
    return PPO("MlpPolicy", cartpole(), n_steps=16, batch_size=16, policy_kwargs=small())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"densities": (0.5, 0.2)}, "must start at 1.0"),
        ({"densities": ()}, "must start at 1.0"),
        ({"densities": (1.0, 0.5, 0.5)}, "must decrease strictly"),
        ({"densities": (1.0, 0.0)}, r"must be in \(0, 1\]"),
        ({"densities": (1.0, float("nan"))}, r"must be in \(0, 1\]"),
        ({"densities": (1.0, 1e-6)}, "keeps none of 216 weights"),
        ({"densities": (1.0, 0.02)}, "keeps 4 weights, fewer than the 6 layers; the lowest .* is 0.0278"),
        ({"total_timesteps": 0}, "at least 1 environment step"),
        ({"rewind": rt.Rewind(at=96)}, "rewind point 96 is beyond the budget of 96"),
        ({"prunable": lambda name, parameter: False}, "no parameter of this PPO policy may be pruned"),
        ({"total_timesteps": 96.5}, "an environment step is a whole number, got 96.5"),
        ({"warmup": -5}, "warmup must be at least 0 environment steps, got -5"),
        ({"warmup": 0.1}, "an environment step is a whole number, got 0.1"),
        ({"early_bird": rt.EarlyBird(every=97)}, "first mask 97 environment steps after the rewind point, beyond the"),
    ],
)
def test_impossible_searches_are_refused_when_called(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rt.find_tickets(ppo, **{"total_timesteps": 96, "densities": (1.0, 0.5), **settings})


def test_a_last_level_that_diverges_says_so() -> None:
    def make(seed: int) -> PPO:
        return PPO("MlpPolicy", cartpole(), n_steps=16, batch_size=16, policy_kwargs=small(), learning_rate=rates.pop())

    rates = [1e30, 1e-3]
    with pytest.warns(
        rt.DivergenceWarning, match=r"^level 1 diverged after \d+ environment steps, so that weights are"
    ):
        levels = list(rt.find_tickets(make, total_timesteps=64, densities=(1.0, 0.5), trainer=rt.Plain()))
    assert [level.trained.diverged for level in levels] == [False, True]


def test_an_unknown_scope_and_a_bad_criterion_are_named() -> None:
    with pytest.raises(ValueError, match='scope must be "global"'):
        find("a2c", scope="galaxy")
    with pytest.raises(ValueError, match="gave no scores of shape"):
        find("a2c", criterion=lambda weights, start: {})


def test_the_agent_made_to_check_is_the_one_that_trains() -> None:
    made: list[int] = []

    def make(seed: int) -> PPO:
        made.append(seed)
        return ppo(seed)

    levels = rt.find_tickets(make, total_timesteps=16, densities=(1.0, 0.5), seed=7)
    assert made == [7]
    list(levels)
    assert made == [7, 7]


def test_random_scores_of_another_seed_give_other_masks() -> None:
    ours, theirs = (find("a2c", (1.0, 0.5), criterion=partial(rt.random_scores, seed=seed))[1] for seed in (0, 1))
    assert ours.ticket.mask != theirs.ticket.mask


def levels_of(make: Any, densities: Any = (1.0, 0.5, 0.25), **settings: Any) -> Any:
    return rt.find_tickets(make, **{"total_timesteps": 32, "densities": densities, **settings})


class Noted(gym.Wrapper[Any, Any, Any, Any]):
    """Notes that it was closed; may raise once it is stepped often enough."""

    def __init__(self, fails_at: int = 10**9) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self.closed, self._left = False, fails_at

    def step(self, action: Any) -> Any:
        self._left -= 1
        if not self._left:
            raise KeyError("no such state")
        return super().step(action)

    def close(self) -> None:
        self.closed = True


def noted(seed: int, envs: list[Noted], fails_at: int = 10**9) -> PPO:
    envs.append(Noted(fails_at))
    return PPO("MlpPolicy", envs[-1], n_steps=16, batch_size=16, n_epochs=1, seed=seed, policy_kwargs=small())


def test_a_levels_environments_are_closed_when_the_next_begins() -> None:
    envs: list[Noted] = []
    levels = levels_of(partial(noted, envs=envs))
    for index, level in enumerate(levels):
        assert [env.closed for env in envs] == [True] * index + [False]
        assert level.model.get_env().reset().shape == (1, 4)
    assert [env.closed for env in envs] == [True, True, False]


def test_an_environment_that_all_levels_share_stays_open() -> None:
    env = Noted()

    def make(seed: int) -> PPO:
        return PPO("MlpPolicy", env, n_steps=16, batch_size=16, n_epochs=1, seed=seed, policy_kwargs=small())

    assert len(list(levels_of(make))) == 3
    assert not env.closed


def test_callbacks_may_come_in_a_list() -> None:
    seen: list[TrainingState] = []
    levels = levels_of(make_ppo, (1.0, 0.5), callback=lambda: [Watch(seen), StopTrainingOnMaxEpisodes(10**6)])
    assert len(list(levels)) == len(seen) == 2


def test_a_callback_that_ends_training_before_the_rewind_point_is_named() -> None:
    settings = {"total_timesteps": 128, "rewind": rt.Rewind(at=96), "callback": lambda: StopTrainingOnMaxEpisodes(1)}
    with pytest.raises(
        ValueError, match=r"the callback ended training at step \d\d, before rewind point 96; let it go on"
    ):
        next(levels_of(make_ppo, (1.0, 0.5), **settings))


def test_minibatches_may_be_whole_rollouts() -> None:
    model = MaskablePPO("MlpPolicy", InvalidActionEnvDiscrete(), n_steps=32, batch_size=None, device="cpu")
    assert gradient_steps(model, 64) == 2 * model.n_epochs


def test_processes_of_earlier_levels_end(tmp_path: Path) -> None:
    def make(seed: int) -> PPO:
        env = SubprocVecEnv([partial(gym.make, "CartPole-v1")] * 2)
        return PPO("MlpPolicy", env, n_steps=8, batch_size=16, n_epochs=1, seed=seed, policy_kwargs=small())

    models = []
    for level in levels_of(make):
        models.append(level.model)
        assert len(multiprocessing.active_children()) == 2
    for index, model in enumerate(models):
        assert model.predict(np.zeros((2, 4), np.float32))[0].shape == (2,)
        PPO.load(model.save(tmp_path / str(index)) or tmp_path / str(index), device="cpu")
    models[-1].get_env().close()  # type: ignore[union-attr]


@pytest.mark.parametrize("trainer", [rt.Plain(), rt.Cohorts()])
def test_an_error_names_level_and_seed(trainer: Any) -> None:
    envs: list[Noted] = []

    def make(seed: int) -> PPO:
        return noted(seed, envs, fails_at=20 if envs else 10**9)

    levels = levels_of(make, trainer=trainer, seed=7)
    next(levels)
    with pytest.raises(RuntimeError, match=r"^level 1 of seed 7: KeyError: 'no such state'$") as raised:
        next(levels)
    assert isinstance(raised.value.__cause__, KeyError)


def test_learning_that_would_start_after_the_budget_is_refused() -> None:
    def make(seed: int) -> DQN:
        return DQN("MlpPolicy", cartpole(), learning_starts=100, seed=seed, policy_kwargs=small())

    with pytest.raises(ValueError, match="learning_starts=100 is not below the budget of 96 environment steps"):
        rt.find_tickets(make, total_timesteps=96, densities=(1.0, 0.5))


def test_progress_is_shown_and_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []

    class Calls(BaseCallback):
        def _on_step(self) -> bool:
            calls.append(self.num_timesteps)
            return True

    silent, shown = ([level.ticket.digest for level in levels_of(ppo_of_seed, **more)] for more in ({}, BARS))
    assert silent == shown
    told = capsys.readouterr().out
    assert "level 2 of 2, density 0.25" in told
    assert "32/32" in told
    list(levels_of(ppo_of_seed, (1.0,), callback=Calls, **BARS))
    assert calls == list(range(1, 33))


BARS: dict[str, Any] = {"progress": True}


def ppo_of_seed(seed: int) -> PPO:
    return PPO("MlpPolicy", cartpole(), n_steps=16, batch_size=16, n_epochs=1, seed=seed, policy_kwargs=small())


def test_compiling_is_chosen_where_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sac = ppo_of_seed(0), BY_NAME["sac"].make(0)
    assert gradient_steps(model, 1_000) == 62
    assert gradient_steps(PPO("MlpPolicy", cartpole(2), device="cpu"), 8_192) == 2 * 64 * 10
    assert gradient_steps(sac, 1_000) == 0
    monkeypatch.setattr(choosing, "compiler", lambda: "c++")
    enough = 16 * choosing.WORTH_COMPILING
    assert faster(model, enough - 16) == rt.Plain()
    assert faster(model, enough) == rt.Cohorts(seeds=1)
    assert faster(BY_NAME["recurrent_ppo"].make(0), enough) == rt.Plain()
    monkeypatch.setattr(choosing, "compiler", lambda: None)
    assert faster(model, enough) == rt.Plain()
