"""The measurement behind the default criterion and scope, on Acrobot-v1: one search by four ways of pruning."""

from acrobot import experiment as acrobot
from measures.criteria import by_criterion

import rl_tickets as rt

experiment = by_criterion(acrobot, "criteria_acrobot")

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
