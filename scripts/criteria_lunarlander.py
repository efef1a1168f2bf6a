"""The measurement behind the default criterion and scope, on LunarLander-v3: one search by four ways of pruning."""

from lunarlander import experiment as lunarlander
from measures.criteria import by_criterion

from rl_tickets.lab.command_line import main

experiment = by_criterion(lunarlander, "criteria_lunarlander")

if __name__ == "__main__":
    main(experiment, extra="box2d")
