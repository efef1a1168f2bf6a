"""Learners: what a trainer, plain or in lock-step, needs to know of an agent that is to learn."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager
from typing import Protocol

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from rl_tickets.agents.generators import Draws
from rl_tickets.agents.holding import class_of
from rl_tickets.agents.segments import SeedDraws
from rl_tickets.tickets.mask import Mask


class Learner(Protocol):
    """An agent, and the call of its `learn` that is to be made or gone through: a level's run, or a user's own call."""

    model: BaseAlgorithm

    @property
    def mask(self) -> Mask | None:
        """The mask that is held, or the full one; None where nothing can be masked."""

    @property
    def steps_left(self) -> int:
        """Environment steps still to train."""

    @property
    def from_zero(self) -> bool:
        """Whether steps are counted from 0 again, SB3's `reset_num_timesteps`."""

    @property
    def log_interval(self) -> int | None:
        """Rollouts, or episodes, between two lines of the log."""

    @property
    def tb_log_name(self) -> str:
        """What SB3 is to call the run where it makes the logger itself."""

    @property
    def draws(self) -> Draws | None:
        """Where its random numbers begin; None where its callbacks seed them."""

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers; where not, it has diverged."""

    def retimed(self) -> AbstractContextManager[None]:
        """Its schedules as they are to be while it learns."""

    def callbacks(self, seed_draws: SeedDraws) -> list[BaseCallback]:
        """SB3 callbacks that `learn` must be given; `seed_draws` seeds the generators that the agent draws from."""

    def failed(self, error: Exception) -> None:
        """Told what training raised once it had diverged."""


def usual_log_interval(model: BaseAlgorithm) -> int | None:
    """What the algorithm's `learn` takes where nothing is said; None if it knows no such thing."""
    parameter = inspect.signature(class_of(model).learn).parameters.get("log_interval")
    return None if parameter is None else parameter.default
