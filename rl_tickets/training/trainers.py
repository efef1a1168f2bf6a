"""Trainers: how runs are trained. Plain SB3 takes them one after the other, a cohort in lock-step."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import CallbackList

from rl_tickets.agents.generators import draws_kept
from rl_tickets.agents.holding import LeakError, check_held
from rl_tickets.agents.segments import seed_global_draws
from rl_tickets.training.cohorts.cohort import Cohort
from rl_tickets.training.cohorts.family import CannotJoin, PlainTrainingWarning, Shape
from rl_tickets.training.cohorts.joining import shape_of
from rl_tickets.training.cohorts.rehearsing import demand_alike
from rl_tickets.training.cohorts.tracing import compiler
from rl_tickets.training.environments import demand_numbers, demand_own_environments
from rl_tickets.training.learners import Learner

Train = Callable[[Sequence[Learner | None]], None]
"""Trains every run to its end; None stands for one that is finished already."""
KEPT = 8
"""Cohorts that wait for more runs of their shapes."""


class Trainer(Protocol):
    """Trains runs; `seeds` is how many of an experiment's seeds it wants to have at once."""

    @property
    def seeds(self) -> int: ...

    def obstacle(self, model: BaseAlgorithm) -> str | None:
        """Why it would train such an agent with plain SB3 instead, or None."""

    def remark(self) -> str | None:
        """What a user should know before it begins, or None."""

    def start(self) -> Train:
        """What trains the runs of searches, level after level; what one level needed prepared serves the next."""


def demand_trainer(given: object) -> None:
    """Raises TypeError for what trains nothing, such as a flag's word."""
    if isinstance(given, type) or not all(hasattr(given, name) for name in ("obstacle", "remark", "start", "seeds")):
        raise TypeError(f"a trainer is an object such as rt.Plain() or rt.Cohorts(), got {given!r}")


@dataclass(frozen=True)
class Plain:
    """SB3's own `learn`, one run after the other; works for every agent."""

    @property
    def seeds(self) -> int:
        """One."""
        return 1

    def obstacle(self, model: BaseAlgorithm) -> str | None:
        """None."""
        return None

    def remark(self) -> str | None:
        """None."""
        return None

    def start(self) -> Train:
        """See `Trainer`."""
        return _one_by_one


def _one_by_one(runs: Sequence[Learner | None]) -> None:
    for run in filter(None, runs):
        learn(run)


def learn(run: Learner) -> None:
    """Trains one run with its agent's own `learn`; an error that came of its divergence is kept in `run.problem`.

    Raises:
        LeakError: a pruned weight moved.
        ValueError: the environment gave observations that are not numbers.
    """
    callback = CallbackList(run.callbacks(seed_global_draws))
    settings: dict[str, Any] = {"tb_log_name": run.tb_log_name, "reset_num_timesteps": run.from_zero}
    if run.log_interval is not None:
        settings["log_interval"] = run.log_interval
    with run.retimed(), draws_kept() if run.draws is not None else nullcontext():
        if run.draws is not None:
            run.draws.begin()
        try:
            run.model.learn(run.steps_left, callback, **settings)
        except LeakError:
            raise
        except (ValueError, RuntimeError) as error:
            demand_numbers(run.model)
            # torch refuses to sample from the NaN that a diverged network gives it.
            if run.finite:
                raise
            run.failed(error)
    if not run.finite:
        demand_numbers(run.model)
    check_held(run.model)


@dataclass(frozen=True)
class Cohorts:
    """PPO, A2C, DQN, TD3, SAC and like agents in lock-step; those that cannot join train with plain SB3.

    That is said once, with the reason (a warning).

    Which can is shown, not listed: once for each new shape, copies of an agent train on random observations both ways,
    and what differs in weights, buffers, attributes or logs trains plainly. It takes a second, and touches nothing.

    Args:
        seeds: how many seeds of an experiment train together. It is part of the experiment: stacked arithmetic may
            differ in the last bit with the number of members.

    Raises:
        ValueError: fewer than one seed.

    Example:
        >>> Cohorts(seeds=8)
        Cohorts(seeds=8)
    """

    seeds: int = 5

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise ValueError(f"a cohort needs at least 1 seed, got {self.seeds}")

    def obstacle(self, model: BaseAlgorithm) -> str | None:
        """Why such an agent cannot join a cohort, or None."""
        try:
            demand_alike(model)
        except CannotJoin as reason:
            return str(reason)
        return None

    def remark(self) -> str | None:
        """That there is no compiler, if there is none."""
        if compiler() is not None:
            return None
        return "There is no C++ compiler (g++, clang++ or c++), so cohorts run uncompiled, several times slower."

    def start(self) -> Train:
        """See `Trainer`."""
        return _Lockstep().train


class _Lockstep:
    """The cohorts of searches that train after one another: each is traced once, and has new members at every level."""

    def __init__(self) -> None:
        self._cohorts: dict[tuple[str, int], Cohort | CannotJoin] = {}
        self._said: set[str] = set()

    def train(self, runs: Sequence[Learner | None]) -> None:
        demand_own_environments([run.model for run in filter(None, runs)])
        shapes: dict[int, Shape] = {}
        for run in filter(None, runs):
            try:
                shapes[id(run)] = shape_of(run.model, tuple(run.mask or ()))
            except CannotJoin as reason:
                self._train_plainly([run], str(reason))
        for signature in dict.fromkeys(shape.signature for shape in shapes.values()):
            alike = [run if id(run) in shapes and shapes[id(run)].signature == signature else None for run in runs]
            # One that diverged before it began shows nothing of the others.
            first = min(filter(None, alike), key=lambda run: not run.finite)
            cohort = self._cohort(first, shapes[id(first)], len(runs))
            if isinstance(cohort, CannotJoin):
                self._train_plainly(alike, str(cohort))
            else:
                cohort.train(alike)

    def _cohort(self, run: Learner, shape: Shape, slots: int) -> Cohort | CannotJoin:
        """The cohort for runs of this shape, or why there can be none."""
        key = shape.signature, slots
        found = self._cohorts.pop(key, None)
        if not isinstance(found, CannotJoin):
            try:
                found = found or Cohort(run.model, shape, slots)
                demand_alike(run.model)
                found.group.prepare()
            except CannotJoin as reason:
                found = reason
        self._cohorts[key] = found
        if len(self._cohorts) > KEPT:
            del self._cohorts[next(iter(self._cohorts))]
        return found

    def _train_plainly(self, runs: Sequence[Learner | None], reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            warnings.warn(f"this agent trains with plain SB3, since {reason}", PlainTrainingWarning, stacklevel=3)
        _one_by_one(runs)
