"""A task: one plan of the seeds that train together, driven round by round, every training recorded."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList
from stable_baselines3.common.logger import configure

from rl_tickets.agents.holding import LeakError
from rl_tickets.evaluation.returns import Played
from rl_tickets.lab.callbacks import TellProgress, made
from rl_tickets.lab.experiment import Experiment
from rl_tickets.lab.recording import Recorder
from rl_tickets.lab.store import Store
from rl_tickets.lab.threads import one_thread
from rl_tickets.lab.user_errors import naming
from rl_tickets.report.rows import Run
from rl_tickets.search.driving import side_by_side
from rl_tickets.search.plan import DENSE, Outcome
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.selecting import LayerCollapseWarning
from rl_tickets.training.requests import DivergenceWarning, Trained, Training
from rl_tickets.training.rewinding import RewindWarning
from rl_tickets.training.runs import Setting, TrainingRun
from rl_tickets.training.trainers import Train

Asked = dict[int, tuple[Training, ...]]
"""The requests of a round by seed."""


@dataclass(frozen=True)
class Task:
    """One plan, or the dense runs, of a group of seeds that train together.

    Args:
        experiment: what it is a part of.
        store: where it is written down.
        plan: name of the plan, or `DENSE`.
        slots: the seeds of the group in their places; None in an empty place, or in that of one that is complete.
    """

    experiment: Experiment
    store: Store
    plan: str
    slots: tuple[int | None, ...]

    @property
    def places(self) -> tuple[int | None, ...]:
        """The seeds that this plan is trained with, in their places."""
        ours = {*self.experiment.seeds_of(self.plan)}
        return tuple(seed if seed in ours else None for seed in self.slots)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The same without empty places."""
        return tuple(seed for seed in self.places if seed is not None)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the plans of these seeds that must be finished first."""
        return self.experiment.needs_of(self.plan)

    def run(self, train: Train | None = None, tell: Callable[[], None] | None = None) -> None:
        """Trains what is not finished yet.

        Args:
            train: of the experiment's trainer, where what one task's cohorts have traced is to serve the next.
            tell: called about once a second.
        """
        with one_thread(), warnings.catch_warnings():
            for told_when_all_is_done in (LayerCollapseWarning, DivergenceWarning):
                warnings.simplefilter("ignore", told_when_all_is_done)
            # The first dense run reaches all rewind points, so that it warns for all runs.
            first = self.plan == DENSE and self.experiment.all_seeds[0] in self.seeds
            warnings.simplefilter("default" if first else "ignore", RewindWarning)
            _Driving(self, train or self.experiment.trainer.start(), tell).run()


class _Driving:
    """What lasts from the first to the last round of a task."""

    def __init__(self, task: Task, train: Train, tell: Callable[[], None] | None) -> None:
        self._task, self._train, self._tell = task, train, tell
        self._experiment, self._store = task.experiment, task.store
        self._recorder = Recorder(task.experiment, task.store, task.plan)
        self._before: dict[int, Mask] = {}
        plan = task.experiment.plans[task.plan]
        self._setups = {seed: task.experiment.setup(seed, partial(self._outcomes_of, seed)) for seed in task.seeds}
        self._searches = {seed: plan.search(setup) for seed, setup in self._setups.items()}
        self._ahead = {
            seed: {Run(task.plan, seed, *name) for name in plan.trainings(setup)}
            for seed, setup in self._setups.items()
        }

    def run(self) -> None:
        """Drives the plan's searches of all seeds side by side: a round is trained for all before the next begins."""
        rounds = side_by_side(self._searches)
        with suppress(StopIteration):
            asked = next(rounds)
            while True:
                answers = self._answer(asked)
                self._before |= {seed: trained[-1].mask for seed, trained in answers.items()}
                asked = rounds.send(answers)
        if missing := sorted(run for ahead in self._ahead.values() for run in ahead):
            raise ValueError(f"{missing[0]}: its plan names this training, and its search never asked for it")

    def _outcomes_of(self, seed: int, name: str) -> list[Outcome]:
        """The requests of another plan, found by driving its search again with what came of them."""
        plan = self._experiment.plans[name]
        setup = self._experiment.setup(seed, partial(self._outcomes_of, seed))
        rounds = side_by_side({seed: plan.search(setup)})
        found: list[Outcome] = []
        with suppress(StopIteration):
            asked = next(rounds)[seed]
            while True:
                answers = [self._known(self._home(name, seed, request), request) for request in asked]
                known = tuple(trained for trained in answers if trained is not None)
                if len(known) < len(asked):
                    raise ValueError(f"{self._task.plan!r} asks for {name!r}, which is not finished: it must need it")
                found += zip(asked, known, strict=True)
                asked = rounds.send({seed: known})[seed]
        return found

    def _answer(self, asked: Asked) -> dict[int, tuple[Trained, ...]]:
        """What came of every request: of the shared dense run, of one finished earlier, or of a new one."""
        found: dict[tuple[int, int], Trained] = {}
        for seed, requests in asked.items():
            for place, request in enumerate(requests):
                home = self._home(self._task.plan, seed, request)
                self._expect(home)
                if (trained := self._known(home, request)) is not None:
                    found[seed, place] = trained
        for count in sorted({len(requests) for requests in asked.values()}):
            # Seeds that ask for as many at once train together: a seed's place depends on what it asks for alone.
            alike = {seed: requests for seed, requests in asked.items() if len(requests) == count}
            found |= self._trained(alike, count, found)
        return {seed: tuple(found[seed, place] for place in range(len(asked[seed]))) for seed in asked}

    def _home(self, plan: str, seed: int, request: Training) -> Run:
        """Which training answers a request: the plan's own, or the dense run that all share."""
        shared = request.repeats(self._experiment.dense.request(self._experiment.setup(seed)))
        return Run(DENSE if shared else plan, seed, *request.name)

    def _expect(self, home: Run) -> None:
        if home.search != self._task.plan:
            return
        if home not in self._ahead[home.seed]:
            raise ValueError(f"{home}: asked for twice, or not among the trainings that its plan names")
        self._ahead[home.seed].remove(home)

    def _known(self, home: Run, request: Training) -> Trained | None:
        trained = self._store.trained(home)
        if trained is not None and not trained.diverged and not {*request.keep_at} <= {*trained.kept}:
            return None  # What it kept is gone, or a search that was added wants more.
        return trained

    def _trained(
        self, asked: Asked, count: int, known: Mapping[tuple[int, int], Trained]
    ) -> dict[tuple[int, int], Trained]:
        missing = [(seed, place) for seed in asked for place in range(count) if (seed, place) not in known]
        if not missing:
            return {}
        began = time.monotonic()
        with naming(self._store.folder / "tensorboard" / self._task.plan):
            runs = {(seed, place): self._run(seed, asked[seed][place]) for seed, place in missing}
            # Every seed and request has its place, whether it still has to be trained or not.
            places = [(seed, place) for seed in self._task.places for place in range(count)]
            with _telling([self._recorder.identity(seed, asked[seed][place]) for seed, place in missing]):
                self._train([None if seed is None else runs.get((seed, place)) for seed, place in places])
                played = self._recorder.play(list(runs.values()))
            share = (time.monotonic() - began) / len(runs)
            each = zip(runs.items(), played, strict=True)
            return {key: self._record(key[0], run, episodes, share) for (key, run), episodes in each}

    def _record(self, seed: int, run: TrainingRun, played: Played, seconds: float) -> Trained:
        with _telling([self._recorder.identity(seed, run.request)]):
            return self._recorder.record(seed, run, played, self._before.get(seed), seconds)

    def _run(self, seed: int, request: Training) -> TrainingRun:
        experiment, store = self._experiment, self._store
        identity = self._recorder.identity(seed, request)
        assert identity.search == self._home(identity.search, seed, request).search, "the dense runs are finished first"
        setting = Setting(
            experiment.make_model,
            seed,
            experiment.total_timesteps,
            experiment.boundaries,
            experiment.warmup,
            partial(self._callbacks, identity),
            partial(_log, store.tensorboard(identity)),
            partial(store.save_checkpoint, identity),
        )
        return TrainingRun(setting, request, store.checkpoint(identity))

    def _callbacks(self, identity: Run) -> BaseCallback:
        total, make = self._experiment.total_timesteps, self._experiment.callback
        callbacks: list[BaseCallback] = [TellProgress(self._store.work(identity, "progress"), total, self._tell)]
        if make is not None:
            callbacks.append(made(make, identity, self._store.callbacks(identity)))
        return CallbackList(callbacks)


def _log(folder: Path, model: BaseAlgorithm) -> None:
    model.set_logger(configure(str(folder), ["tensorboard"]))


@contextmanager
def _telling(runs: Sequence[Run]) -> Iterator[None]:
    """Says in which of an experiment's many trainings something went wrong; what is wrong with the disk is not theirs.

    Raises:
        LeakError: a pruned weight moved.
        RuntimeError: whatever else was raised.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        others = f" (or another of the {len(runs)} seeds that train with it)" if len(runs) > 1 else ""
        kind = "" if isinstance(error, ValueError | RuntimeError) else f"{type(error).__name__}: "
        told = f"{runs[0]}{others}: {kind}{error}"
        raise (LeakError(told) if isinstance(error, LeakError) else RuntimeError(told)) from error
