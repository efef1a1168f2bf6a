"""The measurement behind pruning at initialisation, on LunarLander-v3 at its whole budget, beside IMP."""

from lunarlander import experiment as lunarlander
from measures.at_init import at_init

import rl_tickets as rt

DENSITIES = rt.geometric(keep=0.5, levels=4)

experiment = at_init(lunarlander, "at_init_lunarlander", seeds=10, densities=DENSITIES, at=(0.5, 0.125))

if __name__ == "__main__":
    rt.main(experiment, description=__doc__, extra="box2d")
