"""The results folder of one experiment: rows, tickets, weights, and the work that lets a killed run go on."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from rl_tickets.report.rows import LevelRow, Row, Run, from_plain, to_plain
from rl_tickets.report.tables import append_rows, read_levels, settle
from rl_tickets.tickets import archive
from rl_tickets.training.requests import Name, Progress, Trained

_HALF_WRITTEN = re.compile(r"\..+\.[0-9a-f]+\.part")
_SEED = re.compile(r"seed-(\d+)")


@dataclasses.dataclass(frozen=True)
class Store:
    """Where an experiment's files are, and how they are read and written whole.

    `.work/` holds what an unfinished run needs to go on: for every finished training its rows and all that came of it,
    for those at work their last checkpoint. What is in there is gone when the experiment is complete.
    """

    folder: Path

    # Locks ----------------------------------------------------------------------------------------------------------

    # A whole run takes `.lock` and then those of all shares; a share takes its own and then looks at `.lock`. So at
    # least one of the two sees the other, whichever comes first.

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second run out of the folder.

        Raises:
            RuntimeError: another run, or a share of one, is at work there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            held.enter_context(self._lock(".lock"))
            for path in sorted(self.folder.glob(".lock-*")):
                held.enter_context(self._lock(path.name))
            yield

    @contextmanager
    def shared(self, *names: str) -> Iterator[None]:
        """Lets shares of one experiment work in the folder side by side, and keeps whole runs out.

        Args:
            names: of what nobody else may be at work on: the share, and the seeds it trains.

        Raises:
            RuntimeError: another is at work on one of these, or on the whole experiment.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            for name in names:
                held.enter_context(self._lock(f".lock-{name}"))
            with self.opened(), self._lock(".lock"):
                pass  # There is no whole run, and whoever begins one from now on finds the locks of this share.
            yield

    def opened(self) -> AbstractContextManager[None]:
        """Lets one share at a time open the folder, or write the report; the others wait, seconds as a rule."""
        return self._lock(".lock.opened", patience=-1)

    @contextmanager
    def _lock(self, name: str, patience: float = 0) -> Iterator[None]:
        lock = FileLock(self.folder / name)
        try:
            lock.acquire(timeout=patience)
        except Timeout:
            raise RuntimeError(
                f"another run is at work in {self.folder}; wait for it or choose another --out"
            ) from None
        try:
            yield
        finally:
            lock.release()

    # Paths ----------------------------------------------------------------------------------------------------------

    @property
    def description(self) -> Path:
        """File of what the experiment is."""
        return self.folder / "experiment.json"

    def work(self, run: Run, suffix: str = "") -> Path:
        """File of unfinished work on one training: its rows (`json`), `trained`, `checkpoint` or `progress`."""
        return self.folder / ".work" / run.search / f"seed-{run.seed}" / f"{_name(run)}.{suffix}"

    def ticket(self, run: Run) -> Path:
        """File of one ticket."""
        return self.folder / "tickets" / run.search / f"seed-{run.seed}" / f"{_name(run)}.ticket"

    def weights(self, run: Run) -> Path:
        """File of what came of one training, its final weights above all."""
        return self.folder / "weights" / run.search / f"seed-{run.seed}" / f"{_name(run)}.safetensors"

    def tensorboard(self, run: Run) -> Path:
        """Folder of one training's event files."""
        return self.folder / "tensorboard" / run.search / f"seed-{run.seed}" / str(_name(run))

    def callbacks(self, run: Run) -> Path:
        """Folder of what the user's callbacks write in one training."""
        return self.folder / "callbacks" / run.search / f"seed-{run.seed}" / str(_name(run))

    def sweep(self, seeds: Iterable[int]) -> None:
        """Deletes what a killed run left half-written, but for files of other seeds: other shares may be writing them.

        Files that belong to no seed are written only by who has the folder `locked` or `opened`, as is needed here.

        Args:
            seeds: the training seeds that nobody else is at work on.
        """
        ours = {*seeds}
        for path in self.folder.rglob(".*"):
            if _HALF_WRITTEN.fullmatch(path.name) and path.is_file():
                folders = path.parent.relative_to(self.folder).parts
                if ours.issuperset(int(found[1]) for name in folders if (found := _SEED.fullmatch(name))):
                    path.unlink(missing_ok=True)

    # Trainings ------------------------------------------------------------------------------------------------------

    def finish(self, run: Run, trained: Trained, rows: Iterable[Row], *, keep: bool) -> None:
        """Keeps a training; it counts as finished once its rows are there, which are written last.

        Args:
            run: which it is.
            trained: what came of it.
            rows: what the CSV files are to say of it.
            keep: whether its weights stay when the experiment is complete.
        """
        archive.write(self.work(run, "trained"), {"kind": "training", **trained.tree()})
        if keep:
            # What was kept in the middle is for searches still at work.
            end = dataclasses.replace(trained, kept={})
            archive.write(self.weights(run), {"kind": "training", **end.tree()})
        archive.write_whole(self.work(run, "json"), json.dumps([to_plain(row) for row in rows]).encode())
        self.work(run, "checkpoint").unlink(missing_ok=True)

    def trained(self, run: Run) -> Trained | None:
        """What came of a finished training; None where it is not finished, or its files were damaged since."""
        if not self.work(run, "json").exists() and not (self.weights(run).exists() and run in self.collected()):
            return None
        for path in (self.work(run, "trained"), self.weights(run)):
            try:
                tree = archive.read(path)
            except (FileNotFoundError, ValueError):
                continue
            del tree["kind"]
            return Trained.from_tree(tree)
        return None

    def save_checkpoint(self, run: Run, progress: Progress) -> None:
        """Keeps a training in the middle."""
        archive.write(self.work(run, "checkpoint"), progress.tree())

    def checkpoint(self, run: Run) -> Progress | None:
        """A training in the middle, if its file is whole."""
        try:
            return Progress.from_tree(archive.read(self.work(run, "checkpoint")))
        except (FileNotFoundError, ValueError, KeyError):
            return None

    # Rows -----------------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Adds the rows of trainings that finished since the last time to the CSV files.

        A training counts as collected by its row in levels.csv, which is written last.
        """
        collected = self.collected()
        fresh = [self._rows(run) for run in sorted(self.at_work()) if run not in collected]
        append_rows(self.folder, [row for rows in fresh for row in rows])

    def settle(self) -> None:
        """Brings the CSV files into their final form, whatever the order in which trainings finished."""
        settle(self.folder)

    def collected(self) -> dict[Run, LevelRow]:
        """The trainings whose rows are in the CSV files."""
        return {row.run: row for row in read_levels(self.folder)}

    def finished(self) -> set[Run]:
        """Every finished training."""
        return {*self.collected(), *self.at_work()}

    def at_work(self) -> set[Run]:
        """Finished trainings of which `.work` has the rows."""
        return {_run_of(path) for path in (self.folder / ".work").glob("*/*/level-*.json")}

    def _rows(self, run: Run) -> list[Row]:
        try:
            return [from_plain(plain) for plain in json.loads(self.work(run, "json").read_text())]
        except (ValueError, KeyError, TypeError) as error:
            path = self.work(run, "json")
            raise ValueError(f"{path} was damaged; delete it, and this training is done again") from error

    def done(self) -> float:
        """Number of finished trainings, with the fractions of those at work."""
        finished = self.finished()
        done = float(len(finished))
        for path in (self.folder / ".work").glob("*/*/level-*.progress"):
            try:
                done += float(path.read_text()) if _run_of(path) not in finished else 0.0
            except (OSError, ValueError):
                continue  # Half-written, or just deleted.
        return done

    def clean(self, complete: Mapping[int, Iterable[str]]) -> None:
        """Deletes the work of complete seeds, given with the names of their plans; their rows are collected by now."""
        for seed, plans in complete.items():
            for plan in plans:
                shutil.rmtree(self.folder / ".work" / plan / f"seed-{seed}", ignore_errors=True)
        work = self.folder / ".work"
        if work.exists() and not any(path.is_file() for path in work.rglob("*")):
            shutil.rmtree(work)


def _name(run: Run) -> Name:
    return Name(run.level, run.variant)


def _run_of(path: Path) -> Run:
    """Of a file directly in a folder of `.work`."""
    level, _, variant = path.stem.removeprefix("level-").partition("-")
    return Run(path.parts[-3], int(path.parts[-2].removeprefix("seed-")), int(level), variant)
