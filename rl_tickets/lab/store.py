"""The results folder of one experiment: settings, rows, tickets, and the work that lets a killed run go on."""

from __future__ import annotations

import dataclasses
import json
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import gymnasium
import numpy
import stable_baselines3
import torch
from filelock import FileLock, Timeout

from rl_tickets.agents.state import TrainingState
from rl_tickets.lab.experiment import DENSE, Experiment
from rl_tickets.report import rows
from rl_tickets.tickets import archive
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import Progress, Trained

GROWABLE = "seeds"
"""The one setting that may change under an existing folder: more seeds are trained, finished ones stay."""
_HALF_WRITTEN = re.compile(r"\..+\.\d+(\.part)?")


@dataclasses.dataclass(frozen=True)
class Store:
    """Where an experiment's files are, and how they are read and written whole.

    `.work/` holds what an unfinished run needs to go on: for every finished level its rows and trained weights, for
    the level in training its last checkpoint. It is deleted when the experiment is complete.
    """

    folder: Path

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second run out of the folder.

        Raises:
            RuntimeError: another run is at work there.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RuntimeError(
                f"another run is at work in {self.folder}; wait for it or choose another --out"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def sweep(self) -> None:
        """Deletes what a killed run left half-written."""
        for path in self.folder.rglob(".*"):
            if _HALF_WRITTEN.fullmatch(path.name) and path.is_file():
                path.unlink(missing_ok=True)

    def open(self, experiment: Experiment, agent: dict[str, Any], random_return: float) -> None:
        """Writes experiment.json, or checks that it still describes this experiment.

        Raises:
            ValueError: a setting was changed; it is named, with the way out.
        """
        path = self.folder / "experiment.json"
        settings = {**experiment.settings(), "agent": agent, "random_return": random_return}
        described = {
            "name": experiment.name,
            "command": experiment.command,
            "settings": settings,
            "versions": versions(),
            "torch_threads": 1,
        }
        if path.exists():
            before = self._opened(path)
            self._demand_same(before["settings"], json.loads(json.dumps(settings)))
            if before["versions"] != described["versions"]:
                warnings.warn(
                    f"{self.folder} was begun with {before['versions']} and goes on with {described['versions']}: "
                    "results may differ in the last bit",
                    stacklevel=2,
                )
            if before["settings"][GROWABLE] == settings[GROWABLE]:
                return
        archive.write_whole(path, (json.dumps(described, indent=1) + "\n").encode())

    def _opened(self, path: Path) -> dict[str, Any]:
        try:
            before: dict[str, Any] = json.loads(path.read_text())
            before["settings"][GROWABLE], before["versions"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{path} is not what an experiment wrote there; choose another --out, or delete {self.folder}"
            ) from error
        return before

    def _demand_same(self, before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> None:
        for name in sorted({*before, *now}):
            old, new = before.get(name), now.get(name)
            if name == GROWABLE and set(old or ()) <= set(new or ()):
                continue
            if isinstance(old, dict) and isinstance(new, dict):
                self._demand_same(old, new, f"{prefix}{name}.")
            elif old != new:
                raise ValueError(
                    f"{self.folder} holds an experiment with {prefix}{name} = {old!r}, now it is {new!r}; "
                    "choose another --out, or delete the folder to start over"
                )

    def work(self, search: str, seed: int) -> Path:
        """Folder of unfinished work of one search and seed."""
        return self.folder / ".work" / search / f"seed-{seed}"

    def ticket_path(self, search: str, seed: int, level: int) -> Path:
        """File of one ticket."""
        return self.folder / "tickets" / search / f"seed-{seed}" / f"level-{level:02d}.ticket"

    def tickets(self, search: str, seed: int, levels: Iterable[int]) -> Iterator[Ticket]:
        """The tickets of a search's levels, in order."""
        for level in levels:
            yield Ticket.load(self.ticket_path(search, seed, level))

    def tensorboard(self, search: str, seed: int | None = None, level: int = 0) -> Path:
        """Folder of one level's event files; without a seed, of the search's."""
        folder = self.folder / "tensorboard" / search
        return folder if seed is None else folder / f"seed-{seed}" / f"level-{level:02d}"

    # Levels ---------------------------------------------------------------------------------------------------------

    def finish_level(self, search: str, seed: int, level: int, trained: Trained, found: Iterable[Any]) -> None:
        """Keeps a trained level; it counts as finished once its rows are there, which are written last."""
        work = self.work(search, seed)
        archive.write(work / f"level-{level:02d}.trained", _trained_tree(trained))
        content: dict[str, list[dict[str, Any]]] = {kind.__name__: [] for kind in rows.FILES}
        for row in found:
            content[type(row).__name__].append(dataclasses.asdict(row))
        archive.write_whole(work / f"level-{level:02d}.json", json.dumps(content).encode())
        (work / "checkpoint").unlink(missing_ok=True)

    def finished_level(self, search: str, seed: int, level: int) -> Trained | None:
        """A finished level of a search at work; None where it is not finished, or its file was damaged since."""
        work = self.work(search, seed)
        if not (work / f"level-{level:02d}.json").exists():
            return None
        try:
            return _trained_from(archive.read(work / f"level-{level:02d}.trained"))
        except (FileNotFoundError, ValueError):
            return None

    def save_checkpoint(self, search: str, seed: int, level: int, progress: Progress) -> None:
        """Keeps a level in the middle."""
        tree = {
            "level": level,
            "state": progress.state.tree(),
            "kept": {step: state.tree() for step, state in progress.kept.items()},
            "curve": progress.curve,
            "early_bird": progress.early_bird,
        }
        archive.write(self.work(search, seed) / "checkpoint", tree)

    def checkpoint(self, search: str, seed: int, level: int) -> Progress | None:
        """The level in the middle, if it is this one and its file is whole."""
        try:
            tree = archive.read(self.work(search, seed) / "checkpoint")
        except (FileNotFoundError, ValueError):
            return None
        if tree["level"] != level:
            return None
        kept = {step: TrainingState(**state) for step, state in tree["kept"].items()}
        return Progress(TrainingState(**tree["state"]), kept, tree["curve"], tree["early_bird"])

    # Rows -----------------------------------------------------------------------------------------------------------

    def collect(self) -> None:
        """Merges the rows of finished levels into the CSV files."""
        at_work = [json.loads(path.read_text()) for path in sorted((self.folder / ".work").glob("*/*/level-*.json"))]
        for kind in rows.FILES:
            key = _key(kind)
            fresh = (kind(**record) for content in at_work for record in content[kind.__name__])
            merged = {key(row): row for row in (*rows.read_csv(kind, self.folder), *fresh)}
            text = rows.to_csv(kind, merged.values())
            path = self.folder / rows.FILES[kind]
            if not path.exists() or path.read_text() != text:
                archive.write_whole(path, text.encode())

    def finished(self) -> set[tuple[str, int, int]]:
        """(search, seed, level) of every finished level."""
        done = {(row.search, row.seed, row.level) for row in rows.read_csv(rows.LevelRow, self.folder)}
        for path in (self.folder / ".work").glob("*/*/level-*.json"):
            done.add((*_search_and_seed(path), int(path.stem.removeprefix("level-"))))
        return done

    def levels_done(self) -> float:
        """Number of finished levels, with the trained fractions of those at work."""
        finished = self.finished()
        done = float(len(finished))
        for path in (self.folder / ".work").glob("*/*/progress"):
            try:
                level, fraction = path.read_text().split()
                done += float(fraction) if (*_search_and_seed(path), int(level)) not in finished else 0.0
            except (OSError, ValueError):
                continue  # Half-written, or just deleted.
        return done

    def clean(self, experiment: Experiment) -> None:
        """Deletes the work of complete seeds; their rows are in the CSV files by now."""
        finished = self.finished()
        names = [DENSE, *experiment.searches]
        for seed in experiment.all_seeds:
            if all((name, seed, level) in finished for name in names for level in experiment.levels(name)):
                for name in names:
                    shutil.rmtree(self.work(name, seed), ignore_errors=True)
        work = self.folder / ".work"
        if work.exists() and not any(path.is_file() for path in work.rglob("*")):
            shutil.rmtree(work)


def _key(kind: type) -> Callable[[Any], Any]:
    """What tells two rows of one kind apart, whatever they measured."""
    identity = ("search", "seed", "level", "episode", "position", "timesteps", "step", "other_step")
    names = {field.name for field in dataclasses.fields(kind)}
    return attrgetter(*(n for n in identity if n in names and (n, kind) != ("timesteps", rows.LevelRow)))


def _search_and_seed(path: Path) -> tuple[str, int]:
    """Of a file directly in a folder of `.work`."""
    return path.parts[-3], int(path.parts[-2].removeprefix("seed-"))


def versions() -> dict[str, str]:
    """Versions of everything results depend on."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "stable_baselines3": str(stable_baselines3.__version__),
        "gymnasium": str(gymnasium.__version__),
        "numpy": str(numpy.__version__),
        "platform": sys.platform,
    }


def _trained_tree(trained: Trained) -> dict[str, Any]:
    return {
        "end": trained.end.tree(),
        "kept": {step: state.tree() for step, state in trained.kept.items()},
        "mask": dict(trained.mask),
        "timesteps": trained.timesteps,
        "diverged": trained.diverged,
        "copies": trained.copies,
        "provenance": trained.provenance,
    }


def _trained_from(tree: dict[str, Any]) -> Trained:
    kept = {step: TrainingState(**state) for step, state in tree.pop("kept").items()}
    return Trained(end=TrainingState(**tree.pop("end")), kept=kept, mask=Mask(tree.pop("mask")), **tree)
