"""Plain SB3 against cohorts, in seconds per member on one core; and against the simulator alone."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lunarlander import make_model as make_lunarlander
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import VecNormalize

import rl_tickets as rt
from measures.rows import Row, pairs_of, row
from rl_tickets.agents.runs import Run, Setting
from rl_tickets.agents.segments import begin_segment
from rl_tickets.agents.trainers import learn
from rl_tickets.agents.training import Training

MakeModel = Callable[[int], BaseAlgorithm]


def make_cartpole(seed: int) -> PPO:
    """SB3's own hyperparameters, eight environments."""
    return PPO("MlpPolicy", make_vec_env("CartPole-v1", n_envs=8, seed=seed), seed=seed, device="cpu")


def make_halfcheetah(seed: int) -> PPO:
    """SB3's own hyperparameters, one environment."""
    return PPO("MlpPolicy", VecNormalize(make_vec_env("HalfCheetah-v5", seed=seed)), seed=seed, device="cpu")


def runs(
    make_model: MakeModel, steps: int, count: int, callback: Callable[[], BaseCallback] | None = None
) -> list[Run]:
    """Dense runs of so many seeds."""
    return [Run(Setting(make_model, s, steps, callback=callback, log=_quiet), Training(0)) for s in range(count)]


def _quiet(model: BaseAlgorithm, level: int) -> None:
    model.set_logger(Logger(None, []))


def plain_seconds(make_model: MakeModel, steps: int) -> float:
    (run,) = runs(make_model, steps, 1)
    began = time.perf_counter()
    learn(run)
    return time.perf_counter() - began


def cohort_seconds(make_model: MakeModel, steps: int, members: int) -> float:
    """Per member."""
    trained = runs(make_model, steps, members)
    began = time.perf_counter()
    rt.Cohorts().train(trained)
    return (time.perf_counter() - began) / members


def cohorts(pairs: int) -> Iterator[Row]:
    cases: Sequence[tuple[str, MakeModel, int, int, str]] = (
        ("CartPole, 8 environments, 49,152 steps", make_cartpole, 49_152, 16, ">= 8"),
        ("HalfCheetah, 1 environment, 20,480 steps", make_halfcheetah, 20_480, 8, ">= 4"),
    )
    for name, make_model, steps, members, goal in cases:
        first = cohort_seconds(make_model, 1, members) * members
        compiling = first - cohort_seconds(make_model, 1, members) * members
        found = pairs_of(
            lambda m=make_model, n=steps: plain_seconds(m, n),
            lambda m=make_model, n=steps, k=members: cohort_seconds(m, n, k),
            pairs,
        )
        name = f"PPO on {name}, {members} members"
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
    """LunarLander, rl-zoo's hyperparameters: training against stepping the same environments with the same actions."""
    members, steps = 8, 65_536
    cohort_seconds(make_lunarlander, 1, members)
    found = []
    for _ in range(pairs):
        recorded: list[Actions] = []

        def remember(recorded: list[Actions] = recorded) -> Actions:
            recorded.append(Actions())
            return recorded[-1]

        trained = runs(make_lunarlander, steps, members, remember)
        began = time.perf_counter()
        rt.Cohorts().train(trained)
        training = time.perf_counter() - began
        bare = sum(_bare_seconds(run, actions) for run, actions in zip(trained, recorded, strict=True))
        found.append((training, bare))
    name = f"PPO on LunarLander, 16 environments, {steps:,} steps, {members} members"
    yield row(f"{name}: cohort, seconds per member", [training / members for training, _ in found])
    yield row(f"{name}: training / bare stepping", [training / bare for training, bare in found], "<= 1.3")


def _bare_seconds(run: Run, actions: Actions) -> float:
    begin_segment(run.model, 0, 0)
    env = run.model.get_env()
    assert env is not None
    envs = env.unwrapped.envs  # type: ignore[attr-defined]
    began = time.perf_counter()
    for step in actions.seen:
        for inner, action in zip(envs, step, strict=True):
            _, _, terminated, truncated, _ = inner.step(action)
            if terminated or truncated:
                inner.reset()
    return time.perf_counter() - began
