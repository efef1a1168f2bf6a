"""Pruning at initialisation, measured on any experiment: how far below IMP is each way, and for how many steps?

Beside the searches stand the sanity checks of Frankle et al. 2021 (arXiv 2009.08576): other weights under the same
mask, and the mask's bits in other places of the same layers.
"""

from dataclasses import replace

import rl_tickets as rt

WAYS = {
    "imp": rt.IMP(),
    "synflow": rt.AtInit(rt.synflow),
    "snip": rt.AtInit(rt.snip),
    "grasp": rt.AtInit(rt.grasp),
    # IMP's own criterion and scope, before anything is trained.
    "lamp": rt.AtInit(rt.lamp, scope="global"),
    "magnitude": rt.AtInit(rt.magnitude, scope="layer"),
    "erk": rt.AtInit(rt.random_scores, scope=rt.erk),
    "uniform": rt.AtInit(rt.random_scores, scope="layer"),
    "imp_reinit": rt.Control(rt.random_reinit, of="imp"),
    "imp_permuted": rt.Control(rt.permuted_mask, of="imp"),
    "synflow_reinit": rt.Control(rt.random_reinit, of="synflow"),
    "synflow_permuted": rt.Control(rt.permuted_mask, of="synflow"),
}


def at_init(experiment: rt.Experiment, name: str, *, seeds: int, levels: int) -> rt.Experiment:
    """The same agent, environment and budget; every level keeps half of the one before."""
    densities = rt.geometric(keep=0.5, levels=levels)
    return replace(experiment, name=name, densities=densities, seeds=seeds, dense_seeds=None, searches=WAYS)
