"""What worker processes gain and need, with either trainer; a whole small search with both."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from cartpole import experiment as cartpole

import rl_tickets as rt
from measures.cohorts import make_cartpole
from measures.peaks import peak_megabytes
from measures.rows import Row, ratios, row
from rl_tickets.lab.executors import local_processes, run_tasks
from rl_tickets.lab.run import begin, unfinished
from rl_tickets.lab.store import Store

TRAINERS = {"plain": rt.Plain(), "cohort": rt.Cohorts()}
LEVELS = {"plain": (1.0, 0.5), "cohort": (1.0, 0.5, 0.25, 0.12)}


def small(trainer: str) -> rt.Experiment:
    """Levels of equal length on CartPole, enough of them that starting a worker does not decide."""
    seeds = 4 if trainer == "plain" else 10
    return replace(
        cartpole,
        trainer=TRAINERS[trainer],
        total_timesteps=50_000,
        searches={"imp": rt.IMP()},
        densities=LEVELS[trainer],
        seeds=seeds,
        dense_seeds=seeds,
        episodes=10,
    )


def seconds(experiment: rt.Experiment, jobs: int) -> float:
    """In worker processes, also a single one, so that all pay for starting them."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "small")
        plan = begin(experiment, store)
        began = time.perf_counter()
        with local_processes(jobs) as processes:
            run_tasks(unfinished(plan, store, plan.groups), processes, lambda: None, store.collect, jobs=jobs)
        return time.perf_counter() - began


def plain_jobs(pairs: int) -> Iterator[Row]:
    yield _two_jobs("plain", pairs)


def cohort_jobs(pairs: int) -> Iterator[Row]:
    yield _two_jobs("cohort", pairs)


def _two_jobs(trainer: str, pairs: int) -> Row:
    seconds(small(trainer), 2)  # The first to run compiles, and the others find what it compiled.
    values = ratios(lambda: seconds(small(trainer), 1), lambda: seconds(small(trainer), 2), pairs)
    return row(f"{trainer} trainer, two jobs: one job's seconds / two jobs'", values, ">= 1.8")


def short_search(pairs: int) -> Iterator[Row]:
    """Once, since the plain side takes ten minutes."""
    yield from _search(16_384, ">= 8")


def long_search(pairs: int) -> Iterator[Row]:
    """Once, since the plain side takes half an hour."""
    yield from _search(49_152, ">= 10")


def _search(steps: int, goal: str) -> Iterator[Row]:
    """Eight seeds, twelve levels of so many environment steps, IMP and two controls."""
    experiment = replace(
        cartpole,
        make_model=make_cartpole,
        total_timesteps=steps,
        densities=rt.geometric(keep=0.8, levels=12),
        seeds=8,
        dense_seeds=8,
        searches={
            "imp": rt.IMP(),
            "random_reinit": rt.Control(rt.random_reinit),
            "permuted_mask": rt.Control(rt.permuted_mask),
        },
        episodes=20,
    )
    plain, cohort = (seconds(replace(experiment, trainer=trainer), 2) for trainer in TRAINERS.values())
    name = f"whole small search, {steps:,} steps a level, two jobs"
    yield row(f"{name}: plain / cohort, compiling included", [plain / cohort], goal)
    yield row(f"{name}: seconds with cohorts", [cohort])


def memory(pairs: int) -> Iterator[Row]:
    for trainer in TRAINERS:
        yield row(
            f"{trainer} trainer: peak memory of a worker on CartPole, MB", [peak_megabytes(_work, trainer)], "<= 700"
        )


def _work(trainer: str) -> None:
    experiment = replace(small(trainer), seeds=5).scaled(5_120)
    with tempfile.TemporaryDirectory() as folder:
        rt.run(replace(experiment, trainer=TRAINERS[trainer]), jobs=1, out=folder)
