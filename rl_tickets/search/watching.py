"""Watching a search: a bar for each level that trains."""

from __future__ import annotations

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from stable_baselines3.common.callbacks import BaseCallback

from rl_tickets.training.requests import Training


class Bars:
    """A bar for one level after another, on screen while a level trains, so that a user's own lines stand between.

    Args:
        total_timesteps: environment steps of a level.
        levels: how many there will be.
    """

    def __init__(self, total_timesteps: int, levels: int) -> None:
        self._total, self._levels = total_timesteps, levels
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        self._bars = Progress(*columns)

    def __enter__(self) -> None:
        self._bars.start()

    def __exit__(self, *_: object) -> None:
        self._bars.stop()
        for task in self._bars.task_ids:
            self._bars.remove_task(task)

    def callback(self, request: Training) -> BaseCallback:
        """What advances the bar of one training."""
        density = 1.0 if request.ticket is None else request.ticket.density
        told = f"level {request.level} of {self._levels - 1}, density {density:.3g}"
        until = self._total if request.until is None else request.until
        return _Advancing(self._bars, self._bars.add_task(told, total=until))


class _Advancing(BaseCallback):
    def __init__(self, bars: Progress, task: TaskID) -> None:
        super().__init__()
        self._bars, self._task = bars, task

    def _on_step(self) -> bool:
        self._bars.update(self._task, completed=self.num_timesteps)
        return True
