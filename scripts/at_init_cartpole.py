"""The measurement behind pruning at initialisation, on CartPole-v1: IMP, and tickets found before training."""

from cartpole import experiment as cartpole
from measures.at_init import at_init

import rl_tickets as rt

experiment = at_init(cartpole, "at_init_cartpole", seeds=40, levels=7)

if __name__ == "__main__":
    rt.main(experiment)
