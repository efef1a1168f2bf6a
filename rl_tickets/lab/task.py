"""A task: one search of the seeds that train together, trained level by level, evaluated and written down."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import configure

from rl_tickets.evaluation.returns import Episodes, play
from rl_tickets.lab.experiment import DENSE, IMP, Experiment, Spoiled
from rl_tickets.lab.store import Store
from rl_tickets.lab.user_errors import naming
from rl_tickets.report import rows, write_level
from rl_tickets.search.finding import ticket_of
from rl_tickets.search.imp import Search
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.selecting import LayerCollapseWarning
from rl_tickets.training.requests import Trained, Training
from rl_tickets.training.rewinding import RewindWarning
from rl_tickets.training.runs import Run, Setting
from rl_tickets.training.trainers import Train


@dataclass(frozen=True)
class _Session:
    """What lasts from the first to the last level of a task."""

    train: Train
    tell: Callable[[], None] | None


@dataclass(frozen=True)
class Task:
    """One search, or the dense run, of a group of seeds that train together.

    Args:
        experiment: what it is a part of.
        store: where it is written down.
        search: name of the search, or `DENSE`.
        slots: the seeds in their places; None in place of one that is complete.
    """

    experiment: Experiment
    store: Store
    search: str
    slots: tuple[int | None, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that are not complete."""
        return tuple(seed for seed in self.slots if seed is not None)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the searches of these seeds that must be finished first."""
        plan = self.experiment.searches.get(self.search)
        if plan is None:
            return ()
        return (DENSE, plan.of) if isinstance(plan, Spoiled) else (DENSE,)

    def run(self, tell: Callable[[], None] | None = None) -> None:
        """Trains what is not finished yet; `tell` is called about once a second."""
        session = _Session(self.experiment.trainer.start(), tell)
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore", LayerCollapseWarning)  # Told once, when all is done.
            # The first dense run reaches all rewind points, so that it warns for all runs.
            first = self.search == DENSE and self.experiment.all_seeds[0] in self.seeds
            warnings.simplefilter("default" if first else "ignore", RewindWarning)
            if self.search == DENSE:
                request = Training(0, keep_at=self.experiment.rewind_points, prunable=self.experiment.prunable)
                self._answer(dict.fromkeys(self.seeds, request), {}, session)
            else:
                self._drive(session)

    def _drive(self, session: _Session) -> None:
        """All seeds' searches side by side: every level is trained for all of them before the next one begins."""
        searches = {seed: self._search(seed) for seed in self.seeds}
        requests = {seed: next(search) for seed, search in searches.items()}
        before: dict[int, Mask] = {}
        while requests:
            answers = self._answer(requests, before, session)
            before = {seed: trained.mask for seed, trained in answers.items()}
            requests = {}
            for seed, trained in answers.items():
                with suppress(StopIteration):
                    requests[seed] = searches[seed].send(trained)

    def _search(self, seed: int) -> Search:
        plan = self.experiment.searches[self.search]
        levels = self.experiment.levels(self.search)
        tickets = self.store.tickets(plan.of, seed, levels) if isinstance(plan, Spoiled) else ()
        return plan.search(self.experiment, seed, tickets)

    def _answer(self, requests: dict[int, Training], before: dict[int, Mask], session: _Session) -> dict[int, Trained]:
        """The trained level of every seed: the shared dense run, one finished earlier, or a new one."""
        answers = {seed: self._known(seed, request) for seed, request in requests.items()}
        found = {seed: trained for seed, trained in answers.items() if trained is not None}
        missing = {seed: request for seed, request in requests.items() if seed not in found}
        if missing:
            with naming(self.store.tensorboard(self.search)):
                found |= self._train(missing, before, session)
        return {seed: found[seed] for seed in requests}

    def _known(self, seed: int, request: Training) -> Trained | None:
        if self.search != DENSE and request.level == 0 and request.early_bird is None:
            dense = self.store.finished_level(DENSE, seed, 0)
            assert dense is not None, "the dense run is finished first"
            return dense
        return self.store.finished_level(self.search, seed, request.level)

    def _train(self, requests: dict[int, Training], before: dict[int, Mask], session: _Session) -> dict[int, Trained]:
        began = time.monotonic()
        runs = {seed: self._run(seed, request, session.tell) for seed, request in requests.items()}
        # Every seed has its place, whether it still has to be trained or not.
        session.train([None if seed is None else runs.get(seed) for seed in self.slots])
        share = (time.monotonic() - began) / len(runs)
        return {seed: self._finish(seed, run, before.get(seed), share) for seed, run in runs.items()}

    def _run(self, seed: int, request: Training, tell: Callable[[], None] | None) -> Run:
        experiment, store, level = self.experiment, self.store, request.level
        progress_file = store.work(self.search, seed) / "progress"
        setting = Setting(
            experiment.make_model,
            seed,
            experiment.total_timesteps,
            experiment.boundaries,
            experiment.warmup,
            partial(_callbacks, experiment, progress_file, level, tell),
            partial(self._log, seed),
            partial(store.save_checkpoint, self.search, seed, level),
        )
        return Run(setting, request, store.checkpoint(self.search, seed, level))

    def _finish(self, seed: int, run: Run, before: Mask | None, share: float) -> Trained:
        """Evaluates a trained level and writes it down; `share` is the training's seconds."""
        began = time.monotonic()
        experiment, store, model, request = self.experiment, self.store, run.model, run.request
        level = request.level
        trained = run.finish()
        model.logger.close()
        episodes = play(model, experiment.make_env, episodes=experiment.episodes, seed=experiment.evaluation_seed)
        ticket = ticket_of(request, trained)
        path = ""
        if not isinstance(experiment.searches.get(self.search), Spoiled):
            path = str(ticket.save(store.ticket_path(self.search, seed, level)).relative_to(store.folder))
        shared: dict[str, Any] = {"search": self.search, "seed": seed, "level": level}
        moved = 0.0 if before is None else trained.mask.kept_distance(before)
        seconds = round(share + time.monotonic() - began, 3)
        found: list[Any] = [
            rows.LevelRow(
                **shared,
                density=trained.mask.density,
                mean_return=float(episodes.returns.mean()),
                timesteps=trained.timesteps,
                start=request.start.timesteps if request.start else 0,
                mask_distance=moved,
                diverged=trained.diverged,
                collapsed=" ".join(ticket.provenance.get("collapsed", ())),
                ticket=path,
            ),
            rows.TimingRow(**shared, seconds=seconds, host=platform.node()),
            *_detail_rows(shared, trained, episodes),
        ]
        self._show(seed, model, trained, float(episodes.returns.mean()), moved, level)
        store.finish_level(self.search, seed, level, trained, found)
        env = model.get_env()
        if env is not None:
            env.close()
        return trained

    def _log(self, seed: int, model: BaseAlgorithm, level: int) -> None:
        model.set_logger(configure(str(self.store.tensorboard(self.search, seed, level)), ["tensorboard"]))

    def _show(
        self, seed: int, model: BaseAlgorithm, trained: Trained, mean_return: float, moved: float, level: int
    ) -> None:
        weights = {name: trained.end.policy[name].numpy() for name in trained.mask}
        write_level(
            self.store.tensorboard(self.search, seed, level),
            step=model.num_timesteps,
            density=trained.mask.density,
            mask_distance=moved,
            eval_return=mean_return,
            masks={name: kept.numpy() for name, kept in trained.mask.items()},
            weights=weights,
        )


