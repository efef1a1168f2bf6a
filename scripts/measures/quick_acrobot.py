"""Gymnasium's Acrobot-v1 to the last bit in a third of the time: its physics in Python's floats, not numpy's scalars.

Equations: Sutton & Barto 2018, "Reinforcement Learning: An Introduction", example 11.3; in the order of Gymnasium's.
"""

from dataclasses import replace
from math import cos, pi, sin
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.classic_control.acrobot import AcrobotEnv

Rates = tuple[float, float, float, float]
"""Of both angles and both angular velocities, per second."""

GRAVITY = 9.8
TURN = 2 * pi


class QuickAcrobot(AcrobotEnv):
    """Acrobot with Gymnasium's lengths and masses, which are 1, and no noise on its torque."""

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        torque = self.AVAIL_TORQUE[action]
        angle1, angle2, velocity1, velocity2 = _integrated(self.state.tolist(), torque, self.dt)
        angle1, angle2 = _wrapped(angle1), _wrapped(angle2)
        velocity1 = min(max(velocity1, -self.MAX_VEL_1), self.MAX_VEL_1)
        velocity2 = min(max(velocity2, -self.MAX_VEL_2), self.MAX_VEL_2)
        self.state = np.array([angle1, angle2, velocity1, velocity2])
        seen = np.array([cos(angle1), sin(angle1), cos(angle2), sin(angle2), velocity1, velocity2], dtype=np.float32)
        up = -cos(angle1) - cos(angle2 + angle1) > 1.0
        return seen, 0.0 if up else -1.0, up, False, {}


QUICK = replace(gym.spec("Acrobot-v1"), entry_point=QuickAcrobot)
"""For `gym.make`, with all else of Acrobot-v1, as its time limit."""


def _integrated(state: list[float], torque: float, dt: float) -> list[float]:
    """One step of Runge-Kutta of the fourth order."""
    half, sixth = dt / 2.0, dt / 6.0
    first = _rates(*state, torque)
    second = _rates(*(x + half * rate for x, rate in zip(state, first, strict=True)), torque)
    third = _rates(*(x + half * rate for x, rate in zip(state, second, strict=True)), torque)
    fourth = _rates(*(x + dt * rate for x, rate in zip(state, third, strict=True)), torque)
    rates = zip(state, first, second, third, fourth, strict=True)
    return [x + sixth * (k1 + 2 * k2 + 2 * k3 + k4) for x, k1, k2, k3, k4 in rates]


def _rates(angle1: float, angle2: float, velocity1: float, velocity2: float, torque: float) -> Rates:
    # Squares by `**`, not by a product: they round differently.
    cosine, sine = cos(angle2), sin(angle2)
    d1 = 0.25 + (1.25 + cosine) + 1.0 + 1.0
    d2 = (0.25 + 0.5 * cosine) + 1.0
    phi2 = 0.5 * GRAVITY * cos(angle1 + angle2 - pi / 2.0)
    phi1 = -0.5 * velocity2**2 * sine - velocity2 * velocity1 * sine + 1.5 * GRAVITY * cos(angle1 - pi / 2) + phi2
    acceleration2 = (torque + d2 / d1 * phi1 - 0.5 * velocity1**2 * sine - phi2) / (1.25 - d2**2 / d1)
    acceleration1 = -(d2 * acceleration2 + phi1) / d1
    return velocity1, velocity2, acceleration1, acceleration2


def _wrapped(angle: float) -> float:
    while angle > pi:
        angle -= TURN
    while angle < -pi:
        angle += TURN
    return angle
