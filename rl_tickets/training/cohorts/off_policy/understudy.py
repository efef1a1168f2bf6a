"""An understudy of an off-policy agent: a small replay buffer, and little to wait for."""

from __future__ import annotations

from typing import Any

from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit

from rl_tickets.training.cohorts.understudy import Understudy, copied, most_rows

ROUNDS = 6
"""Rollouts of an understudy after its warm-up."""
STEPS = 4
"""Most steps of a rollout, and gradient steps after it."""


def spent(model: Any, seed: int) -> Understudy:
    """A copy that warms up, then rolls out and updates several times; targets are followed in between.

    Raises:
        CannotJoin: the policy cannot be copied.
    """
    found = copied(model, seed, ("replay_buffer",))
    found.batch_size = min(model.batch_size, most_rows(model))
    found.train_freq = TrainFreq(min(model.train_freq.frequency, STEPS), TrainFrequencyUnit.STEP)
    found.gradient_steps = min(model.gradient_steps, STEPS)
    rollout = found.train_freq.frequency * model.n_envs
    found.learning_starts = min(model.learning_starts, 2 * rollout)
    if hasattr(model, "target_update_interval"):
        found.target_update_interval = min(model.target_update_interval, 2 * rollout)
    rows = found.learning_starts + ROUNDS * rollout
    buffer = model.replay_buffer
    more = {name: getattr(buffer, name) for name in ("n_steps",) if hasattr(buffer, name)}
    found.replay_buffer = type(buffer)(
        rows - rollout,  # It fills up, and begins anew.
        model.observation_space,
        model.action_space,
        device="cpu",
        n_envs=model.n_envs,
        optimize_memory_usage=buffer.optimize_memory_usage,
        handle_timeout_termination=buffer.handle_timeout_termination,
        **(more | {"gamma": buffer.gamma} if more else {}),
    )
    return Understudy(found, rows)
