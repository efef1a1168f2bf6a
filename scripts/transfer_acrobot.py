"""Whether tickets of A2C on Acrobot-v1 win with half its torque, and those of CartPole-v1 in both, and back.

CartPole has other inputs and actions: between the two, first layers and the actor's last have random masks as dense as
the ticket's, and all else is carried. At a sixteenth of the weights, where Acrobot's tickets match and controls do not.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
from acrobot import experiment as acrobot
from acrobot import make_model
from measures.quick_acrobot import QUICK
from measures.transfer import Agent, Family, study

import rl_tickets as rt


def make_acrobot(torque: float = 1.0) -> gym.Env:
    """Acrobot with another torque on its joint (N m)."""
    env = gym.make(QUICK)
    joint: Any = env.unwrapped
    joint.AVAIL_TORQUE = [-torque, 0.0, torque]
    return env


def in_env(make_env: Any) -> Agent:
    return Agent(partial(make_model, make_env=make_env), make_env)


ENVIRONMENTS = {
    "acrobot": in_env(make_acrobot),
    "half_torque": in_env(partial(make_acrobot, torque=0.5)),
    "cartpole": in_env(partial(gym.make, "CartPole-v1")),
}
NOTE = (
    "Between CartPole and the two others first layers and the actor's last differ in shape: there the target's own "
    "weights have random masks as dense as the ticket's layers. All else is carried, the critic's last layer too."
)
DENSITIES = (1.0, 0.25, 0.0625)

if __name__ == "__main__":
    study(
        replace(acrobot, densities=DENSITIES, searches={}, input_names=None),
        {"environments": Family("Other environments", ENVIRONMENTS, otherwise=rt.random_layer, note=NOTE)},
        "transfer_acrobot",
        "Transfer of tickets between Acrobot and CartPole",
        at=DENSITIES[-1:],
    )
