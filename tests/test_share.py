"""Shares of an experiment in one folder: in any order, side by side, killed and requeued, they give one run's bytes."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from tiny import PPO_EXPERIMENT, assert_same, child, counted, forked, trained_steps

import rl_tickets as rt
from rl_tickets.lab.store import Store

EXPERIMENT = replace(
    PPO_EXPERIMENT,
    trainer=rt.Plain(),  # Every seed is a group of its own.
    seeds=3,
    dense_seeds=3,
    densities=(1.0, 0.5),
    searches={"imp": rt.IMP(criterion=rt.lamp), "random_reinit": rt.Control(rt.random_reinit)},
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an uninterrupted run in one process."""
    out = tmp_path_factory.mktemp("whole")
    rt.run(EXPERIMENT, jobs=1, out=out)
    return out / "tiny"


def act(share: str, out: Path) -> rt.Summary | None:
    return rt.run_share(EXPERIMENT, rt.Share.parse(share), jobs=1, out=out)


def dying(share: str, out: Path, writes: int) -> None:
    """The same, killed when so many files are written, the last of them not yet in place."""
    sync, left = os.fsync, writes

    def fatal(file: int) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        sync(file)

    os.fsync = fatal
    act(share, out)


def side_by_side(*acts: Callable[[], object]) -> set[int | None]:
    """Exit statuses of processes at work at the same time."""
    processes = [child(each) for each in acts]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return {process.exitcode for process in processes}


def assert_complete(folder: Path, reference: Path) -> None:
    assert_same(folder, reference)
    assert not (folder / ".work").exists()


@pytest.mark.parametrize("order", [("1/3", "2/3", "3/3"), ("3/4", "4/4", "2/4", "1/4")])
def test_one_after_the_other_in_any_order(order: Sequence[str], reference: Path, tmp_path: Path) -> None:
    """With four shares of three groups, one has nothing to do."""
    folder = tmp_path / "tiny"
    with counted(tmp_path / "steps"):
        for share in order[:-1]:
            assert act(share, tmp_path) is None
            assert not (folder / "report.md").exists()
            assert not (folder / "levels.csv").exists()
        summary = act(order[-1], tmp_path)
    assert summary is not None
    assert_complete(folder, reference)
    assert (tmp_path / "steps").stat().st_size == trained_steps(reference), "nothing was trained twice"
    assert act(order[0], tmp_path) is not None, "requeued when all is done, it only tells what was found"
    assert_complete(folder, reference)


def test_side_by_side_killed_and_requeued(reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    for writes in (4, 7):  # The first time in the dense training, the second later.
        killed = [partial(dying, f"{number}/3", tmp_path, writes + number) for number in (1, 2, 3)]
        assert side_by_side(*killed) == {-signal.SIGKILL}
    assert not (folder / "report.md").exists()
    assert side_by_side(*(partial(act, share, tmp_path) for share in ("3/3", "2/3", "1/3"))) == {0}
    assert_complete(folder, reference)


def test_what_is_half_written_goes_when_its_share_comes_back_and_no_sooner(reference: Path, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"

    assert forked(partial(dying, "2/3", tmp_path, 9)) == -signal.SIGKILL
    (half,) = folder.rglob(".*.part")
    assert "seed-1" in half.parts
    for share in ("1/3", "3/3"):
        assert forked(partial(act, share, tmp_path)) == 0
        assert half.exists(), "for all that others know, it is being written"
    assert forked(partial(act, "2/3", tmp_path)) == 0
    assert_complete(folder, reference)


def test_other_numbers_of_shares(reference: Path, tmp_path: Path) -> None:
    """1/2 has the first and the third seed, and is killed in the middle; jobs of other arrays go on with them."""
    folder = tmp_path / "tiny"
    assert forked(partial(dying, "1/2", tmp_path, 9)) == -signal.SIGKILL
    assert side_by_side(partial(act, "2/3", tmp_path), partial(act, "3/3", tmp_path)) == {0}
    assert not (folder / "report.md").exists()
    assert forked(partial(act, "1/5", tmp_path)) == 0
    assert_complete(folder, reference)


def test_shares_become_a_whole_run(reference: Path, tmp_path: Path) -> None:
    assert forked(partial(act, "2/3", tmp_path)) == 0
    assert forked(partial(rt.run, EXPERIMENT, jobs=1, out=tmp_path)) == 0
    assert_complete(tmp_path / "tiny", reference)


WHOLE: Callable[[Path], object] = partial(rt.run, EXPERIMENT, jobs=1)


def test_who_may_work_beside_whom(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "tiny")
    store, refused = Store(tmp_path / "tiny"), partial(pytest.raises, RuntimeError, match="another run is at work in ")
    with store.shared("1-of-3"):
        with refused():
            act("1/3", tmp_path)
        with refused():
            WHOLE(out=tmp_path)
        act("2/3", tmp_path)
    with store.shared("1-of-2", "seeds-0", "seeds-2"):
        for beside in ("1/3", "3/3", "1/1"):
            with refused():
                act(beside, tmp_path)
        act("2/2", tmp_path)
    with store.locked():
        with refused():
            act("1/3", tmp_path)
        with refused():
            WHOLE(out=tmp_path)
    act("1/3", tmp_path)  # Lock files left over lock nothing.
    WHOLE(out=tmp_path)


def test_another_experiment_is_refused(tmp_path: Path) -> None:
    assert forked(partial(act, "1/3", tmp_path)) == 0
    with pytest.raises(ValueError, match=r"holds an experiment with episodes = 3, now it is 4; choose another --out"):
        rt.run_share(replace(EXPERIMENT, episodes=4), rt.Share(2, 3), jobs=1, out=tmp_path)


@pytest.mark.parametrize("text", ["0/3", "4/3", "a/b", "", "3", "1/0", "-1/3", "1/3/5", "1.5/3"])
def test_there_is_no_such_share(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"^a share is a number from 1 to how many there are, like 3/16, got "):
        rt.Share.parse(text)
    with pytest.raises(SystemExit) as ending:
        rt.main(EXPERIMENT, arguments=[f"--share={text}", "--out", str(tmp_path)])
    out, err = capsys.readouterr()
    assert (ending.value.code, out) == (2, "")
    assert err.startswith("error: a share is a number from 1 to how many there are, like 3/16, got ")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_from_the_command_line(reference: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for share in ("2/2", "1/2"):
        rt.main(EXPERIMENT, arguments=["--share", share, "--jobs", "1", "--out", str(tmp_path)])
        out = capsys.readouterr().out
        done = f"This share of {tmp_path / 'tiny'} is done; the last of the others writes the report.\n"
        assert out.endswith(done) == (share == "2/2")
        assert (f"Report      {tmp_path / 'tiny' / 'report.md'}\n" in out) == (share == "1/2")
        # The bar shows the levels of all shares.
        assert (" 3.0 of 9 levels" in out, " 9.0 of 9 levels" in out) == (share == "2/2", share == "1/2")
    command = (tmp_path / "tiny" / "experiment.json").read_text()
    assert "--share" not in command, "the same bytes, however it was done"