def _detail_rows(shared: dict[str, Any], trained: Trained, episodes: Episodes) -> list[Any]:
    """Rows of a level's episodes, layers, learning curve and early-bird distances."""
    density = trained.mask.density
    pairs = zip(episodes.returns.tolist(), episodes.lengths.tolist(), strict=True)
    found: list[Any] = [
        rows.EpisodeRow(**shared, density=density, episode=i, episode_return=r, length=n)
        for i, (r, n) in enumerate(pairs)
    ]
    layers = enumerate(trained.mask.layers.items())
    found += [rows.LayerRow(**shared, position=i, layer=name, kept=c.kept, total=c.total) for i, (name, c) in layers]
    found += [
        rows.CurveRow(**shared, timesteps=p.timesteps, mean_return=p.mean_return, episodes=p.episodes)
        for p in trained.curve
    ]
    found += [rows.DistanceRow(shared["search"], shared["seed"], *sighting) for sighting in trained.sightings]
    return found


def _callbacks(
    experiment: Experiment, progress_file: Path, level: int, tell: Callable[[], None] | None
) -> BaseCallback:
    callbacks: list[BaseCallback] = [_Tell(progress_file, level, experiment.total_timesteps, tell)]
    if experiment.callback is not None:
        callbacks.append(experiment.callback())
    return CallbackList(callbacks)


class _Tell(BaseCallback):
    """Writes about once a second how far the level is, for the progress bar."""

    def __init__(self, path: Path, level: int, total: int, tell: Callable[[], None] | None) -> None:
        super().__init__()
        self._path, self._level, self._total, self._tell = path, level, total, tell
        self._last = 0.0

    def _on_rollout_start(self) -> None:
        if time.monotonic() - self._last > 1.0:
            self._last = time.monotonic()
            with suppress(OSError):  # A full disk is told where it loses something.
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_text(f"{self._level} {min(1.0, self.num_timesteps / self._total):.6f}\n")
            if self._tell is not None:
                self._tell()

    def _on_step(self) -> bool:
        return True


@contextmanager
def one_thread() -> Iterator[None]:
    """One torch thread: results depend on their number, and processes share the cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def ordered(experiment: Experiment, store: Store, complete: Container[int]) -> list[Task]:
    """All tasks of the seeds that are not complete, group after group, and in each those that others need first."""
    names = [DENSE, *(n for n, p in experiment.searches.items() if isinstance(p, IMP))]
    names += [name for name, plan in experiment.searches.items() if isinstance(plan, Spoiled)]
    left = [group for group in experiment.groups if any(seed not in complete for seed in group)]
    groups = [tuple(None if seed in complete else seed for seed in group) for group in left]
    return [Task(experiment, store, name, slots) for slots in groups for name in names]
