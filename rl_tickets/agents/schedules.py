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


@contextmanager
def retimed(model: BaseAlgorithm, begin: int, warmup: int, until: int, schedule_end: int | None) -> Iterator[None]:
    """Warm-up and held schedules for the length of one level; afterwards the agent has its own back."""
    changed: dict[str, Any] = {}
    if schedule_end is not None and schedule_end < until:
        demand_learning_rate(model)
        for name in ("lr_schedule", "clip_range", "clip_range_vf", "exploration_schedule"):
            if callable(getattr(model, name, None)):
                changed[name] = _Held(float(getattr(model, name)(0.0)))
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
