"""The measurement behind pruning at initialisation, on LunarLander-v3 at a fifth of its budget, beside IMP."""

from lunarlander import experiment as lunarlander
from measures.at_init import at_init

import rl_tickets as rt

experiment = at_init(lunarlander.scaled(200_000, rollout=16_384), "at_init_lunarlander", seeds=10, levels=6)

if __name__ == "__main__":
    rt.main(experiment, extra="box2d")
