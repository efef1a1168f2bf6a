"""Stints: one agent's own `learn`, as a user calls it, for a trainer to go through."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from rl_tickets.agents.generators import Draws
from rl_tickets.agents.holding import class_of, held_mask
from rl_tickets.agents.segments import SeedDraws
from rl_tickets.tickets.mask import Mask
from rl_tickets.training.requests import DivergenceWarning


@dataclass
class Stint:
    """`model.learn(steps_left, listening, log_interval, tb_log_name, from_zero)`: see `Learner`.

    Args:
        model: the agent.
        steps_left: environment steps to train.
        draws: where its random numbers begin.
        listening: SB3 callbacks.
        from_zero: SB3's `reset_num_timesteps`.
        log_interval: SB3's; None: no log.
        tb_log_name: SB3's.
        place: among the agents that train together, for messages.
    """

    model: BaseAlgorithm
    steps_left: int
    draws: Draws | None
    listening: Sequence[BaseCallback] = ()
    from_zero: bool = True
    log_interval: int | None = None
    tb_log_name: str = "run"
    place: int = 0
    _mask: Mask | None = field(init=False)

    def __post_init__(self) -> None:
        try:
            # What a callback may hold meanwhile, too; and held and dense agents then share a cohort.
            self._mask = held_mask(self.model) or Mask.dense(self.model)
        except ValueError:
            self._mask = None

    @property
    def mask(self) -> Mask | None:
        """See `Learner`."""
        return self._mask

    @property
    def finite(self) -> bool:
        """See `Learner`."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.policy.parameters())

    def retimed(self) -> AbstractContextManager[None]:
        """Nothing: the schedules are the agent's own."""
        return nullcontext()

    def callbacks(self, seed_draws: SeedDraws) -> list[BaseCallback]:
        """See `Learner`."""
        return list(self.listening)

    def failed(self, error: Exception) -> None:
        """See `Learner`."""

    def warn_of_divergence(self) -> None:
        """Says so where the weights are no numbers any more."""
        if not self.finite:
            told = f"agent {self.place}, a {class_of(self.model).__name__}, diverged and stopped learning at step "
            warnings.warn(f"{told}{self.model.num_timesteps}", DivergenceWarning, stacklevel=3)
