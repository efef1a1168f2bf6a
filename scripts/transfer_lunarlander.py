"""Whether tickets of PPO on LunarLander-v3 win in wind and under another gravity.

What is tested is the return while training: how they end, tickets there are not told from re-initialised ones.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
from lunarlander import experiment as lunarlander
from lunarlander import make_model
from measures.transfer import Agent, Family, study


def make_env(**physics: Any) -> gym.Env:
    return gym.make("LunarLander-v3", **physics)


def in_physics(**physics: Any) -> Agent:
    env = partial(make_env, **physics)
    return Agent(partial(make_model, make_env=env), env)


PHYSICS = {"calm": in_physics(), "wind": in_physics(enable_wind=True), "light": in_physics(gravity=-5.0)}
DENSITIES = (1.0, 0.25, 0.0625)

if __name__ == "__main__":
    study(
        replace(lunarlander, densities=DENSITIES, searches={}),
        {"physics": Family("Other physics", PHYSICS)},
        "transfer_lunarlander",
        "Transfer of tickets on LunarLander",
        at=DENSITIES[-1:],
        seeds=10,
        extra="box2d",
    )
