"""Replaying: one minibatch of every member, from replay buffers that stay the members' own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.buffers import ReplayBuffer

from rl_tickets.training.cohorts.member import Member
from rl_tickets.training.cohorts.off_policy.algorithm import Batch
from rl_tickets.training.cohorts.stepping import Array


class Minibatches:
    """The stacked minibatches, filled as SB3's `ReplayBuffer.sample` would fill them.

    Args:
        model: any member; gives shapes and dtypes.
        batch_size: rows of a minibatch.
        members: number of slots.
    """

    def __init__(self, model: Any, batch_size: int, members: int) -> None:
        buffer, env = model.replay_buffer, model._vec_normalize_env
        self._size = batch_size
        kept = np.zeros((1, *buffer.obs_shape), buffer.observations.dtype)
        seen = kept if env is None else env.normalize_obs(kept)
        rows, ones = (members, batch_size), (members, batch_size, 1)
        arrays = {
            "observations": np.zeros((*rows, *buffer.obs_shape), seen.dtype),
            "actions": np.zeros((*rows, buffer.action_dim), buffer.actions.dtype),
            "next_observations": np.zeros((*rows, *buffer.obs_shape), seen.dtype),
            "dones": np.zeros(ones, buffer.dones.dtype),
            "rewards": np.zeros(ones, buffer.rewards.dtype),
            "discounts": np.full(ones, model.gamma, buffer.rewards.dtype),
        }
        self.batch = Batch(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        """Each (members, batch, ...); read anew at every gradient step."""
        self._rows = [{name: array[slot] for name, array in arrays.items()} for slot in range(members)]

    def sample(self, member: Member) -> None:
        """Draws a member's next minibatch."""
        model, rows = member.model, self._rows[member.slot]
        buffer: ReplayBuffer = model.replay_buffer
        drawn = _draw(buffer, self._size, member.streams.numpy)
        if type(buffer) is ReplayBuffer and model._vec_normalize_env is None:
            place = drawn if buffer.n_envs == 1 else _environments(buffer, drawn, member.streams.numpy)
            _gather(buffer, place, rows)
            rows["discounts"].fill(model.gamma)
            return
        if buffer.n_envs == 1:  # There is nothing to draw.
            sampled = buffer._get_samples(drawn, model._vec_normalize_env)
        else:
            with member.streams.everywhere():
                sampled = buffer._get_samples(drawn, model._vec_normalize_env)
        for name, row in rows.items():
            found = getattr(sampled, name)
            row[...] = model.gamma if found is None else found


def _draw(buffer: ReplayBuffer, size: int, generator: np.random.RandomState) -> Array:
    """Times of the transitions, as `ReplayBuffer.sample` draws them."""
    if buffer.optimize_memory_usage and buffer.full:
        # The newest observation has taken the place of the oldest.
        return (generator.randint(1, buffer.buffer_size, size=size) + buffer.pos) % buffer.buffer_size
    return generator.randint(0, buffer.buffer_size if buffer.full else buffer.pos, size=size)


def _environments(buffer: ReplayBuffer, drawn: Array, generator: np.random.RandomState) -> Array:
    """Places in the flattened buffer, of environments drawn as `ReplayBuffer._get_samples` draws them."""
    places: Array = drawn * buffer.n_envs + generator.randint(0, high=buffer.n_envs, size=(len(drawn),))
    return places


def _gather(buffer: ReplayBuffer, places: Array, rows: dict[str, Array]) -> None:
    """What `ReplayBuffer._get_samples` gives, without copies on the way."""
    following = places
    following_in = buffer.observations
    if buffer.optimize_memory_usage:
        following = (places + buffer.n_envs) % (buffer.buffer_size * buffer.n_envs)
    else:
        following_in = buffer.next_observations
    for name, array, where in (
        ("observations", buffer.observations, places),
        ("next_observations", following_in, following),
        ("actions", buffer.actions, places),
        ("rewards", buffer.rewards, places),
    ):
        _flat(array, rows[name]).take(where, axis=0, out=rows[name], mode="clip")
    ended, cut = (array.ravel()[places] for array in (buffer.dones, buffer.timeouts))
    rows["dones"][:, 0] = ended * (1 - cut)


def _flat(array: Array, row: Array) -> Array:
    """A view, (times * environments, ...)."""
    return array.reshape(-1, *row.shape[1:])
