"""The measurement behind the default criterion and scope, on LunarLander-v3 at a fifth of its budget."""

from lunarlander import experiment as lunarlander
from measures.criteria import by_criterion

import rl_tickets as rt

experiment = by_criterion(lunarlander.scaled(200_000, rollout=16_384), "criteria_lunarlander")

if __name__ == "__main__":
    rt.main(experiment, description=__doc__, extra="box2d")
