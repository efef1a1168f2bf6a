"""`rt.learn` trains many agents as if each had called its own `learn`."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, cartpole, differing, tensors, vec
from gymnasium import spaces
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList, CheckpointCallback, EvalCallback
from stable_baselines3.common.utils import set_random_seed
from test_cohort import OPTIONS, StopAt, Tags, a2c, largest_difference, ppo, ticket_for

import rl_tickets as rt
from rl_tickets.training.draws import first_draws

Make = Callable[[int], BaseAlgorithm]


def difference(one: BaseAlgorithm, other: BaseAlgorithm) -> float:
    return largest_difference(dict(one.policy.state_dict()), dict(other.policy.state_dict()))


def planted(make: Make, seed: int) -> BaseAlgorithm:
    """Every second agent carries a ticket."""
    model = make(seed)
    return ticket_for(make, seed).plant(model) if seed % 2 else model


@pytest.mark.parametrize("name", ["ppo", "observations with names", "schedules", "normalised", "a2c", "target_kl"])
def test_agents_train_as_each_would_right_after_it_was_made(name: str) -> None:
    make = OPTIONS[name]
    agents = [planted(make, seed) for seed in range(3)]
    torch.rand(7)
    random.random()
    ours = rt.learn(agents, 80)
    assert [id(model) for model in ours] == [id(model) for model in agents]
    for seed, model in enumerate(ours):
        alone = planted(make, seed).learn(80)
        assert difference(model, alone) < 1e-5
        assert model.num_timesteps == alone.num_timesteps
        held = rt.hold_of(model)
        assert (held is not None) == bool(seed % 2)
        if held is not None:
            assert not any(model.policy.state_dict()[layer][~kept].any() for layer, kept in held.mask.items())


class Looking(PPO):
    """Builds something of its own for what it observes."""

    def _setup_model(self) -> None:
        super()._setup_model()
        assert self.env is not None
        self.own = torch.nn.Linear(self.env.observation_space.shape[0], 3)  # type: ignore[index]


def test_an_agent_may_look_at_its_environment_while_it_is_made() -> None:
    settings: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "device": "cpu"}
    one, two = (Looking("MlpPolicy", "CartPole-v1", seed=0, **settings) for _ in range(2))
    rt.learn([one], 32)
    two.learn(32)
    assert largest_difference(one.policy.state_dict(), two.policy.state_dict()) < 1e-5


def test_agents_of_all_kinds_train_in_one_call() -> None:
    """Those that cannot join say so once, and train bit for bit as alone."""
    plain = [BY_NAME[name].make for name in ("trpo", "sac_sde")]
    makes: list[Make] = [ppo, plain[0], a2c, OPTIONS["continuous"], BY_NAME["dqn"].make, plain[0], plain[1]]
    with pytest.warns(rt.PlainTrainingWarning) as said:
        ours = rt.learn([make(seed) for seed, make in enumerate(makes)], 64)
    assert [next(name for name in ("TRPO", "gSDE") if name in str(each.message)) for each in said] == ["TRPO", "gSDE"]
    for seed, (make, model) in enumerate(zip(makes, ours, strict=True)):
        alone = make(seed).learn(64)
        if isinstance(model, PPO | A2C | DQN):
            assert difference(model, alone) < 1e-5
        else:
            assert differing(tensors(model), tensors(alone)) == []


@pytest.mark.parametrize("reset", [True, False])
def test_agents_that_have_trained_go_on_with_draws_of_their_own(reset: bool) -> None:
    ours, theirs = ([make(seed).learn(32) for seed, make in enumerate((ppo, a2c))] for _ in range(2))
    rt.learn(ours, 48, reset_num_timesteps=reset)
    for one, other in zip(ours, theirs, strict=True):
        first_draws(other).begin()
        other.learn(48, reset_num_timesteps=reset)
        assert difference(one, other) < 1e-5
        assert one.num_timesteps == other.num_timesteps == (48 if reset else 80)
    again = first_draws(ours[0]).torch
    assert not torch.equal(again, first_draws(theirs[0]).torch) or ours[0].num_timesteps == theirs[0].num_timesteps
    assert not torch.equal(again, first_draws(ppo(0)).torch)


def test_random_numbers_are_the_agents_own() -> None:
    """They depend on no neighbour and no earlier draw, and leave the global generators alone."""
    crowd = rt.learn([ppo(seed) for seed in range(3)], 48)[1]
    set_random_seed(5)
    agents = [ppo(7), ppo(1), ppo(9)]
    set_random_seed(5)
    before = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    rt.learn(agents, 48)
    assert before[0] == random.getstate()
    assert torch.equal(before[1], torch.get_rng_state())
    assert before[2] == np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    assert differing(dict(agents[1].policy.state_dict()), dict(crowd.policy.state_dict())) == []


def test_without_seeds_agents_draw_differently_and_a_global_seed_repeats_them() -> None:
    def trained() -> list[BaseAlgorithm]:
        set_random_seed(3)
        agents: list[BaseAlgorithm] = []
        for _ in range(2):
            agents.append(PPO("MlpPolicy", cartpole(), n_steps=16, batch_size=16, n_epochs=1, device="cpu"))
            agents[-1].get_env().seed(0)  # type: ignore[union-attr]
        agents[1].policy.load_state_dict(agents[0].policy.state_dict())
        return rt.learn(agents, 32)

    one, other = trained()
    assert difference(one, other) > 0
    assert differing(dict(trained()[0].policy.state_dict()), dict(one.policy.state_dict())) == []


def test_agents_are_their_own_afterwards(tmp_path: Path) -> None:
    agents = rt.learn([planted(ppo, seed) for seed in range(3)], 48)
    owners = {p.untyped_storage().data_ptr() for model in agents for p in model.policy.parameters()}
    assert len(owners) == 3 * len(list(agents[0].policy.parameters()))
    assert all(type(model.get_env()).__name__ == "DummyVecEnv" for model in agents)
    before = tensors(agents[0])
    agents[1].learn(32, reset_num_timesteps=False)
    assert agents[1].num_timesteps == 80
    assert differing(tensors(agents[0]), before) == []
    agents[2].save(tmp_path / "agent")
    assert differing(tensors(PPO.load(tmp_path / "agent", device="cpu")), tensors(agents[2])) == []


def test_logs_are_sb3s() -> None:
    def logged(make: Make, seed: int) -> tuple[BaseAlgorithm, Tags]:
        model, log = make(seed), Tags()
        model.set_logger(log)
        return model, log

    pairs = [logged(ppo, 0), logged(a2c, 1)]
    rt.learn([model for model, _ in pairs], 800)
    for make, (model, ours) in zip((ppo, a2c), pairs, strict=True):
        alone, theirs = logged(make, model.seed or 0)
        alone.learn(800)
        assert len(ours.seen) == len(theirs.seen) > 0
        assert ours.seen[0] == pytest.approx(theirs.seen[0], rel=1e-3, abs=1e-5, nan_ok=True)
        assert [sorted(line) for line in ours.seen] == [sorted(line) for line in theirs.seen]
    quiet = Tags()
    model = ppo(0)
    model.set_logger(quiet)
    rt.learn([model], 64, log_interval=2)
    assert [line["time/iterations"] for line in quiet.seen] == [2, 4]


def test_tensorboard_has_a_run_of_each(tmp_path: Path) -> None:
    rt.learn([ppo(seed, tensorboard_log=str(tmp_path)) for seed in range(2)], 32)
    rt.learn([ppo(0, tensorboard_log=str(tmp_path))], 32, tb_log_name="mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["PPO_1", "PPO_2", "mine_1"]


def tensor_bytes(path: Path) -> dict[str, int]:
    """Of the parts of an SB3 file that torch wrote: it writes whole storages, views or not."""
    with ZipFile(path) as file:
        return {part.filename: part.file_size for part in file.infolist() if part.filename.endswith(".pth")}


def test_sb3s_own_callbacks_do_in_a_cohort_what_they_do_plainly(tmp_path: Path) -> None:
    def callbacks(folder: Path) -> CallbackList:
        watch = EvalCallback(
            vec("CartPole-v1"),
            eval_freq=32,
            n_eval_episodes=2,
            log_path=str(folder),
            verbose=0,
            best_model_save_path=str(folder),
        )
        watch.eval_env.seed(3)
        return CallbackList([watch, CheckpointCallback(32, str(folder), verbose=0)])

    folders = [tmp_path / name for name in ("a", "b", "c", "d")]
    made = [callbacks(folder) for folder in folders]
    agents = [ppo(seed) for seed in (0, 1)]
    rt.learn(agents, 96, made[:2])
    for seed, callback in zip((0, 1), made[2:], strict=True):
        ppo(seed).learn(96, callback)
    for ours, theirs in zip(folders[:2], folders[2:], strict=True):
        names = sorted(path.name for path in theirs.iterdir())
        assert names == sorted(path.name for path in ours.iterdir())
        assert [name for name in names if name.endswith(".zip")][-1] == "rl_model_96_steps.zip"
        one, other = (np.load(folder / "evaluations.npz") for folder in (ours, theirs))
        assert all(np.array_equal(one[key], other[key]) for key in other)
        for name in (name for name in names if name.endswith(".zip")):
            first, second = (PPO.load(folder / name, device="cpu") for folder in (ours, theirs))
            assert difference(first, second) < 1e-5
            assert first.num_timesteps == second.num_timesteps
            assert tensor_bytes(ours / name) == tensor_bytes(theirs / name)


class Steps(BaseCallback):
    def _on_step(self) -> bool:
        return True


def test_a_callback_is_made_for_each_agent_or_given_for_each() -> None:
    made: list[Steps] = []

    def make() -> Steps:
        made.append(Steps())
        return made[-1]

    agents = [ppo(seed) for seed in range(2)]
    rt.learn(agents, 32, make)
    assert [(each.model, each.n_calls) for each in made] == [(model, 32) for model in agents]
    given: list[BaseCallback] = [StopAt(), Steps()]
    rt.learn(agents, 64, given)
    assert [model.num_timesteps for model in agents] == [41, 64]
    for wrong, error, message in (
        (Steps(), TypeError, "several agents cannot share one Steps: give a function"),
        ([Steps()], ValueError, "1 callbacks were given for 2 agents"),
        ([made[0]] * 2, ValueError, "the same callback"),
        ([print, print], TypeError, "must be an SB3 callback, got a builtin_function_or_method"),
    ):
        with pytest.raises(error, match=message):
            rt.learn(agents, 32, wrong)  # type: ignore[arg-type]


def test_what_cannot_be_trained_together_is_refused() -> None:
    env, model = cartpole(), ppo(0)
    bare = ppo(1)
    bare.env = None
    for agents, steps, error, message in (
        (model, 32, TypeError, "takes a list of agents"),
        ([model, 3], 32, TypeError, "number 1 is a int"),
        ([model, bare], 32, ValueError, "agent 1 has no environment"),
        ([model, model], 32, ValueError, "the same agent is to train twice"),
        ([model], 0, ValueError, "at least 1 environment step, got 0"),
        ([ppo(0, lambda: env), a2c(1, lambda: env)], 32, ValueError, "the same environment to two agents"),
    ):
        with pytest.raises(error, match=message):
            rt.learn(agents, steps)  # type: ignore[arg-type, type-var]
    assert model.num_timesteps == 0
    assert rt.learn([], 32) == []


class Failing(gym.Wrapper[Any, Any, Any, Any]):
    """Raises, or shows what is no number, from its 20th step on."""

    def __init__(self, shown: float | None = None) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self._shown, self._count = shown, 0

    def step(self, action: Any) -> Any:
        self._count += 1
        observation, *rest = super().step(action)
        if self._count >= 20:
            if self._shown is None:
                raise KeyError("no such state")
            observation = np.full_like(observation, self._shown)
        return observation, *rest


def test_an_error_leaves_the_agents_usable() -> None:
    agents = [ppo(0), ppo(1, lambda: vec(Failing)), ppo(2)]
    with pytest.raises(KeyError, match="no such state"):
        rt.learn(agents, 64)
    owners = {p.untyped_storage().data_ptr() for model in agents for p in model.policy.parameters()}
    assert len(owners) == 3 * len(list(agents[0].policy.parameters()))
    agents[1].set_env(cartpole())
    assert [model.num_timesteps for model in rt.learn(agents, 32)] == [32] * 3


def by_name(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    """Observed by name, beside what is always a number."""
    space = spaces.Dict(state=env.observation_space, side=spaces.Discrete(2))
    return gym.wrappers.TransformObservation(env, lambda seen: {"state": seen, "side": 1}, space)


@pytest.mark.parametrize("shown", [np.nan, np.inf])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize("named", [False, True])
def test_observations_that_are_no_numbers_are_told(shown: float, together: bool, named: bool) -> None:
    trainer: Any = rt.Cohorts() if together else rt.Plain()

    def make(seed: int) -> PPO:
        if named:
            return ppo(seed, lambda: vec(lambda: by_name(Failing(shown))), "MultiInputPolicy")
        return ppo(seed, lambda: vec(lambda: Failing(shown)))

    levels = rt.find_tickets(
        make,
        total_timesteps=64,
        densities=(1.0, 0.5),
        trainer=trainer,
        seed=4,
    )
    told = r"^level 0 of seed 4: the environment gave observations that are not numbers \(NaN or infinite\)$"
    with pytest.raises(ValueError, match=told):
        next(levels)
    with pytest.raises(ValueError, match="not numbers") if together else pytest.raises(ValueError, match="Expected"):
        (rt.learn if together else _plainly)([make(0)], 64)


class Unlicensed(gym.Wrapper[Any, Any, Any, Any]):
    """Cannot be stepped at all."""

    def __init__(self) -> None:
        super().__init__(gym.make("CartPole-v1"))

    def step(self, action: Any) -> Any:
        raise ValueError("no licence was found")


@pytest.mark.parametrize(
    "make", [ppo, lambda seed, env: DQN("MlpPolicy", env(), learning_starts=8, seed=seed, device="cpu")]
)
def test_what_the_first_step_raises_is_told_as_it_is(make: Any) -> None:
    levels = rt.find_tickets(
        lambda seed: make(seed, lambda: vec(Unlicensed)), total_timesteps=64, densities=(1.0, 0.5), trainer=rt.Plain()
    )
    with pytest.raises(ValueError, match="no licence was found"):
        next(levels)


def _plainly(agents: list[PPO], steps: int) -> None:
    for model in agents:
        model.learn(steps)


def test_one_that_diverges_stops_which_is_said_and_the_others_go_on() -> None:
    agents = [ppo(0), ppo(1, learning_rate=1e30)]
    with pytest.warns(rt.DivergenceWarning, match="agent 1, a PPO, diverged and stopped learning at step"):
        rt.learn(agents, 96)
    assert agents[0].num_timesteps == 96 > agents[1].num_timesteps
    with warnings.catch_warnings():
        alone = ppo(0).learn(96)
    assert difference(agents[0], alone) < 1e-5
