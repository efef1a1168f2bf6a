"""The measurement behind the default criterion and scope, on CartPole-v1: the same search by five ways of pruning."""

from dataclasses import replace

from cartpole import experiment as cartpole

import rl_tickets as rt
from rl_tickets.lab.script import main

experiment = replace(
    cartpole.scaled(30_000),
    name="criteria_cartpole",
    densities=rt.geometric(keep=0.3, levels=4),
    seeds=5,
    searches={
        "lamp": rt.IMP(criterion=rt.lamp),
        "magnitude": rt.IMP(criterion=rt.magnitude),
        "magnitude_unprotected": rt.IMP(criterion=rt.magnitude, keep_last=False),
        "magnitude_layer": rt.IMP(criterion=rt.magnitude, scope="layer"),
        "magnitude_erk": rt.IMP(criterion=rt.magnitude, scope=rt.erk),
    },
)

if __name__ == "__main__":
    main(experiment)
