"""Executors of tasks: this process, local worker processes, or any executor in the style of `concurrent.futures`."""

from __future__ import annotations

import os
import pickle
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

from rl_tickets.lab.task import Task

POLL = 0.5
"""Seconds between two looks at the progress of the workers."""
Group = tuple[int | None, ...]


def run_here(tasks: Sequence[Task], tell: Callable[[], None], finished: Callable[[], None]) -> None:
    """Runs tasks in this process, one after the other; see `run_tasks`."""
    train = tasks[0].experiment.trainer.start()
    for task in ordered(tasks):
        task.run(train, tell)
        finished()
        tell()


def run_tasks(
    tasks: Sequence[Task],
    executor: Executor,
    tell: Callable[[], None],
    finished: Callable[[], None],
    *,
    jobs: int | None = None,
) -> None:
    """Runs tasks on an executor, those that others need first.

    Args:
        tasks: of one experiment.
        executor: with `submit(function, *arguments) -> Future`; it is left as it is, and not shut down.
        tell: called about twice a second.
        finished: called whenever a task is finished.
        jobs: tasks that are submitted at a time; None: all that need not wait for another.

    Raises:
        ValueError: the experiment cannot be sent to another process, or the executor's workers are threads.
        Exception: whatever a task raised; what had not begun is cancelled, and what runs on Ray too.
    """
    if isinstance(executor, ThreadPoolExecutor):
        raise ValueError("threads would share torch's random numbers: choose an executor of processes")
    waiting = {(task.plan, task.slots): task for task in ordered(tasks)}
    pickled = {key: _pickled(task) for key, task in waiting.items()}
    running: dict[Future[None], tuple[str, Group]] = {}
    try:
        while waiting or running:
            blocked = {*waiting, *running.values()}
            for key, task in list(waiting.items()):
                room = jobs is None or len(running) < jobs
                if room and not any((need, task.slots) in blocked for need in task.needs):
                    running[executor.submit(run_pickled, pickled[key])] = key
                    del waiting[key]
            done, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
            tell()
            for future in done:
                del running[future]
                future.result()
                finished()
    except BaseException:
        for future in running:
            future.cancel()
        raise


@contextmanager
def local_processes(jobs: int) -> Iterator[Executor]:
    """Worker processes that neither outlive their parent nor keep it waiting.

    Raises:
        RuntimeError: a worker died.
    """
    pool = _Processes(jobs, get_context("spawn"), initializer=_watch_parent)
    try:
        yield pool
    except BrokenProcessPool:
        _end(pool)
        raise RuntimeError(
            "a worker process died: killed for memory perhaps, or the script lacks `if __name__ == '__main__':`; "
            "what is finished is kept, run again to go on"
        ) from None
    except BaseException:
        _end(pool)
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Processes(ProcessPoolExecutor):
    """Whose processes, which begin with the first tasks, never see Ctrl-C."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        with _keyboard_kept():
            return super().submit(fn, *args, **kwargs)


def ordered(tasks: Sequence[Task]) -> list[Task]:
    """Tasks group after group, and in each group those that others need first."""
    left, found = list(tasks), list[Task]()
    while left:
        blocked = {(task.plan, task.slots) for task in left}
        free = next((t for t in left if not any((need, t.slots) in blocked for need in t.needs)), None)
        if free is None:
            names = ", ".join(sorted({task.plan for task in left}))
            raise ValueError(f"these searches need each other, so that none can begin: {names}")
        left.remove(free)
        found.append(free)
    return found


def _end(pool: ProcessPoolExecutor) -> None:
    """Workers in the middle of a level lose at most a segment; waiting for them could take minutes."""
    for process in list((pool._processes or {}).values()):
        process.kill()


def _pickled(task: Task) -> bytes:
    try:
        pickled: bytes = cloudpickle.dumps(task)
    except (TypeError, pickle.PicklingError) as error:
        raise ValueError(
            f"the experiment cannot be sent to worker processes ({error}); let make_model, make_env and callback make "
            "what they use, or choose jobs=1"
        ) from error
    return pickled


def run_pickled(task: bytes) -> None:
    """Runs a task that was sent here, in whichever process and on whichever machine."""
    try:
        loaded = _loaded(task)
        _demand_shared(loaded.store.description)
        loaded.run()
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # What cannot travel would break the pool and hide what went wrong.
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise


def _loaded(task: bytes) -> Task:
    try:
        loaded: Task = cloudpickle.loads(task)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{platform.node()} has {error.msg.lower()}, which the experiment needs: install it there, or put it "
            "beside the script where all machines see it"
        ) from error
    return loaded


def _demand_shared(description: Path) -> None:
    if not description.exists():
        raise ValueError(
            f"{platform.node()} does not see {description.parent}, where the results go: choose an --out that all "
            "machines share"
        )


@contextmanager
def _keyboard_kept() -> Iterator[None]:
    """Processes started in here never see Ctrl-C, which reaches the whole terminal; the parent sees it after this."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows.
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _watch_parent() -> None:
    """Ends this worker as soon as the process that started it is gone, however it went."""
    parent: Any = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
