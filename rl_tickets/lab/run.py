"""Running an experiment: its tasks on an executor, resumed without being asked, with a progress bar."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.making import fresh_agent
from rl_tickets.evaluation.returns import RandomPolicy, play
from rl_tickets.lab.description import Description
from rl_tickets.lab.executors import local_processes, run_here, run_tasks
from rl_tickets.lab.experiment import Experiment
from rl_tickets.lab.progress import progress
from rl_tickets.lab.share import Share
from rl_tickets.lab.store import Store
from rl_tickets.lab.task import Task, one_thread
from rl_tickets.lab.user_errors import naming
from rl_tickets.report import Summary, write_report
from rl_tickets.report.rows import LevelRow, Run
from rl_tickets.report.tables import read_levels
from rl_tickets.search.plan import DENSE
from rl_tickets.tickets.selecting import LayerCollapseWarning
from rl_tickets.training.requests import DivergenceWarning
from rl_tickets.training.trainers import Plain

SMALL = 100e6
"""Bytes of final weights that are kept where nobody says how many to keep."""


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
        jobs: worker processes, each with one torch thread; None: one for each core; 1 runs in this process.
        out: parent of the results folder, which has the experiment's name.
        executor: any in the style of `concurrent.futures`, instead of local processes; its workers see the same folder.

    Raises:
        ValueError: an impossible setting, or the folder holds an experiment with other settings.
        RuntimeError: another run is at work in the folder, or a worker died.
        OSError: a file could not be written; it is named.
    """
    store = _store(experiment, out)
    jobs = _jobs(jobs)
    with store.locked(), naming(store.folder):
        store.sweep()
        experiment = begin(experiment, store)
        _train(experiment, store, unfinished(experiment, store, experiment.groups), jobs, executor, store.collect)
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
        RuntimeError: this part, or the whole experiment, is at work already. Otherwise as `run`.
    """
    store = _store(experiment, out)
    jobs = _jobs(jobs)
    with store.shared(share.name), naming(store.folder):
        with store.opened():
            experiment = begin(experiment, store)
        tasks = unfinished(experiment, store, share.of(experiment.groups))
        # Rows are collected at the end, by one for all.
        _train(experiment, store, tasks, jobs, executor, lambda: None)
        with store.opened():
            if unfinished(experiment, store, experiment.groups):
                return None
            summary = _end(experiment, store)
    _tell(read_levels(store.folder), store.folder)
    return summary


def _store(experiment: Experiment, out: str | Path) -> Store:
    return Store((Path(out) / experiment.name).absolute())  # Workers may have another working directory.


def _jobs(jobs: int | None) -> int:
    jobs = os.cpu_count() or 1 if jobs is None else jobs
    if jobs < 1:
        raise ValueError(f"jobs must be at least 1, got {jobs}")
    return jobs


def _train(
    experiment: Experiment,
    store: Store,
    tasks: list[Task],
    jobs: int,
    executor: Executor | None,
    finished: Callable[[], None],
) -> None:
    if not tasks:
        return
    with progress(experiment, store) as tell:
        if executor is not None:
            run_tasks(tasks, executor, tell, finished)
        elif jobs == 1:
            run_here(tasks, tell, finished)
        else:
            with local_processes(min(jobs, len(tasks))) as processes:
                run_tasks(tasks, processes, tell, finished, jobs=jobs)


def _end(experiment: Experiment, store: Store) -> Summary:
    store.collect()
    store.settle()
    store.clean(dict.fromkeys(experiment.all_seeds, experiment.plans))
    return write_report(store.folder)


def begin(experiment: Experiment, store: Store) -> Experiment:
    """Fills in what follows from the agent, and writes or checks the description of the experiment."""
    with one_thread():
        model = fresh_agent(experiment.make_model, experiment.all_seeds[0])
        anatomy.optimizers(model)  # Without any there is nothing to hold, whatever else would be said.
        if experiment.segment is None:
            segment = 5_000 if getattr(model, "replay_buffer", None) is not None else 50_000
            experiment = replace(experiment, segment=segment)
        experiment = _sized(_joined(experiment.on_grid(), model), model)
        for plan in experiment.searches.values():
            plan.check_agent(model, experiment.setup(experiment.all_seeds[0]))
        random = RandomPolicy(model.action_space, seed=experiment.evaluation_seed)
        episodes = max(experiment.episodes, 20)
        played = play(random, experiment.make_env, episodes=episodes, seed=experiment.evaluation_seed)
        description = Description.of(experiment, model, float(played.returns.mean()))
    if (env := model.get_env()) is not None:
        env.close()
    description.settle(store.description)
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


def _sized(experiment: Experiment, model: BaseAlgorithm) -> Experiment:
    """With all final weights kept where they are small, else the last ones', which is said once."""
    if experiment.keep is not None:
        return experiment
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.policy.state_dict().values())
    setup = experiment.setup(experiment.all_seeds[0])
    count = sum(len(plan.trainings(setup)) for plan in experiment.plans.values()) * len(experiment.all_seeds)
    if size * count <= SMALL:
        return replace(experiment, keep="all")
    Console(stderr=True, soft_wrap=True, highlight=False).print(
        f"The final weights of all {count} trainings would take {size * count / 1e6:.0f} MB, so only those of each "
        'search\'s last level are kept; Experiment(keep="all") keeps them all.',
        markup=False,
    )
    return replace(experiment, keep="last")


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


def unfinished(experiment: Experiment, store: Store, groups: Sequence[tuple[int | None, ...]]) -> list[Task]:
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
    finished, plans = store.finished(), experiment.plans
    left: dict[int | None, set[str]] = {}
    for seed in experiment.all_seeds:
        setup = experiment.setup(seed)
        runs = {name: [Run(name, seed, *each) for each in plan.trainings(setup)] for name, plan in plans.items()}
        missing = {name for name in plans if not finished.issuperset(runs[name])}
        needed = list(missing)
        for name in needed:  # What is found goes on the same list, so that needs of needs are found too.
            gone = {need for need in plans[name].needs if need not in missing and _gone(experiment, store, runs[need])}
            missing |= gone
            needed += gone
        left[seed] = missing
    return left


def _gone(experiment: Experiment, store: Store, runs: Sequence[Run]) -> bool:
    """Whether what came of finished trainings can no longer be read, or lacks a state that is needed now."""
    points = {point for plan in experiment.searches.values() for point in plan.rewind_points} | {0}
    for run in runs:
        trained = store.trained(run)
        if trained is None or (run.search == DENSE and not trained.diverged and not points <= {*trained.kept}):
            return True
    return False
