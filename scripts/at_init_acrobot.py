"""The measurement behind pruning at initialisation, on Acrobot-v1: IMP, and tickets found before training."""

from acrobot import experiment as acrobot
from measures.at_init import at_init

import rl_tickets as rt

DENSITIES = rt.geometric(keep=0.5, levels=6)

experiment = at_init(acrobot, "at_init_acrobot", seeds=40, densities=DENSITIES, at=DENSITIES[2:])

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
