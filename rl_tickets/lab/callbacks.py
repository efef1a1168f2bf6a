"""Callbacks of a training: the user's own, told which training they belong to, and the one that tells its progress."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from stable_baselines3.common.callbacks import BaseCallback

from rl_tickets.report.rows import Run

MakeCallback = Callable[[], BaseCallback] | Callable[["CallbackPlace"], BaseCallback]
"""Makes a fresh SB3 callback for a training; it may take where that training belongs."""


@dataclass(frozen=True)
class CallbackPlace:
    """Which training a callback is made for.

    Args:
        search: name of the search.
        seed: the training seed.
        level: 0 is dense.
        variant: which of several trainings of one level, usually empty.
        folder: of this training alone, for whatever the callback writes; it exists.

    Example:
        def callback(place):
            return EvalCallback(make_env(), best_model_save_path=place.folder, log_path=place.folder)
    """

    search: str
    seed: int
    level: int
    variant: str
    folder: Path


def made(make: MakeCallback, run: Run, folder: Path) -> BaseCallback:
    """The user's callback for a training."""
    make_any: Any = make
    if not _takes_place(make):
        return cast(BaseCallback, make_any())
    folder.mkdir(parents=True, exist_ok=True)
    return cast(BaseCallback, make_any(CallbackPlace(*run, folder)))


def _takes_place(make: MakeCallback) -> bool:
    """Whether a factory has a parameter that must be given."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(make).parameters.values()
    return any(each.kind in kinds and each.default is inspect.Parameter.empty for each in parameters)


class TellProgress(BaseCallback):
    """Writes about once a second how far the training is, for the progress bar."""

    def __init__(self, path: Path, total: int, tell: Callable[[], None] | None) -> None:
        super().__init__()
        self._path, self._total, self._tell = path, total, tell
        self._last = 0.0

    def _on_rollout_start(self) -> None:
        if time.monotonic() - self._last > 1.0:
            self._last = time.monotonic()
            with suppress(OSError):  # A full disk is told where it loses something.
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_text(f"{min(1.0, self.num_timesteps / self._total):.6f}\n")
            if self._tell is not None:
                self._tell()

    def _on_step(self) -> bool:
        return True
