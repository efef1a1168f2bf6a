"""The measurement behind pruning at initialisation, on CartPole-v1: IMP, and tickets found before training."""

from cartpole import experiment as cartpole
from measures.at_init import at_init

import rl_tickets as rt

DENSITIES = rt.geometric(keep=0.5, levels=6)

experiment = at_init(cartpole, "at_init_cartpole", seeds=40, densities=DENSITIES, at=DENSITIES[3:])

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
