"""The measurement behind the default criterion and scope: one search of an experiment, by several ways of pruning."""

from dataclasses import replace

import rl_tickets as rt

WAYS = {
    "lamp": rt.IMP(criterion=rt.lamp),
    "magnitude": rt.IMP(criterion=rt.magnitude),
    "magnitude_layer": rt.IMP(criterion=rt.magnitude, scope="layer"),
    "magnitude_erk": rt.IMP(criterion=rt.magnitude, scope=rt.erk),
}


def by_criterion(experiment: rt.Experiment, name: str) -> rt.Experiment:
    """The same agent and environment with 20 seeds, pruned to 0.3, 0.09 and 0.027 in each of the ways."""
    return replace(
        experiment, name=name, densities=rt.geometric(keep=0.3, levels=4), seeds=20, dense_seeds=None, searches=WAYS
    )
