"""`rt.learn` on many agents against their own `learn` calls, one after the other; and what a rehearsal costs."""

import time
from collections.abc import Iterator

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

import rl_tickets as rt
from measures.cohorts import MakeModel, make_cartpole, make_halfcheetah, make_lunarlander
from measures.rows import Row, pairs_of, row
from rl_tickets.training.cohorts import rehearsing


def together(pairs: int) -> Iterator[Row]:
    members, steps = 16, 49_152
    first = _together(1, members)
    beginning = first - _together(1, members)
    found = pairs_of(lambda: _one_by_one(steps, members // 8) * 8, lambda: _together(steps, members), pairs)
    name = f"{members} PPO agents on CartPole, 8 environments, {steps:,} steps: learn calls / rt.learn"
    yield row(name, [plain / cohort for plain, cohort in found], ">= 8")
    yield row(f"{name}, compiling included", [plain / (cohort + beginning) for plain, cohort in found])
    _together(1, 1)
    alone = pairs_of(lambda: _one_by_one(steps, 1), lambda: _together(steps, 1), pairs)
    yield row("one such agent: learn / rt.learn, once compiled", [plain / cohort for plain, cohort in alone])


def rehearsal(pairs: int) -> Iterator[Row]:
    makes = {"CartPole": make_cartpole, "HalfCheetah": make_halfcheetah, "LunarLander": make_lunarlander}
    for name, make_model in makes.items():
        model = make_model(0)
        yield row(f"rehearsal of PPO on {name}, seconds", [_rehearsed(model) for _ in range(pairs)])


def _agents(make_model: MakeModel, count: int) -> list[BaseAlgorithm]:
    agents = [make_model(seed) for seed in range(count)]
    for model in agents:
        model.set_logger(Logger(None, []))
    return agents


def _together(steps: int, count: int) -> float:
    agents = _agents(make_cartpole, count)
    began = time.perf_counter()
    rt.learn(agents, steps)
    return time.perf_counter() - began


def _one_by_one(steps: int, count: int) -> float:
    agents = _agents(make_cartpole, count)
    began = time.perf_counter()
    for model in agents:
        model.learn(steps)
    return time.perf_counter() - began


def _rehearsed(model: BaseAlgorithm) -> float:
    began = time.perf_counter()
    rehearsing._rehearse(model)
    return time.perf_counter() - began
