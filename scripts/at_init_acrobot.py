"""The measurement behind pruning at initialisation, on Acrobot-v1: IMP, and tickets found before training."""

from acrobot import experiment as acrobot
from measures.at_init import at_init

import rl_tickets as rt

experiment = at_init(acrobot.scaled(60_000), "at_init_acrobot", seeds=40, levels=7)

if __name__ == "__main__":
    rt.main(experiment)
