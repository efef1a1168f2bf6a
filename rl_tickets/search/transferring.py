"""Transferring: a ticket for an agent of another environment, algorithm or optimizer (Morcos et al. 2019, arXiv
1906.02773)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.correspondence import correspondence, modules_of
from rl_tickets.agents.generators import draws_kept
from rl_tickets.agents.making import MakeModel, fresh_agent
from rl_tickets.search.carrying import Carrying
from rl_tickets.search.misfits import MakeMask, refuse_layer
from rl_tickets.search.transferred import Transferred
from rl_tickets.tickets.mask import Prunable
from rl_tickets.tickets.ticket import Ticket


def transfer(
    ticket: Ticket,
    make_model: MakeModel,
    *,
    source: MakeModel | None = None,
    names: Mapping[str, str] | None = None,
    otherwise: MakeMask = refuse_layer,
    prunable: Prunable | None = None,
    seed: int = 0,
) -> Transferred:
    """Makes a ticket for an agent of another environment, algorithm or optimizer out of one that was found elsewhere.

    A layer carries over as a whole (weights, biases, mask) where it has the same shape; all others keep the fresh
    agent's weights, and `otherwise` gives their masks. Target networks follow. Moments stay behind, as they belong to
    the optimizer they were made by; VecNormalize's statistics, norms and `log_std` are carried where they fit.

    Args:
        ticket: it stays as it is.
        make_model: makes a fresh agent of the target.
        source: makes an agent of the kind that the ticket was found in; what corresponds to what is then derived from
            the wiring of both. None: modules of the same name correspond.
        names: by hand instead: target's module path -> the ticket's, for single modules or for whole networks of them.
        otherwise: `rt.refuse_layer`, `rt.dense_layer`, `rt.random_layer`, or `(misfit, generator) -> bool tensor`.
        prunable: which of the target's weights a mask covers, as in `Mask.dense`.
        seed: of the target's fresh agent and of random masks.

    Raises:
        TypeError: what is given as a ticket is none.
        ValueError: a layer that does not fit and no choice what becomes of it, names that are nobody's, or nothing
            that could be carried.
        WiringError: `source` was given, and the wiring of one of the agents is not understood.

    Example:
        found = rt.transfer(ticket, make_model)
        found.plant(make_model(seed=1)).learn(2_000)
    """
    if not isinstance(ticket, Ticket):
        raise TypeError(f"a ticket is transferred, not a {type(ticket).__name__}; load one by rt.Ticket.load(path)")
    with draws_kept():
        model = fresh_agent(make_model, seed)
        with closing(model.get_env()):  # type: ignore[type-var]
            pairs = _pairs(ticket, model, source, names, seed)
            return Carrying(ticket, model, pairs, otherwise, prunable, seed).done()


def _pairs(
    ticket: Ticket, model: BaseAlgorithm, source: MakeModel | None, names: Mapping[str, str] | None, seed: int
) -> dict[str, str]:
    """Target module -> the ticket's."""
    theirs, ours = modules_of(ticket.weights), modules_of(model.policy.state_dict())
    if names is not None:
        return _spelled_out(names, theirs, ours)
    if source is None:
        return {path: path for path in ours if path and path in theirs}
    other = fresh_agent(source, seed)
    with closing(other.get_env()):  # type: ignore[type-var]
        if missing := [name for name in ticket.mask if name not in other.policy.state_dict()]:
            raise ValueError(
                f"the ticket has {missing[0]!r}, which `source` lacks: it makes another agent than its own"
            )
        return correspondence(other, model)


def _spelled_out(names: Mapping[str, str], theirs: tuple[str, ...], ours: tuple[str, ...]) -> dict[str, str]:
    """Module by module, where names are of whole networks."""
    pairs: dict[str, str] = {}
    for to, origin in names.items():
        inside = [path for path in theirs if path == origin or path.startswith(f"{origin}.")]
        found = {to + path[len(origin) :]: path for path in inside}
        if not inside:
            raise ValueError(f"names: the ticket has no module {origin!r}; it has {', '.join(theirs)}")
        if missing := [path for path in found if path not in ours]:
            raise ValueError(f"names: the target has no module {missing[0]!r}; it has {', '.join(ours)}")
        pairs |= found
    return pairs
