"""A member of a cohort: an ordinary SB3 agent whose `learn` is gone through from outside, one round at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import CallbackList

from rl_tickets.agents.generators import Draws, draws_kept
from rl_tickets.agents.holding import check_held
from rl_tickets.training.cohorts.stepping import quick
from rl_tickets.training.learners import Learner


class Streams:
    """A member's own random numbers: the same as SB3 would draw from the global generators after the same seed."""

    def __init__(self) -> None:
        self.torch = torch.Generator()
        self.numpy = np.random.RandomState()  # What the module-level functions that SB3 calls are methods of.

    def seed(self, seed: int) -> AbstractContextManager[None]:
        """Starts both generators anew; gives `everywhere`."""
        self.torch.manual_seed(seed)
        self.numpy = np.random.RandomState(seed)
        return self.everywhere()

    def begin(self, draws: Draws) -> None:
        """Lets both generators go on from there."""
        self.torch.set_state(draws.torch)
        self.numpy.set_state(draws.numpy)

    @contextmanager
    def everywhere(self) -> Iterator[None]:
        """Meanwhile the global generators are these two."""
        with draws_kept():
            torch.set_rng_state(self.torch.get_state())
            np.random.set_state(self.numpy.get_state())  # noqa: NPY002
            yield
            self.torch.set_state(torch.get_rng_state())
            self.numpy.set_state(np.random.get_state())  # noqa: NPY002


class Member:
    """What an SB3 agent's `learn` does before and after training, for an agent that something else trains.

    Args:
        run: whose `learn` is gone through; its agent is `model`.
        slot: place in the cohort.
    """

    def __init__(self, run: Learner, slot: int) -> None:
        self.run, self.slot = run, slot
        self.model: Any = run.model
        self.streams = Streams()
        self.rounds = 0
        """Rollouts that are finished."""
        self.log_interval = run.log_interval
        self._leaving = ExitStack()

    def enter(self, release: Callable[[], None], **known: Any) -> None:
        """Begins `learn`.

        Args:
            release: called when the member leaves.
            known: what callbacks see of `learn`, beside what every algorithm's shows.
        """
        model = self.model
        self._leaving.callback(release)
        self._leaving.enter_context(quick(model.env))
        self._leaving.enter_context(self.run.retimed())
        if self.run.draws is not None:
            self.streams.begin(self.run.draws)
        callback = CallbackList(self.run.callbacks(self.streams.seed))
        steps, tag, from_zero = self.run.steps_left, self.run.tb_log_name, self.run.from_zero
        total, self.callback = model._setup_learn(steps, callback, from_zero, tag, False)
        self.total = total
        known |= {"self": model, "env": model.env, "callback": self.callback, "total_timesteps": total}
        known |= {"log_interval": self.log_interval, "tb_log_name": tag}
        known |= {"reset_num_timesteps": from_zero, "progress_bar": False}
        self.callback.on_training_start(known, globals())

    @property
    def done(self) -> bool:
        """Whether the budget is used up."""
        return bool(self.model.num_timesteps >= self.total)

    def leave(self, *, diverged: bool = False) -> None:
        """Ends `learn`; the agent has tensors, buffer and environment of its own again."""
        self._leaving.close()
        if not diverged:
            self.callback.on_training_end()
            check_held(self.model)

    def abandon(self) -> None:
        """As `leave`, where something went wrong elsewhere."""
        self._leaving.close()
