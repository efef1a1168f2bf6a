"""Killed at any moment and run again, an experiment ends with the same bytes, and loses at most a segment."""

from __future__ import annotations

import os
import random
import shutil
import signal
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tiny import (
    DQN_EXPERIMENT,
    PPO_EXPERIMENT,
    assert_same,
    counted,
    forked,
    session,
    trained_steps,
    wait_for,
)

import rl_tickets as rt
from rl_tickets.lab.store import Store
from rl_tickets.training.cohorts import tracing

TWO_SEARCHES = replace(
    PPO_EXPERIMENT, searches={name: PPO_EXPERIMENT.searches[name] for name in ("late", "early_bird")}
)
EXPERIMENTS = {
    "ppo": PPO_EXPERIMENT,
    "two_searches": TWO_SEARCHES,
    "dqn": DQN_EXPERIMENT,
    "ppo_plain": replace(TWO_SEARCHES, trainer=rt.Plain()),
}


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Folder of an uninterrupted run of an experiment in one process."""
    made: dict[object, Path] = {}

    def reference(name: str) -> Path:
        key = name, tracing.compiler()
        if key not in made:
            out = tmp_path_factory.mktemp(name)
            assert forked(partial(rt.run, EXPERIMENTS[name], jobs=1, out=out)) == 0
            made[key] = out / "tiny"
        return made[key]

    return reference


def levels_at_work(folder: Path) -> int:
    return len(list(folder.glob(".work/*/*/level-*.json")))


def assert_complete(folder: Path, reference: Path) -> None:
    assert_same(folder, reference)
    assert not (folder / ".work").exists()


@pytest.mark.parametrize(("name", "kills"), [("two_searches", 3), ("ppo_plain", 3), ("dqn", 3)])
def test_killed_at_pseudo_random_moments(
    name: str, kills: int, references: Callable[[str], Path], tmp_path: Path
) -> None:
    reference = references(name)
    needed, draw = trained_steps(reference), random.Random(7)
    act = partial(rt.run, EXPERIMENTS[name], jobs=1, out=tmp_path)
    killed = 0

    def steps() -> int:
        return (tmp_path / "steps").stat().st_size

    with counted(tmp_path / "steps"):
        for _ in range(kills):
            until = steps() + draw.uniform(0.05, 0.4) * needed
            killed += forked(act, kill_when=lambda: steps() > until) == -signal.SIGKILL  # noqa: B023
        assert killed >= 2
        assert forked(act) == 0
    assert_complete(tmp_path / "tiny", reference)
    # Each seed of a cohort loses a segment; DQN's rollouts of 4 steps end a little after the boundary that is kept.
    together, segment = min(EXPERIMENTS[name].trainer.seeds, 2), EXPERIMENTS[name].segment or 0
    assert needed <= steps() <= needed + killed * together * (segment + 4)


def test_dies_in_the_middle_of_writing(references: Callable[[str], Path], tmp_path: Path) -> None:
    """Every attempt is killed when its 17th file is written but not yet in place."""
    reference = references("dqn")

    def act() -> None:
        sync, left = os.fsync, 17

        def dying(file: int) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(file)

        os.fsync = dying
        rt.run(DQN_EXPERIMENT, jobs=1, out=tmp_path)

    deaths = 0
    while forked(act) == -signal.SIGKILL:
        assert any((tmp_path / "tiny").rglob(".*.*"))
        deaths += 1
        assert deaths < 30
    assert deaths >= 2
    assert_complete(tmp_path / "tiny", reference)


def test_damaged_leftovers(references: Callable[[str], Path], tmp_path: Path) -> None:
    """What a dying machine may leave behind costs time, never the result."""
    reference = references("ppo")
    folder = tmp_path / "tiny"
    act = partial(rt.run, PPO_EXPERIMENT, jobs=1, out=tmp_path)
    first = folder / ".work" / "imp" / "seed-0"
    assert forked(act, kill_when=(first / "level-01.json").exists) == -signal.SIGKILL
    for at in (folder, folder / "tickets" / "imp" / "seed-0", first):
        (at / f".left.ticket.{uuid.uuid4().hex}.part").write_bytes(b"half")
    trained = first / "level-01.trained"
    trained.write_bytes(trained.read_bytes()[:1000])
    for name, content in (("level-02.checkpoint", b"\x08"), ("level-02.progress", b"5.3e-")):
        (first / name).write_bytes(content)
    assert Store(folder).done() == len(Store(folder).finished())
    assert forked(act) == 0
    assert_complete(folder, reference)


def test_work_deleted_in_the_middle(references: Callable[[str], Path], tmp_path: Path) -> None:
    """Rows that were already collected stay, and what is trained again gives them again."""
    reference = references("dqn")
    folder = tmp_path / "tiny"
    act = partial(rt.run, DQN_EXPERIMENT, jobs=1, out=tmp_path)
    assert forked(act, kill_when=lambda: levels_at_work(folder) >= 4) == -signal.SIGKILL
    Store(folder).collect()
    shutil.rmtree(folder / ".work")
    assert forked(act) == 0
    assert_complete(folder, reference)


@pytest.mark.compiled
def test_workers_die_with_their_parent_and_jobs_do_not_matter(
    references: Callable[[str], Path], tmp_path: Path
) -> None:
    """Two jobs, killed twice (the parent alone, then all), and one that goes on, give what one job gave."""
    reference = references("two_searches")
    folder = tmp_path / "tiny"

    def act(jobs: int = 2) -> None:
        os.setsid()
        (tmp_path / "session").write_text(str(os.getpid()))
        rt.run(TWO_SEARCHES, jobs=jobs, out=tmp_path)

    def at_work() -> list[int]:
        return session(int((tmp_path / "session").read_text()))

    def all_killed() -> bool:
        if levels_at_work(folder) <= before:
            return False
        os.killpg(int((tmp_path / "session").read_text()), signal.SIGKILL)
        return True

    with counted(tmp_path / "steps"):
        assert forked(act, kill_when=lambda: levels_at_work(folder) >= 3 and len(at_work()) >= 3) == -signal.SIGKILL
        wait_for(lambda: not at_work())
        before = levels_at_work(folder)
        assert forked(act, kill_when=all_killed) == -signal.SIGKILL
        assert forked(partial(act, jobs=1)) == 0
    assert_complete(folder, reference)
    steps, needed = (tmp_path / "steps").stat().st_size, trained_steps(reference)
    # Two kills of two jobs with two seeds each.
    assert needed <= steps <= needed + 2 * 2 * 2 * (TWO_SEARCHES.segment or 0)


def test_a_finished_experiment_trains_nothing(references: Callable[[str], Path], tmp_path: Path) -> None:
    reference = references("dqn")
    shutil.copytree(reference, tmp_path / "tiny")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "tiny").rglob("*.csv")}
    with counted(tmp_path / "steps"):
        assert forked(partial(rt.run, DQN_EXPERIMENT, jobs=1, out=tmp_path)) == 0
    assert (tmp_path / "steps").stat().st_size == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "tiny").rglob("*.csv")}
    assert_complete(tmp_path / "tiny", reference)
