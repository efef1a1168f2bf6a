"""Exploring: SB3's action noise, drawn by a generator of the agent's own."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.noise import (
    ActionNoise,
    NormalActionNoise,
    OrnsteinUhlenbeckActionNoise,
    VectorizedActionNoise,
)

from rl_tickets.training.cohorts.stepping import Array

KNOWN = (NormalActionNoise, OrnsteinUhlenbeckActionNoise)


def is_known(noise: ActionNoise | None) -> bool:
    """Whether `drawn` can draw it: not what a user has written."""
    if type(noise) is VectorizedActionNoise:
        return all(type(each) in KNOWN for each in noise.noises)
    return noise is None or type(noise) in KNOWN


def drawn(noise: ActionNoise, generator: np.random.RandomState) -> Array:
    """What `noise()` gives where NumPy's global generator stands where this one does; the same state is kept."""
    found: Any
    match noise:
        case VectorizedActionNoise():
            return np.stack([drawn(each, generator) for each in noise.noises])
        case NormalActionNoise():
            found = generator.normal(noise._mu, noise._sigma)
        case OrnsteinUhlenbeckActionNoise():
            pulled = noise.noise_prev + noise._theta * (noise._mu - noise.noise_prev) * noise._dt
            found = pulled + noise._sigma * np.sqrt(noise._dt) * generator.normal(size=noise._mu.shape)
            noise.noise_prev = found
        case _:
            raise AssertionError(f"a {type(noise).__name__} is no member's noise")
    found = found.astype(noise._dtype)
    return np.asarray(found)
