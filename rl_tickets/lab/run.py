"""Running an experiment: tasks over worker processes, resumed without being asked, with a progress bar."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.evaluation.returns import RandomPolicy, play
from rl_tickets.lab.executors import run_workers
from rl_tickets.lab.experiment import DENSE, IMP, Experiment
from rl_tickets.lab.store import Store
from rl_tickets.lab.task import Task, one_thread, ordered
from rl_tickets.lab.user_errors import naming
from rl_tickets.report import Summary, write_report
from rl_tickets.report.rows import LevelRow, read_csv
from rl_tickets.search.imp import check_agent
from rl_tickets.tickets.selecting import LayerCollapseWarning
from rl_tickets.training.requests import fresh_agent
from rl_tickets.training.trainers import Plain

MINUTE = 60.0


def run(experiment: Experiment, *, jobs: int | None = None, out: str | Path = "results") -> Summary:
    """Runs an experiment, or what is left of it, and writes its report.

    Killed at any moment and started again, everything but timings and TensorBoard files ends the same, byte for byte.

    Args:
        experiment: what to run.
        jobs: worker processes, each with one torch thread; None: one for each core; 1 runs in this process.
        out: parent of the results folder, which has the experiment's name.

    Raises:
        ValueError: an impossible setting, or the folder holds an experiment with other settings.
        RuntimeError: another run is at work in the folder, or a worker died.
        OSError: a file could not be written; it is named.
    """
    jobs = os.cpu_count() or 1 if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    store = Store(Path(out) / experiment.name)
    with store.locked(), naming(store.folder):
        store.sweep()
        experiment = begin(experiment, store)
        tasks = unfinished(experiment, store)
        if tasks:
            with _progress(experiment, store) as tell:
                _run_here(tasks, tell) if jobs == 1 else run_workers(tasks, jobs, tell)
        store.collect()
        store.clean(experiment)
        summary = write_report(store.folder)
    _tell_collapses(store)
    return summary


def begin(experiment: Experiment, store: Store) -> Experiment:
    """Fills in the default segment, and writes or checks the settings."""
    with one_thread():
        model = fresh_agent(experiment.make_model, experiment.all_seeds[0])
        agent = _describe(model)
        for plan in experiment.searches.values():
            if isinstance(plan, IMP):
                check_agent(
                    model,
                    plan.densities or experiment.densities,
                    total_timesteps=experiment.total_timesteps,
                    prunable=experiment.prunable,
                    rewind=plan.rewind,
                    keep_last=plan.keep_last,
                )
        experiment = _joined(experiment, model)
        random = RandomPolicy(model.action_space, seed=experiment.evaluation_seed)
        episodes = max(experiment.episodes, 20)
        played = play(random, experiment.make_env, episodes=episodes, seed=experiment.evaluation_seed)
    if experiment.segment is None:
        segment = 5_000 if getattr(model, "replay_buffer", None) is not None else 50_000
        experiment = replace(experiment, segment=segment)
    if (env := model.get_env()) is not None:
        env.close()
    store.open(experiment, agent, float(played.returns.mean()))
    return experiment


def _joined(experiment: Experiment, model: BaseAlgorithm) -> Experiment:
    """With plain SB3 as the trainer where the agent cannot be trained as asked, which is said once."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    if (obstacle := experiment.trainer.obstacle(model)) is not None:
        console.print(f"This agent trains with plain SB3, since {obstacle}.", markup=False)
        return replace(experiment, trainer=Plain())
    if (remark := experiment.trainer.remark()) is not None:
        console.print(remark, markup=False)
    return experiment


def _tell_collapses(store: Store) -> None:
    """One warning for all levels, seeds and searches; `levels.csv` and the report have them one by one."""
    levels = [row for row in read_csv(LevelRow, store.folder) if row.collapsed]
    if levels:
        layers = ", ".join(sorted({layer for row in levels for layer in row.collapsed.split()}))
        warnings.warn(
            f"layers lost their last weight, or kept it only by keep_last, in {len(levels)} runs from density "
            f"{max(row.density for row in levels):.3g} on: {layers}; see `collapsed` in {store.folder / 'levels.csv'}",
            LayerCollapseWarning,
            stacklevel=3,
        )


def _describe(model: Any) -> dict[str, Any]:
    """The agent's classes, shapes and plain hyperparameters: what a changed script would change."""
    volatile = {"seed", "start_time", "tensorboard_log", "verbose", "num_timesteps"}
    plain = {
        name: value
        for name, value in vars(model).items()
        if not name.startswith("_") and name not in volatile and isinstance(value, int | float | str | bool | None)
    }
    schedules = {
        name: [float(value(progress)) for progress in (1.0, 0.5, 0.0)]
        for name, value in vars(model).items()
        if name in ("lr_schedule", "clip_range", "exploration_schedule") and callable(value)
    }
    return {
        "algorithm": type(model).__name__,
        "environment": anatomy.environment_name(model),
        "hyperparameters": dict(sorted(plain.items())),
        "schedules": schedules,
        "optimizers": {path: type(optimizer).__name__ for path, optimizer in anatomy.optimizers(model).items()},
        "parameters": {name: list(p.shape) for name, p in model.policy.named_parameters()},
    }


def unfinished(experiment: Experiment, store: Store) -> list[Task]:
    """Tasks with levels left to train; for such seeds the dense run too, if its states are no longer there."""
    finished = store.finished()
    names = [DENSE, *experiment.searches]

    def missing(search: str, seed: int) -> bool:
        return any((search, seed, level) not in finished for level in experiment.levels(search))

    complete = {seed for seed in experiment.all_seeds if not any(missing(name, seed) for name in names)}
    return [
        task
        for task in ordered(experiment, store, complete)
        if any(missing(task.search, seed) for seed in task.seeds)
        or (task.search == DENSE and any(store.finished_level(DENSE, seed, 0) is None for seed in task.seeds))
    ]


def _run_here(tasks: list[Task], tell: Callable[[], None]) -> None:
    for task in tasks:
        task.run(tell)
        tell()


@contextmanager
def _progress(experiment: Experiment, store: Store) -> Iterator[Callable[[], None]]:
    """A progress bar in levels with the time left; a line a minute where there is no terminal."""
    console = Console()
    names = [DENSE, *experiment.searches]
    total = sum(len(experiment.levels(name)) for name in names) * len(experiment.all_seeds)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total:.0f} levels"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=600) as bar:
        done = store.levels_done()
        shown = bar.add_task(experiment.name, total=total)
        bar.update(shown, completed=round(done, 2))
        began = last = time.monotonic()
        first = done

        def tell() -> None:
            nonlocal last
            done = store.levels_done()
            bar.update(shown, completed=round(done, 2))
            if time.monotonic() - last > MINUTE:
                last = time.monotonic()
                store.collect()
                left = (total - done) * (last - began) / max(done - first, 1e-9)
                if not console.is_terminal:
                    console.print(
                        f"{experiment.name}: {done:.1f} of {total} levels, about {left / MINUTE:.0f} min left"
                    )

        yield tell
        tell()
