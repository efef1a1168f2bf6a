"""Whether tickets of PPO on HalfCheetah-v5 win on Walker2d-v5, and the other way round."""

from dataclasses import replace
from functools import partial

import gymnasium as gym
from halfcheetah import experiment as halfcheetah
from halfcheetah import make_model
from measures.transfer import Agent, Family, study


def in_body(name: str) -> Agent:
    env = partial(gym.make, name)
    return Agent(partial(make_model, make_env=env), env)


BODIES = {"half_cheetah": in_body("HalfCheetah-v5"), "walker": in_body("Walker2d-v5")}
DENSITIES = (1.0, 0.35, 0.125)

if __name__ == "__main__":
    study(
        replace(halfcheetah, densities=DENSITIES, searches={}, input_names=None),
        {"bodies": Family("Other bodies", BODIES)},
        "transfer_halfcheetah",
        "Transfer of tickets between bodies",
        at=DENSITIES[-1:],
        seeds=10,
        extra="mujoco",
    )
