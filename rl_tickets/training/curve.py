"""A level's learning curve: mean return of the training episodes that end in each stretch of steps."""

from __future__ import annotations

from typing import Any, NamedTuple

from stable_baselines3.common.callbacks import BaseCallback

POINTS = 50


class CurvePoint(NamedTuple):
    """Mean return of `episodes` training episodes that ended in the stretch up to `timesteps`."""

    timesteps: int
    mean_return: float
    episodes: int


class Curve(BaseCallback):
    """Averages Monitor's episode returns over about 50 stretches of a level; deterministic, unlike wall-clock logs."""

    def __init__(self) -> None:
        super().__init__()
        self._points: list[CurvePoint] = []
        self._returns: list[float] = []

    def progress(self) -> dict[str, Any]:
        """All that `resume` needs, as plain data."""
        return {"points": [tuple(point) for point in self._points], "returns": list(self._returns)}

    def resume(self, progress: dict[str, Any]) -> None:
        """Goes on where `progress` was taken."""
        self._points = [CurvePoint(*point) for point in progress["points"]]
        self._returns = list(progress["returns"])

    def points(self) -> tuple[CurvePoint, ...]:
        """The stretches so far, the unfinished one included."""
        return (*self._points, *self._stretch())

    def _stretch(self) -> tuple[CurvePoint, ...]:
        if not self._returns:
            return ()
        return (CurvePoint(self.num_timesteps, sum(self._returns) / len(self._returns), len(self._returns)),)

    def _on_step(self) -> bool:
        for info in self.locals.get("infos", ()):
            if "episode" in info:
                self._returns.append(float(info["episode"]["r"]))
        return True

    def _on_rollout_start(self) -> None:
        last = self._points[-1].timesteps if self._points else 0
        if self._returns and self.num_timesteps - last >= self.model._total_timesteps / POINTS:
            self._points += self._stretch()
            self._returns.clear()
