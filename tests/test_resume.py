"""Killed at any moment and run again, an experiment ends with the same bytes, and loses at most a segment."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tiny import (
    DQN_EXPERIMENT,
    PPO_EXPERIMENT,
    after,
    assert_same,
    counted,
    finish,
    forked,
    session,
    start,
    trained_steps,
    wait_for,
)

import rl_tickets as rt
from rl_tickets.lab.store import Store

EXPERIMENTS = {"ppo": PPO_EXPERIMENT, "dqn": DQN_EXPERIMENT}
Reference = tuple[Path, float]

SCRIPT = """
import sys
import rl_tickets as rt
from tiny import PPO_EXPERIMENT, counted
from pathlib import Path

if __name__ == "__main__":
    rt.run(counted(PPO_EXPERIMENT, Path(sys.argv[3])), jobs=int(sys.argv[1]), out=sys.argv[2])
"""


@pytest.fixture(scope="module")
def references(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Reference]:
    """Folder of an uninterrupted run of an experiment in one process, and the seconds it took."""
    made: dict[str, Reference] = {}

    def reference(name: str) -> Reference:
        if name not in made:
            out = tmp_path_factory.mktemp(name)
            began = time.monotonic()
            assert forked(partial(rt.run, EXPERIMENTS[name], jobs=1, out=out)) == 0
            made[name] = (out / "tiny", time.monotonic() - began)
        return made[name]

    return reference


def levels_at_work(folder: Path) -> int:
    return len(list(folder.glob(".work/*/*/level-*.json")))


def assert_complete(folder: Path, reference: Path) -> None:
    assert_same(folder, reference)
    assert not (folder / ".work").exists()


@pytest.mark.parametrize(("name", "kills"), [("ppo", 6), ("dqn", 4)])
def test_killed_at_pseudo_random_moments(
    name: str, kills: int, references: Callable[[str], Reference], tmp_path: Path
) -> None:
    reference, seconds = references(name)
    draw = random.Random(7)
    experiment = counted(EXPERIMENTS[name], tmp_path / "steps")
    act = partial(rt.run, experiment, jobs=1, out=tmp_path)
    killed = 0
    for _ in range(kills):
        killed += forked(act, kill_when=after(draw.uniform(0.05, 0.4) * seconds)) == -signal.SIGKILL
    assert killed >= 2
    assert forked(act) == 0
    assert_complete(tmp_path / "tiny", reference)
    steps, needed = (tmp_path / "steps").stat().st_size, trained_steps(reference)
    # A rollout may end a little after the boundary at which the state is kept.
    assert needed <= steps <= needed + killed * (EXPERIMENTS[name].segment or 0 + 32)


def test_dies_in_the_middle_of_writing(references: Callable[[str], Reference], tmp_path: Path) -> None:
    """Every attempt is killed when its ninth file is written but not yet in place."""
    reference, _ = references("dqn")

    def act() -> None:
        sync, left = os.fsync, 9

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
    assert deaths >= 3
    assert_complete(tmp_path / "tiny", reference)


def test_damaged_leftovers(references: Callable[[str], Reference], tmp_path: Path) -> None:
    """What a dying machine may leave behind costs time, never the result."""
    reference, _ = references("ppo")
    folder = tmp_path / "tiny"
    act = partial(rt.run, PPO_EXPERIMENT, jobs=1, out=tmp_path)
    first = folder / ".work" / "imp" / "seed-0"
    assert forked(act, kill_when=(first / "level-01.json").exists) == -signal.SIGKILL
    for at in (folder, folder / "tickets" / "imp" / "seed-0", first):
        (at / f".left.ticket.{os.getpid()}.part").write_bytes(b"half")
    (folder / ".report.md.12345").write_bytes(b"half")
    trained = first / "level-01.trained"
    trained.write_bytes(trained.read_bytes()[:1000])
    for name, content in (("checkpoint", b"\x08"), ("progress", b"1 5.3e-")):
        (first / name).write_bytes(content)
    assert Store(folder).levels_done() == len(Store(folder).finished())
    assert forked(act) == 0
    assert_complete(folder, reference)


def test_work_deleted_in_the_middle(references: Callable[[str], Reference], tmp_path: Path) -> None:
    """Rows that were already collected stay, and what is trained again gives them again."""
    import shutil

    reference, _ = references("dqn")
    folder = tmp_path / "tiny"
    act = partial(rt.run, DQN_EXPERIMENT, jobs=1, out=tmp_path)
    assert forked(act, kill_when=lambda: levels_at_work(folder) >= 4) == -signal.SIGKILL
    Store(folder).collect()
    shutil.rmtree(folder / ".work")
    assert forked(act) == 0
    assert_complete(folder, reference)


def test_workers_die_with_their_parent_and_jobs_do_not_matter(
    references: Callable[[str], Reference], tmp_path: Path
) -> None:
    """Two jobs, killed twice (the parent alone, then all), give what one job gave."""
    reference, _ = references("ppo")
    folder, script = tmp_path / "tiny", tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = (script, 2, tmp_path, tmp_path / "steps")
    process = start(*arguments)
    wait_for(lambda: levels_at_work(folder) >= 3)
    assert len(session(process.pid)) >= 3
    process.kill()
    wait_for(lambda: not session(process.pid), seconds=10)
    assert finish(process)[0] == -signal.SIGKILL
    before = levels_at_work(folder)
    process = start(*arguments)
    wait_for(lambda: levels_at_work(folder) > before)
    os.killpg(process.pid, signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    status, _, errors = finish(start(*arguments))
    assert (status, errors) == (0, "")
    assert_complete(folder, reference)
    steps, needed = (tmp_path / "steps").stat().st_size, trained_steps(reference)
    assert needed <= steps <= needed + 2 * 2 * (PPO_EXPERIMENT.segment or 0)


def test_a_finished_experiment_trains_nothing(references: Callable[[str], Reference], tmp_path: Path) -> None:
    import shutil

    reference, _ = references("dqn")
    shutil.copytree(reference, tmp_path / "tiny")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "tiny").rglob("*.csv")}
    assert forked(partial(rt.run, counted(DQN_EXPERIMENT, tmp_path / "steps"), jobs=1, out=tmp_path)) == 0
    assert (tmp_path / "steps").stat().st_size == 0
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "tiny").rglob("*.csv")}
    assert_complete(tmp_path / "tiny", reference)
