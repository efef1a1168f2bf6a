"""The rollouts of a cohort's members, stacked: arrays that each member's own rollout buffer looks into."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from rl_tickets.training.cohorts.stepping import Array
from rl_tickets.training.observing import MASKS, each

FIELDS = ("observations", "actions", "rewards", "returns", "episode_starts", "values", "log_probs", "advantages")


class Rollouts:
    """For each field of SB3's `RolloutBuffer` an array of shape (members, steps, environments, ...).

    Of observations with names there is one for each name, as in `DictRolloutBuffer`.

    Args:
        buffer: of any member; gives shapes and dtypes.
        members: number of slots.
    """

    def __init__(self, buffer: RolloutBuffer, members: int) -> None:
        buffer.reset()
        self.arrays: dict[str, Any] = {
            field: each(lambda array: np.zeros((members, *array.shape), array.dtype), getattr(buffer, field))
            for field in (*FIELDS, *([MASKS] if hasattr(buffer, MASKS) else []))
        }
        self.steps, self.environments = buffer.buffer_size, buffer.n_envs
        self._discounts = np.ones((2, members, 1))

    def lend(self, slot: int, buffer: RolloutBuffer) -> None:
        """Lets a member's buffer show what is written here."""
        buffer.reset()
        self.show(slot, buffer)

    def show(self, slot: int, buffer: RolloutBuffer) -> None:
        """Lets it show them again, whatever a callback has put in their place; its discounts are those of now."""
        for field in self.arrays:
            setattr(buffer, field, self._of(slot, field))
        self._discounts[:, slot, 0] = buffer.gamma, buffer.gamma * buffer.gae_lambda

    def adopt(self, slot: int, buffer: RolloutBuffer) -> None:
        """Takes over what a callback has put in the place of a finished rollout's arrays, or has flattened."""
        for field in self.arrays:
            setattr(buffer, field, each(_adopted, self._of(slot, field), getattr(buffer, field)))
        buffer.generator_ready = False

    def release(self, slot: int, buffer: RolloutBuffer) -> None:
        """Gives a member's buffer arrays of its own again; nothing of a diverged member stays in the slot."""
        buffer.reset()
        for field in self.arrays:
            each(_clear, self._of(slot, field))

    def _of(self, slot: int, field: str) -> Any:
        return each(lambda array: array[slot], self.arrays[field])

    def add(self, step: int, **fields: Any) -> None:
        """Writes fields of one step of every member, each (members, environments, ...)."""
        for field, given in fields.items():
            each(lambda array, now: _write(array[:, step], now), self.arrays[field], given)

    def compute_returns_and_advantage(self, last_values: Array, dones: Array) -> None:
        """As `RolloutBuffer.compute_returns_and_advantage`, for all members at once; both (members, environments)."""
        rewards, values, starts = (self.arrays[field] for field in ("rewards", "values", "episode_starts"))
        advantages = self.arrays["advantages"]
        gamma, decay = self._discounts  # Rounded as the plain numbers that SB3 has for them would be.
        going_on, next_values = 1.0 - dones.astype(np.float32), last_values
        last = np.zeros_like(last_values)
        for step in reversed(range(self.steps)):
            delta = rewards[:, step] + gamma.astype(next_values.dtype) * next_values * going_on - values[:, step]
            last = delta + decay.astype(going_on.dtype) * going_on * last
            advantages[:, step] = last
            going_on, next_values = 1.0 - starts[:, step], values[:, step]
        np.add(advantages, values, out=self.arrays["returns"])

    def flat(self, field: str) -> Any:
        """A field as a tensor (members, steps * environments, ...) that shares its memory."""
        return each(_flat, self.arrays[field])

    def places(self, drawn: Array) -> Array:
        """Where the rows that SB3's flattened buffer numbers by environment, then step, are in `flat`."""
        places: Array = (drawn % self.steps) * self.environments + drawn // self.steps
        return places


def _flat(array: Array) -> torch.Tensor:
    return torch.from_numpy(array.reshape(len(array), -1, *array.shape[3:]))


def _write(array: Array, values: Array) -> None:
    array[...] = values.reshape(array.shape)


def _clear(array: Array) -> None:
    array[...] = 0


def _adopted(mine: Array, theirs: Array) -> Array:
    if theirs.shape != mine.shape:  # By environment, then step: the callback has looked at minibatches.
        theirs = theirs.reshape(mine.shape[1], mine.shape[0], *mine.shape[2:]).swapaxes(0, 1)
    if theirs.ctypes.data != mine.ctypes.data:
        mine[...] = theirs
    return mine
