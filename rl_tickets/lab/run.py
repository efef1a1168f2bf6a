"""Running an experiment: its tasks on an executor, resumed without being asked, with a progress bar."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path

from rl_tickets.lab.executors import Group, local_processes, run_here, run_tasks
from rl_tickets.lab.experiment import Experiment
from rl_tickets.lab.mending import mend
from rl_tickets.lab.preparing import begin, prepared, say
from rl_tickets.lab.progress import progress
from rl_tickets.lab.share import Share
from rl_tickets.lab.store import Store
from rl_tickets.lab.task import Task
from rl_tickets.lab.user_errors import naming
from rl_tickets.report import Summary, write_report
from rl_tickets.report.rows import LevelRow, Run
from rl_tickets.report.tables import read_levels
from rl_tickets.search.plan import DENSE
from rl_tickets.tickets.selecting import LayerCollapseWarning
from rl_tickets.training.requests import DivergenceWarning


def run(
    experiment: Experiment,
    *,
    jobs: int | None = None,
    out: str | Path = "results",
    executor: Executor | None = None,
) -> Summary:
    """Runs an experiment, or what is left of it, and writes its report.

    Killed at any moment and started again, everything but timings and TensorBoard files ends the same, byte for byte.

    Args:
        experiment: what to run.
        jobs: worker processes, each with one torch thread; None: one for each core; 1 runs in this process. With an
            executor: how many tasks it is given at a time; None: all that can begin.
        out: parent of the results folder, which has the experiment's name.
        executor: any of processes in the style of `concurrent.futures`, instead of local ones; its workers see the
            same folder. It is not shut down.

    Raises:
        ValueError: an impossible setting, or the folder holds an experiment with other settings.
        RuntimeError: another run is at work in the folder, or a worker died.
        OSError: a file could not be written; it is named.
    """
    _demand_jobs(jobs)
    store = _store(experiment, out)
    with store.locked(), naming(store.folder):
        store.sweep(experiment.pool)
        experiment = begin(experiment, store)
        say(*mend(store))
        tasks = unfinished(experiment, store, experiment.groups)
        if not tasks:
            say(f"{store.folder} is complete, nothing is trained.")
        _train(experiment, store, tasks, jobs, executor, store.collect)
        _demand_here(experiment, store, experiment.groups)
        # A worker on a node that died may have left something since.
        store.sweep(experiment.pool)
        summary = _end(experiment, store)
    _tell(read_levels(store.folder), store.folder)
    return summary


def run_share(
    experiment: Experiment,
    share: Share,
    *,
    jobs: int | None = None,
    out: str | Path = "results",
    executor: Executor | None = None,
) -> Summary | None:
    """Runs one part of an experiment, beside others that run theirs in the same folder, in any order.

    Killed and started again at will, like `run`; the one that finishes last writes the report.

    Args:
        experiment: what to run a part of.
        share: the part.
        jobs: as in `run`.
        out: as in `run`.
        executor: as in `run`.

    Returns:
        What was found, None where other parts are not finished.

    Raises:
        RuntimeError: this part, one of another number with some of its seeds, or the whole experiment is at work.
            Otherwise as `run`.

    Example:
        rt.run_share(experiment, rt.Share.parse("3/16"))
    """
    _demand_jobs(jobs)
    store = _store(experiment, out)
    experiment, description = prepared(experiment, store)
    groups = share.of(experiment.groups)
    seeds = [seed for group in groups for seed in group if seed is not None]
    # Shares of another number may have the same seeds; what is half-written must have one owner, who may sweep it.
    with store.shared(share.name, *(f"seeds-{group[0]}" for group in groups)), naming(store.folder):
        with store.opened():
            description.settle(store.description)
            store.sweep(seeds)
            say(*mend(store))
            tasks = unfinished(experiment, store, groups)
        # Rows are collected at the end, by one for all.
        _train(experiment, store, tasks, jobs, executor, lambda: None)
        with store.opened():
            store.sweep(seeds)
            _demand_here(experiment, store, groups)
            if unfinished(experiment, store, experiment.groups):
                return None
            summary = _end(experiment, store)
    _tell(read_levels(store.folder), store.folder)
    return summary


def _store(experiment: Experiment, out: str | Path) -> Store:
    return Store((Path(out) / experiment.name).absolute())  # Workers may have another working directory.


def _demand_jobs(jobs: int | None) -> None:
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")


def _cores() -> int:
    """Cores that this process may use: of a node shared by the jobs of a cluster not all."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _train(
    experiment: Experiment,
    store: Store,
    tasks: list[Task],
    jobs: int | None,
    executor: Executor | None,
    finished: Callable[[], None],
) -> None:
    if not tasks:
        return
    with progress(experiment, store) as tell:
        if executor is not None:
            run_tasks(tasks, executor, tell, finished, jobs=jobs)
        elif jobs == 1:
            run_here(tasks, tell, finished)
        else:
            workers = min(jobs or _cores(), len(tasks))
            with local_processes(workers) as processes:
                run_tasks(tasks, processes, tell, finished, jobs=workers)


