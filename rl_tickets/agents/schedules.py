"""Schedules of an agent re-timed for one level: the learning rate warmed up, or everything held where it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm


def demand_learning_rate(model: BaseAlgorithm) -> None:
    """Raises ValueError where fine-tuning would train nothing."""
    if not model.lr_schedule(0.0):
        raise ValueError(
            "fine-tuning goes on at the schedule's last learning rate, which is 0 here: nothing would be trained; "
            "use Rewind.learning_rate, or a schedule that ends above 0"
        )


@dataclass(frozen=True)
class Warmup:
    """A learning rate for SB3 that rises linearly from 0 over the first part of training, then follows a schedule.

    It is a part of the agent: a rewound level goes on where in it the rewind point lies, and a level that is rewound to
    initialisation rises again. (`Experiment(warmup=...)` rises anew at the start of every level, wherever it begins.)

    Args:
        learning_rate: a number, or an SB3 schedule of the progress that remains, from 1 to 0.
        over: the part of training over which it rises, in (0, 1].

    Raises:
        ValueError: `over` is no such part.

    Example:
        >>> schedule = Warmup(1e-3, over=0.1)  # PPO(..., learning_rate=schedule)
        >>> schedule(1.0), schedule(0.95), schedule(0.5)
        (0.0, 0.0005, 0.001)
    """

    learning_rate: float | Callable[[float], float]
    over: float

    def __post_init__(self) -> None:
        if not 0 < self.over <= 1:
            raise ValueError(
                f"`over` is the part of training over which the learning rate rises, in (0, 1], got {self.over}"
            )

    def __call__(self, progress_remaining: float) -> float:
        """The learning rate where so much of training remains."""
        whole = self.learning_rate(progress_remaining) if callable(self.learning_rate) else self.learning_rate
        # Rounded, so that what is left of 1 after a subtraction does not count.
        return min(1.0, round((1 - progress_remaining) / self.over, 12)) * float(whole)


@contextmanager
def retimed(
    model: BaseAlgorithm, begin: int, warmup: int, until: int, schedule_end: int | None, exploration_rate: float | None
) -> Iterator[None]:
    """Warm-up and held schedules for the length of one level; afterwards the agent has its own back."""
    changed: dict[str, Any] = {}
    if schedule_end is not None and schedule_end < until:
        demand_learning_rate(model)
        for name in ("lr_schedule", "clip_range", "clip_range_vf", "exploration_schedule"):
            if callable(getattr(model, name, None)):
                changed[name] = _Held(float(getattr(model, name)(0.0)))
    if exploration_rate is not None:
        changed["exploration_schedule"] = _Held(exploration_rate)
        model.exploration_rate = exploration_rate  # type: ignore[attr-defined]  # SB3 asks the schedule after a step.
    if warmup:
        changed["lr_schedule"] = _WarmUp(changed.get("lr_schedule", model.lr_schedule), begin, warmup, until)
    before = {name: getattr(model, name) for name in changed}
    for name, schedule in changed.items():
        setattr(model, name, schedule)
    try:
        yield
    finally:
        for name, schedule in before.items():
            setattr(model, name, schedule)


@dataclass(frozen=True)
class _WarmUp:
    """A learning-rate schedule that rises from 0 over its first steps."""

    schedule: Callable[[float], float]
    begin: int
    warmup: int
    until: int

    def __call__(self, progress_remaining: float) -> float:
        step = (1 - progress_remaining) * self.until - self.begin
        return min(1.0, max(step, 0.0) / self.warmup) * float(self.schedule(progress_remaining))


@dataclass(frozen=True)
class _Held:
    """A schedule that stays at one value."""

    value: float

    def __call__(self, progress_remaining: float) -> float:
        return self.value
