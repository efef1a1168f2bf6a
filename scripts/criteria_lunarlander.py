"""The measurement behind the default criterion and scope, on LunarLander-v3: one search by four ways of pruning."""

from lunarlander import experiment as lunarlander
from measures.criteria import by_criterion

import rl_tickets as rt

experiment = by_criterion(lunarlander, "criteria_lunarlander")

if __name__ == "__main__":
    rt.main(experiment, extra="box2d")
