"""The rollouts of a cohort's members, stacked: arrays that each member's own rollout buffer looks into."""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.buffers import RolloutBuffer

from rl_tickets.training.cohorts.stepping import Array

FIELDS = ("observations", "actions", "rewards", "returns", "episode_starts", "values", "log_probs", "advantages")


class Rollouts:
    """For each field of SB3's `RolloutBuffer` an array of shape (members, steps, environments, ...).

    Args:
        buffer: of any member; gives shapes and dtypes.
        members: number of slots.
    """

    def __init__(self, buffer: RolloutBuffer, members: int) -> None:
        buffer.reset()
        self.arrays: dict[str, Array] = {
            field: np.zeros((members, *getattr(buffer, field).shape), getattr(buffer, field).dtype) for field in FIELDS
        }
        self.steps, self.environments = buffer.buffer_size, buffer.n_envs
        self._discounts = np.ones((2, members, 1))

    def lend(self, slot: int, buffer: RolloutBuffer) -> None:
        """Lets a member's buffer show what is written here."""
        buffer.reset()
        self.show(slot, buffer)

    def show(self, slot: int, buffer: RolloutBuffer) -> None:
        """Lets it show them again, whatever a callback has put in their place; its discounts are those of now."""
        for field, array in self.arrays.items():
            setattr(buffer, field, array[slot])
        self._discounts[:, slot, 0] = buffer.gamma, buffer.gamma * buffer.gae_lambda

    def adopt(self, slot: int, buffer: RolloutBuffer) -> None:
        """Takes over what a callback has put in the place of a finished rollout's arrays."""
        for field, array in self.arrays.items():
            mine, theirs = array[slot], getattr(buffer, field)
            if theirs.ctypes.data != mine.ctypes.data:
                mine[...] = theirs
                setattr(buffer, field, mine)

    def release(self, slot: int, buffer: RolloutBuffer) -> None:
        """Gives a member's buffer arrays of its own again; nothing of a diverged member stays in the slot."""
        buffer.reset()
        for array in self.arrays.values():
            array[slot] = 0

    def add(self, step: int, observations: Array, actions: Array, values: Array, log_probs: Array) -> None:
        """Writes one step of every member, but for what the environments will answer."""
        self.arrays["observations"][:, step] = observations.reshape(self.arrays["observations"][:, step].shape)
        self.arrays["actions"][:, step] = actions.reshape(self.arrays["actions"][:, step].shape)
        self.arrays["values"][:, step] = values
        self.arrays["log_probs"][:, step] = log_probs

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

    def flat(self, field: str) -> torch.Tensor:
        """A field as a tensor (members, steps * environments, ...) that shares its memory."""
        array = self.arrays[field]
        tail = array.shape[3:] if field in ("observations", "actions") else ()
        return torch.from_numpy(array.reshape(len(array), -1, *tail))

    def places(self, drawn: Array) -> Array:
        """Where the rows that SB3's flattened buffer numbers by environment, then step, are in `flat`."""
        places: Array = (drawn % self.steps) * self.environments + drawn // self.steps
        return places
