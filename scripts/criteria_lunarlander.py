"""The measurement behind the default criterion and scope, on LunarLander-v3: one search by four ways of pruning."""

from dataclasses import replace

from lunarlander import experiment as lunarlander

import rl_tickets as rt
from rl_tickets.lab.script import main

experiment = replace(
    lunarlander,
    name="criteria_lunarlander",
    densities=rt.geometric(keep=0.3, levels=4),
    seeds=5,
    searches={
        "lamp": rt.IMP(criterion=rt.lamp),
        "magnitude": rt.IMP(criterion=rt.magnitude),
        "magnitude_layer": rt.IMP(criterion=rt.magnitude, scope="layer"),
        "magnitude_erk": rt.IMP(criterion=rt.magnitude, scope=rt.erk),
    },
)

if __name__ == "__main__":
    main(experiment, extra="box2d")
