"""The measurement behind the default criterion and scope, on CartPole-v1: the same search by five ways of pruning."""

from dataclasses import replace

from cartpole import experiment as cartpole
from measures.criteria import WAYS, by_criterion

import rl_tickets as rt

unprotected = {"magnitude_unprotected": rt.IMP(criterion=rt.magnitude, keep_last=False)}
experiment = replace(by_criterion(cartpole, "criteria_cartpole"), searches=WAYS | unprotected)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
