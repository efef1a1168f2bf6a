"""A level's learning curve: return of the training episodes that end in each stretch of steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from rl_tickets.tickets.mask import Prunable
from rl_tickets.training.during import During, Observer


class CurvePoint(NamedTuple):
    """Sum of the returns of `episodes` training episodes that ended in the stretch up to `timesteps`."""

    timesteps: int
    total_return: float
    episodes: int

    @property
    def mean_return(self) -> float:
        """Mean return of these episodes."""
        return self.total_return / self.episodes


@dataclass(frozen=True)
class LearningCurve(During):
    """Adds up Monitor's episode returns over so many stretches of a level; deterministic, unlike wall-clock logs.

    Args:
        points: number of stretches, about.
    """

    points: int = 50
    table, columns = "curves", CurvePoint._fields

    def observer(self, prunable: Prunable | None) -> Observer:
        """See `During`."""
        return _Adding(self.points)


class _Adding(Observer):
    def __init__(self, points: int) -> None:
        super().__init__()
        self._count = points
        self._points: list[CurvePoint] = []
        self._returns: list[float] = []

    def progress(self) -> dict[str, Any]:
        return {"points": [tuple(point) for point in self._points], "returns": list(self._returns)}

    def resume(self, progress: dict[str, Any]) -> None:
        self._points = [CurvePoint(*point) for point in progress["points"]]
        self._returns = list(progress["returns"])

    def rows(self) -> tuple[CurvePoint, ...]:
        """The stretches so far, the unfinished one included."""
        return (*self._points, *self._stretch())

    def _stretch(self) -> tuple[CurvePoint, ...]:
        if not self._returns:
            return ()
        return (CurvePoint(self.num_timesteps, sum(self._returns), len(self._returns)),)

    def _on_step(self) -> bool:
        for info in self.locals.get("infos", ()):
            if "episode" in info:
                self._returns.append(float(info["episode"]["r"]))
        return True

    def _on_rollout_start(self) -> None:
        last = self._points[-1].timesteps if self._points else 0
        if self._returns and self.num_timesteps - last >= self.model._total_timesteps / self._count:
            self._points += self._stretch()
            self._returns.clear()
