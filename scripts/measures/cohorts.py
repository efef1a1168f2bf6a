"""Plain SB3 against cohorts, in seconds per member on one core; and against the simulator alone."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from lunarlander import make_env as make_lander
from minatar_breakout import make_model as make_breakout
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize

import rl_tickets as rt
from measures.rows import Row, pairs_of, row
from rl_tickets.agents.segments import begin_segment
from rl_tickets.training.requests import Training
from rl_tickets.training.runs import Setting, TrainingRun
from rl_tickets.training.trainers import learn

MakeModel = Callable[[int], BaseAlgorithm]
MakeCallback = Callable[[], BaseCallback]


def make_cartpole(seed: int) -> PPO:
    """SB3's own hyperparameters, eight environments."""
    return PPO("MlpPolicy", make_vec_env("CartPole-v1", n_envs=8, seed=seed), seed=seed, device="cpu")


def make_halfcheetah(seed: int) -> PPO:
    """SB3's own hyperparameters, one environment."""
    return PPO("MlpPolicy", VecNormalize(make_vec_env("HalfCheetah-v5", seed=seed)), seed=seed, device="cpu")


def make_lunarlander(seed: int) -> PPO:
    """rl-zoo's hyperparameters."""
    env = make_vec_env(make_lander, n_envs=16, seed=seed)
    zoo = {"n_steps": 1024, "batch_size": 64, "n_epochs": 4, "gamma": 0.999, "gae_lambda": 0.98, "ent_coef": 0.01}
    return PPO("MlpPolicy", env, **zoo, seed=seed, device="cpu")


def runs(make_model: MakeModel, steps: int, count: int, callback: MakeCallback | None = None) -> list[TrainingRun]:
    """Dense runs of so many seeds."""
    return [
        TrainingRun(Setting(make_model, s, steps, callback=callback, log=_quiet), Training(0)) for s in range(count)
    ]


def _quiet(model: BaseAlgorithm) -> None:
    model.set_logger(Logger(None, []))


def plain_seconds(make_model: MakeModel, steps: int, callback: MakeCallback | None = None) -> float:
    (run,) = runs(make_model, steps, 1, callback)
    began = time.perf_counter()
    learn(run)
    return time.perf_counter() - began


def cohort_seconds(make_model: MakeModel, steps: int, members: int, callback: MakeCallback | None = None) -> float:
    """Per member."""
    trained = runs(make_model, steps, members, callback)
    began = time.perf_counter()
    rt.Cohorts().start()(trained)
    return (time.perf_counter() - began) / members


def cohorts(pairs: int) -> Iterator[Row]:
    yield from against_plain("PPO on CartPole, 8 environments, 49,152 steps", make_cartpole, 49_152, 16, ">= 8", pairs)
    yield from against_plain(
        "PPO on HalfCheetah, 1 environment, 20,480 steps", make_halfcheetah, 20_480, 8, ">= 4", pairs
    )


def convolutions(pairs: int) -> Iterator[Row]:
    yield from against_plain(
        "PPO on MinAtar Breakout, small CNN, 8,192 steps", make_breakout, 8_192, 4, ">= 1.8", pairs
    )


def against_plain(name: str, make_model: MakeModel, steps: int, members: int, goal: str, pairs: int) -> Iterator[Row]:
    """The same training both ways, in turn; what compiling and rehearsing take is told apart."""
    first = cohort_seconds(make_model, 1, members) * members
    compiling = first - cohort_seconds(make_model, 1, members) * members
    found = pairs_of(
        partial(plain_seconds, make_model, steps), partial(cohort_seconds, make_model, steps, members), pairs
    )
    name = f"{name}, {members} members"
    yield row(f"{name}: plain SB3, seconds per member", [plain for plain, _ in found])
    yield row(f"{name}: cohort, seconds per member", [cohort for _, cohort in found])
    yield row(f"{name}: plain / cohort", [plain / cohort for plain, cohort in found], goal)
    included = [plain / (cohort + compiling / members) for plain, cohort in found]
    yield row(f"{name}: plain / cohort, compiling included", included)
    yield row(f"{name}: seconds to compile, no cache", [compiling])


class Actions(BaseCallback):
    """Remembers every action the environments were given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def _on_step(self) -> bool:
        self.seen.append(self.locals["clipped_actions"].copy())
        return True


def simulator(pairs: int) -> Iterator[Row]:
    """LunarLander: training against stepping the same environments with the same actions in the same order."""
    members, steps = 8, 65_536
    cohort_seconds(make_lunarlander, 1, members)
    training, bare, vectorised = [], [], []
    for _ in range(pairs):
        recorded: list[Actions] = []

        def remember(recorded: list[Actions] = recorded) -> Actions:
            recorded.append(Actions())
            return recorded[-1]

        trained = runs(make_lunarlander, steps, members, remember)
        began = time.perf_counter()
        rt.Cohorts().start()(trained)
        training.append(time.perf_counter() - began)
        envs = [run.model.get_env() for run in trained]
        actions = [member.seen for member in recorded]
        bare.append(_replayed(_step_each, trained, envs, actions))
        vectorised.append(_replayed(_step_together, trained, envs, actions))
    name = f"PPO on LunarLander, 16 environments, {steps:,} steps, {members} members"
    yield row(f"{name}: cohort, seconds per member", [seconds / members for seconds in training])
    yield row(f"{name}: training / bare stepping", [a / b for a, b in zip(training, bare, strict=True)], "<= 1.3")
    together = [a / b for a, b in zip(training, vectorised, strict=True)]
    yield row(f"{name}: training / stepping SB3's DummyVecEnv", together, "beside")


def _replayed(
    step: Callable[[Any, Any], None],
    trained: Sequence[TrainingRun],
    envs: Sequence[Any],
    actions: Sequence[Sequence[Any]],
) -> float:
    """Seconds of all members' environments in turn, as in training, from the same first state."""
    for run in trained:
        begin_segment(run.model, 0, 0)
    began = time.perf_counter()
    for together in zip(*actions, strict=True):
        for env, action in zip(envs, together, strict=True):
            step(env, action)
    return time.perf_counter() - began


def _step_each(env: Any, actions: Any) -> None:
    for inner, action in zip(env.envs, actions, strict=True):
        _, _, terminated, truncated, _ = inner.step(action)
        if terminated or truncated:
            inner.reset()


def _step_together(env: Any, actions: Any) -> None:
    env.step(actions)
