"""A task: one search of one seed, trained level by level, evaluated and written down."""

from __future__ import annotations

import platform
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import configure

from rl_tickets.agents.rewind import RewindWarning
from rl_tickets.agents.training import Trained, Trainer, Training
from rl_tickets.evaluation.returns import play
from rl_tickets.lab.complaint import naming
from rl_tickets.lab.experiment import DENSE, IMP, Experiment, Spoiled
from rl_tickets.lab.store import Store
from rl_tickets.report import rows, write_level
from rl_tickets.search.levels import ticket_of
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.pruning import LayerCollapseWarning


@dataclass(frozen=True)
class Task:
    """One search, or the dense run, of one seed."""

    experiment: Experiment
    store: Store
    search: str
    seed: int

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the searches of this seed that must be finished first."""
        plan = self.experiment.searches.get(self.search)
        if plan is None:
            return ()
        return (DENSE, plan.of) if isinstance(plan, Spoiled) else (DENSE,)

    @property
    def progress_file(self) -> Path:
        """Where the task writes how many environment steps it has trained."""
        return self.store.work(self.search, self.seed) / "progress"

    def run(self, tell: Callable[[], None] | None = None) -> None:
        """Trains what is not finished yet; `tell` is called about once a second."""
        with one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore", LayerCollapseWarning)  # Told once, when all is done.
            if (self.search, self.seed) != (DENSE, self.experiment.all_seeds[0]):
                # The first dense run reaches all rewind points, so that it warns for all runs.
                warnings.simplefilter("ignore", RewindWarning)
            if self.search == DENSE:
                points = self.experiment.rewind_points
                self._answer(Training(0, keep_at=points, prunable=self.experiment.prunable), None, tell)
            else:
                self._drive(tell)

    def _drive(self, tell: Callable[[], None] | None) -> None:
        experiment = self.experiment
        plan = experiment.searches[self.search]
        tickets = (
            self.store.tickets(plan.of, self.seed, experiment.levels(self.search)) if isinstance(plan, Spoiled) else ()
        )
        search = plan.search(experiment, self.seed, tickets)
        request, before = next(search), None
        while True:
            trained = self._answer(request, before, tell)
            before = trained.mask
            try:
                request = search.send(trained)
            except StopIteration:
                return

    def _answer(self, request: Training, before: Mask | None, tell: Callable[[], None] | None) -> Trained:
        """The trained level: the shared dense run, one finished earlier, or a new one."""
        if self.search != DENSE and request.level == 0 and request.early_bird is None:
            dense = self.store.finished_level(DENSE, self.seed, 0)
            assert dense is not None, "the dense run is finished first"
            return dense
        finished = self.store.finished_level(self.search, self.seed, request.level)
        if finished is not None:
            return finished
        with naming(self.store.tensorboard(self.search, self.seed, request.level)):
            return self._train(request, before, tell)

    def _train(self, request: Training, before: Mask | None, tell: Callable[[], None] | None) -> Trained:
        began = time.monotonic()
        experiment, store, level = self.experiment, self.store, request.level
        trainer = Trainer(
            experiment.make_model,
            self.seed,
            experiment.total_timesteps,
            experiment.boundaries,
            experiment.warmup,
            partial(_callbacks, experiment, self.progress_file, level, tell),
            self._log,
            partial(store.save_checkpoint, self.search, self.seed, level),
        )
        model, trained = trainer.train(request, store.checkpoint(self.search, self.seed, level))
        model.logger.close()
        episodes = play(model, experiment.make_env, episodes=experiment.episodes, seed=experiment.evaluation_seed)
        ticket = ticket_of(request, trained)
        path = ""
        if not isinstance(experiment.searches.get(self.search), Spoiled):
            path = str(ticket.save(store.ticket_path(self.search, self.seed, level)).relative_to(store.folder))
        shared: dict[str, Any] = {"search": self.search, "seed": self.seed, "level": level}
        moved = 0.0 if before is None else trained.mask.kept_distance(before)
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
            rows.TimingRow(**shared, seconds=round(time.monotonic() - began, 3), host=platform.node()),
        ]
        pairs = zip(episodes.returns.tolist(), episodes.lengths.tolist(), strict=True)
        density = trained.mask.density
        found += [
            rows.EpisodeRow(**shared, density=density, episode=i, episode_return=r, length=n)
            for i, (r, n) in enumerate(pairs)
        ]
        layers = enumerate(trained.mask.layers.items())
        found += [
            rows.LayerRow(**shared, position=i, layer=name, kept=c.kept, total=c.total) for i, (name, c) in layers
        ]
        found += [
            rows.CurveRow(**shared, timesteps=p.timesteps, mean_return=p.mean_return, episodes=p.episodes)
            for p in trained.curve
        ]
        found += [rows.DistanceRow(self.search, self.seed, *sighting) for sighting in trained.sightings]
        self._show(model, trained, float(episodes.returns.mean()), moved, level)
        store.finish_level(self.search, self.seed, level, trained, found)
        env = model.get_env()
        if env is not None:
            env.close()
        return trained

    def _log(self, model: BaseAlgorithm, level: int) -> None:
        model.set_logger(configure(str(self.store.tensorboard(self.search, self.seed, level)), ["tensorboard"]))

    def _show(self, model: BaseAlgorithm, trained: Trained, mean_return: float, moved: float, level: int) -> None:
        weights = {name: trained.end.policy[name].numpy() for name in trained.mask}
        write_level(
            self.store.tensorboard(self.search, self.seed, level),
            step=model.num_timesteps,
            density=trained.mask.density,
            mask_distance=moved,
            eval_return=mean_return,
            masks={name: kept.numpy() for name, kept in trained.mask.items()},
            weights=weights,
        )


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


def ordered(experiment: Experiment, store: Store) -> list[Task]:
    """All tasks, those that others need first."""
    names = [DENSE, *(n for n, p in experiment.searches.items() if isinstance(p, IMP))]
    names += [name for name, plan in experiment.searches.items() if isinstance(plan, Spoiled)]
    return [Task(experiment, store, name, seed) for name in names for seed in experiment.all_seeds]
