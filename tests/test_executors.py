"""Any executor in the style of `concurrent.futures` gives what one process gives, and one sentence where it cannot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from tiny import PPO_EXPERIMENT, assert_same, make_env

import rl_tickets as rt

EXPERIMENT = replace(
    PPO_EXPERIMENT,
    trainer=rt.Plain(),  # Every seed is a group of its own.
    searches={"imp": rt.IMP(criterion=rt.lamp), "random_reinit": rt.Control(rt.random_reinit)},
)
SMALL = replace(EXPERIMENT, seeds=1, dense_seeds=1, densities=(1.0, 0.5))


class Here(Executor):
    """Runs what is submitted at once, within `around`, and remembers how much was."""

    def __init__(self, around: Callable[[], Any]) -> None:
        self.around, self.submitted = around, 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        try:
            with self.around():
                future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Watched(Executor):
    """Another executor's, and how many tasks it had at a time at most."""

    def __init__(self, inner: Executor) -> None:
        self.inner, self.futures, self.most = inner, list[Future[Any]](), 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.futures.append(self.inner.submit(fn, *args, **kwargs))
        self.most = max(self.most, sum(not future.done() for future in self.futures))
        return self.futures[-1]


class Odd(Exception):
    """Cannot be sent from one process to another."""

    def __init__(self, what: str, where: int) -> None:
        super().__init__(what)


def raising(parent: int, error: Callable[[], Exception]) -> gym.Env[Any, Any]:
    """An environment that works in the process that asks for the experiment, and in no other."""
    if os.getpid() != parent:
        raise error()
    return make_env()


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """A user's own, shared by all tests: nothing that is run on it may shut it down or break it."""
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        yield pool
        assert pool.submit(os.getpid).result() != os.getpid()


def test_processes_of_ones_own(pool: ProcessPoolExecutor, tmp_path: Path) -> None:
    rt.run(EXPERIMENT, jobs=1, out=tmp_path / "here")
    all_at_once, one_at_a_time = Watched(pool), Watched(pool)
    summary = rt.run(EXPERIMENT, executor=all_at_once, out=tmp_path / "there")
    assert_same(tmp_path / "there" / "tiny", tmp_path / "here" / "tiny")
    assert not (tmp_path / "there" / "tiny" / ".work").exists()
    assert summary.name == "tiny"
    assert len(all_at_once.futures) == 2 * 3, "every plan of every group of seeds"
    rt.run(SMALL, executor=one_at_a_time, jobs=1, out=tmp_path / "small")
    assert one_at_a_time.most <= 1
    assert len(one_at_a_time.futures) == 3


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (partial(ValueError, "no such level"), r"^search 'dense', seed 0, level 0: no such level$"),
        (partial(Odd, "strange", 3), r"^search 'dense', seed 0, level 0: Odd: strange$"),
    ],
)
def test_what_a_worker_raises(
    pool: ProcessPoolExecutor, error: Callable[[], Exception], told: str, tmp_path: Path
) -> None:
    broken = replace(SMALL, make_env=partial(raising, os.getpid(), error))
    with pytest.raises(RuntimeError, match=told):
        rt.run(broken, executor=pool, out=tmp_path)
    assert not (tmp_path / "tiny" / "report.md").exists()
    rt.run(SMALL, executor=pool, out=tmp_path)  # Mended, it goes on.
    assert (tmp_path / "tiny" / "report.md").exists()


@contextmanager
def another_machine(folder: Path, *, stale: bool) -> Iterator[None]:
    """What stands at this path there: nothing, or what an earlier run of this experiment left on that machine alone."""
    ours, theirs = folder.with_name("ours"), folder.with_name("theirs")
    folder.rename(ours)
    if stale:
        shutil.copytree(ours, theirs, dirs_exist_ok=True)
        theirs.rename(folder)
    try:
        yield
    finally:
        if stale:
            folder.rename(theirs)
        ours.rename(folder)


def test_a_folder_that_the_workers_do_not_see(tmp_path: Path) -> None:
    elsewhere = Here(partial(another_machine, tmp_path / "tiny", stale=False))
    told = r"^\S+ does not see .*tiny, where the results go: choose an --out that all machines share$"
    with pytest.raises(ValueError, match=told):
        rt.run(SMALL, executor=elsewhere, out=tmp_path)
    assert elsewhere.submitted == 1, "what needs a task that failed does not begin"


def test_a_folder_of_the_same_name_on_another_machine(tmp_path: Path) -> None:
    elsewhere = Here(partial(another_machine, tmp_path / "tiny", stale=True))
    with pytest.raises(RuntimeError, match=r"^what was trained is not in .*tiny: choose an --out that all machines"):
        rt.run(SMALL, executor=elsewhere, out=tmp_path)
    assert not (tmp_path / "tiny" / "report.md").exists()


def test_threads_are_refused(tmp_path: Path) -> None:
    with (
        ThreadPoolExecutor(1) as threads,
        pytest.raises(ValueError, match="threads would share torch's random numbers"),
    ):
        rt.run(SMALL, executor=threads, out=tmp_path)
