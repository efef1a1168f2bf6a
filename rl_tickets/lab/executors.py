"""Tasks over worker processes that neither outlive their parent nor keep it waiting."""

from __future__ import annotations

import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process

import cloudpickle  # type: ignore[import-untyped]

from rl_tickets.lab.task import Task

POLL = 0.5
"""Seconds between two looks at the progress of the workers."""


def run_workers(tasks: list[Task], jobs: int, tell: Callable[[], None]) -> None:
    """Runs tasks in worker processes, those that others need first; `tell` is called about twice a second.

    Raises:
        ValueError: the experiment cannot be sent to another process.
        RuntimeError: a worker died. Whatever a worker raises is raised here, and the others are ended.
    """
    waiting = {(task.search, task.seeds): task for task in tasks}
    pickled = {key: _pickled(task) for key, task in waiting.items()}
    running: dict[Future[None], tuple[str, tuple[int, ...]]] = {}
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), get_context("spawn"), initializer=_watch_parent)
    try:
        while waiting or running:
            blocked = {*waiting, *running.values()}
            for key, task in list(waiting.items()):
                if len(running) < jobs and not any((need, task.seeds) in blocked for need in task.needs):
                    with _keyboard_kept():
                        running[pool.submit(_run_pickled, pickled[key])] = key
                    del waiting[key]
            done, _ = wait(running, timeout=POLL, return_when=FIRST_COMPLETED)
            tell()
            for future in done:
                del running[future]
                future.result()
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


def _run_pickled(task: bytes) -> None:
    try:
        cloudpickle.loads(task).run()
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:  # What cannot travel would break the pool and hide what went wrong.
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise


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
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