def _demand_here(experiment: Experiment, store: Store, groups: Sequence[Group]) -> None:
    """What the workers say is finished must be in this folder: theirs may be another of the same name."""
    if unfinished(experiment, store, groups):
        raise RuntimeError(
            f"what was trained is not in {store.folder}: choose an --out that all machines share, and run again"
        )


def _end(experiment: Experiment, store: Store) -> Summary:
    store.collect()
    store.settle()
    store.clean(dict.fromkeys(experiment.pool, experiment.plans))
    return write_report(store.folder)


def _tell(levels: Sequence[LevelRow], folder: Path) -> None:
    """One warning for all trainings that lost layers, one for all that diverged; CSV files and report have each."""
    where = folder / "levels.csv"
    if collapsed := [row for row in levels if row.collapsed]:
        layers = ", ".join(sorted({layer for row in collapsed for layer in row.collapsed.split()}))
        warnings.warn(
            f"layers lost their last weight, or kept it only by keep_last, in {len(collapsed)} runs from density "
            f"{max(row.density for row in collapsed):.3g} on: {layers}; see `collapsed` in {where}",
            LayerCollapseWarning,
            stacklevel=3,
        )
    if diverged := [row for row in levels if row.diverged]:
        warnings.warn(
            f"{len(diverged)} of {len(levels)} runs diverged, and searches went on from what was left of them; see "
            f"`diverged` and `problem` in {where}",
            DivergenceWarning,
            stacklevel=3,
        )


def unfinished(experiment: Experiment, store: Store, groups: Sequence[Group]) -> list[Task]:
    """Tasks of these groups with trainings left, and those whose outcomes such tasks need and that are gone."""
    left = _left(experiment, store)
    tasks = []
    for group in groups:
        slots = tuple(seed if left.get(seed) else None for seed in group if seed is not None)
        slots += (None,) * (len(group) - len(slots))
        wanted = {name for seed in slots if seed is not None for name in left[seed]}
        tasks += [Task(experiment, store, name, slots) for name in experiment.plans if name in wanted]
    return tasks


def _left(experiment: Experiment, store: Store) -> dict[int | None, set[str]]:
    """For each seed the plans that have something to train."""
    finished = store.finished()
    left: dict[int | None, set[str]] = {}
    for seed in experiment.pool:
        setup = experiment.setup(seed)
        plans = {name: plan for name, plan in experiment.plans.items() if seed in experiment.seeds_of(name)}
        runs = {name: [Run(name, seed, *each) for each in plan.trainings(setup)] for name, plan in plans.items()}
        missing = {name for name in plans if not finished.issuperset(runs[name])}
        needed = {need for name in missing for need in experiment.needs_of(name)} - missing
        left[seed] = missing | {need for need in needed if _gone(experiment, store, runs[need])}
    return left


def _gone(experiment: Experiment, store: Store, runs: Sequence[Run]) -> bool:
    """Whether what came of finished trainings can no longer be read, or lacks a state that is needed now."""
    points = {point for plan in experiment.searches.values() for point in plan.rewind_points} | {0}
    for run in runs:
        trained = store.trained(run)
        if trained is None:
            return True
        # The states of the shared dense run that are wanted; of a dense run of its own, whatever a search had kept.
        there = points <= {*trained.kept} if run.search == DENSE else bool(trained.kept)
        if run.level == 0 and not trained.diverged and not there:
            return True
    return False
