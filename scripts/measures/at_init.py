"""Pruning at initialisation, measured on any experiment: how far below IMP is each way, and for how many steps?

Beside SynFlow stand the sanity checks of Frankle et al. 2021 (arXiv 2009.08576): other weights under the same mask, and
other masks with the same layer counts, which keep what connects. IMP's own are in the experiment that this is made of.
IMP and LAMP choose among the weights of both networks; the others fix what actor and critic keep: one density each,
GraSP and ERK by the shapes of their layers.
"""

from dataclasses import replace

import rl_tickets as rt


def at_init(
    experiment: rt.Experiment, name: str, *, seeds: int, densities: tuple[float, ...], at: tuple[float, ...]
) -> rt.Experiment:
    """The same agent, environment and budget.

    Args:
        experiment: whose agent it is.
        name: of the results.
        seeds: of every search.
        densities: that IMP goes through.
        at: those of them at which all other ways train a ticket.
    """
    return replace(experiment, name=name, densities=densities, seeds=seeds, dense_seeds=None, searches=ways((1.0, *at)))


def ways(densities: tuple[float, ...]) -> dict[str, rt.Plan]:
    """IMP, every criterion at initialisation, and what each has to beat."""
    return {
        "imp": rt.IMP(),
        "synflow": rt.AtInit(rt.synflow, densities=densities),
        "snip": rt.AtInit(rt.snip, densities=densities),
        # Of all scores together GraSP takes SB3's action head away, whose weights begin a hundred times as small.
        "grasp": rt.AtInit(rt.grasp, scope=rt.erk, densities=densities),
        # IMP's own criterion and scope, before anything is trained.
        "lamp": rt.AtInit(rt.lamp, scope="global", densities=densities),
        "magnitude": rt.AtInit(rt.magnitude, scope="layer", densities=densities),
        "erk": rt.AtInit(rt.random_scores, scope=rt.erk, densities=densities),
        "uniform": rt.AtInit(rt.random_scores, scope="layer", densities=densities),
        "synflow_reinit": rt.Control(rt.random_reinit, of="synflow"),
        "synflow_permuted": rt.Control(rt.connected_permuted_mask, of="synflow"),
    }
