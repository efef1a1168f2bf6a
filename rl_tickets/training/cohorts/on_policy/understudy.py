"""An understudy of an on-policy agent: rollouts of one or two minibatches."""

from __future__ import annotations

from math import gcd
from typing import Any

from rl_tickets.training.cohorts.understudy import Understudy, copied, most_rows

EPOCHS = 2
"""Most passes over a rollout."""


def spent(model: Any, seed: int) -> Understudy:
    """A copy that makes two rollouts and their updates.

    Raises:
        CannotJoin: the policy cannot be copied.
    """
    found = copied(model, seed, ("rollout_buffer",))
    _shorten(found)
    buffer = model.rollout_buffer
    spaces = (model.observation_space, model.action_space)
    found.rollout_buffer = type(buffer)(
        found.n_steps, *spaces, "cpu", gae_lambda=buffer.gae_lambda, gamma=buffer.gamma, n_envs=model.n_envs
    )
    return Understudy(found, 2 * found.n_steps * found.n_envs)


def _shorten(model: Any) -> None:
    """Minibatches of the same sizes, the smaller last one too, but few of them."""
    most = most_rows(model)
    model.n_epochs = min(getattr(model, "n_epochs", 1), EPOCHS)
    if getattr(model, "batch_size", None) is None:
        model.n_steps = min(model.n_steps, max(most // model.n_envs, 2))
        return
    model.batch_size = min(model.batch_size, most)
    # After so many steps the rows left over by whole minibatches are the same again.
    period = model.batch_size // gcd(model.batch_size, model.n_envs)
    least = -(-model.batch_size // model.n_envs)
    model.n_steps -= max(model.n_steps - least, 0) // period * period
