"""Iterative magnitude pruning with rewinding (Frankle & Carbin 2019, arXiv 1803.03635; Frankle et al. 2020)."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import network_of, rollout_steps
from rl_tickets.agents.schedules import demand_learning_rate
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.criteria import Criterion, lamp
from rl_tickets.tickets.densities import check_densities
from rl_tickets.tickets.mask import Mask, Prunable, kept_count
from rl_tickets.tickets.scopes import Scope
from rl_tickets.tickets.selecting import prune
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.early_bird import EarlyBird
from rl_tickets.training.requests import Trained, Training
from rl_tickets.training.rewinding import FineTuning, Rewind

Search = Generator[Training, Trained, None]
"""Yields "train this ticket until that step", receives the trained level, decides what comes next."""


def imp(
    densities: Sequence[float],
    *,
    total_timesteps: int,
    criterion: Criterion = lamp,
    scope: Scope = "global",
    prunable: Prunable | None = None,
    rewind: Rewind | None = None,
    early_bird: EarlyBird | None = None,
    keep_last: bool = True,
) -> Search:
    """Trains, prunes the lowest scores, rewinds the survivors, trains again; densities (1.0, 0.1) are one-shot.

    Args:
        densities: 1.0 for the dense level 0, then strictly decreasing, in (0, 1].
        total_timesteps: environment steps of a level.
        criterion: scores the trained weights; the lowest go.
        scope: over which weights scores compete.
        prunable: which parameters may be pruned.
        rewind: what goes back to which step; None: everything to initialisation.
        early_bird: ends the dense level once its mask is settled, never before the rewind point.
        keep_last: keep the best weight of a layer that would lose its last one.
    """
    densities = check_densities(densities)
    rewind = check_rewind(rewind or Rewind(at=0), total_timesteps)
    trained = yield dense_request(densities, rewind, early_bird, criterion, scope, prunable)
    point = trained.kept.get(rewind.at, trained.end)
    for level, density in enumerate(densities[1:], start=1):
        weights = {name: torch.nan_to_num(trained.end.policy[name]) for name in trained.mask}
        pruned = prune(
            weights,
            density,
            criterion=criterion,
            scope=scope,
            within=trained.mask,
            start=point.policy,
            network_of=partial(network_of, copies=trained.copies),
            keep_last=keep_last,
            level=level,
        )
        start = rewind.start(point, trained.end)
        origin = {
            "level": level,
            "total_timesteps": total_timesteps,
            "criterion": name_of(criterion),
            "scope": name_of(scope),
        }
        ticket = make_ticket(pruned.mask, start, trained, rewind, {**origin, "collapsed": list(pruned.collapsed)})
        trained = yield ticket_request(level, ticket, start, point, rewind, total_timesteps)


def dense_request(
    densities: Sequence[float],
    rewind: Rewind,
    early_bird: EarlyBird | None,
    criterion: Criterion,
    scope: Scope,
    prunable: Prunable | None,
) -> Training:
    """Level 0: the dense agent from its initialisation."""
    if early_bird is not None:
        density = early_bird.density or (densities[1] if len(densities) > 1 else None)
        if density is None:
            raise ValueError("early-bird needs the density of its masks: EarlyBird(density=...)")
        after = max(early_bird.after, rewind.at)
        early_bird = replace(early_bird, density=density, after=after, criterion=criterion, scope=scope)
    return Training(level=0, keep_at=(rewind.at,), early_bird=early_bird, prunable=prunable)


def ticket_request(
    level: int,
    ticket: Ticket,
    start: TrainingState,
    point: TrainingState,
    rewind: Rewind,
    total_timesteps: int,
) -> Training:
    """Trains a ticket from its start for as long as the rewind point leaves."""
    until, schedule_end = rewind.budget(total_timesteps, point, start)
    return Training(level=level, ticket=ticket, start=start, until=until, schedule_end=schedule_end)


def make_ticket(mask: Mask, start: TrainingState, trained: Trained, rewind: Rewind, origin: dict[str, Any]) -> Ticket:
    """The ticket of a mask and the state its training starts from."""
    return Ticket(
        mask=mask,
        weights=start.policy,
        state={
            "tensors": start.weights["tensors"] if start.weights else {},
            "optimizers": start.optimizers,
            "normalizer": start.normalizer,
            "copies": trained.copies,
        },
        provenance={
            **trained.provenance,
            "rewind": {"at": rewind.at, "step": start.timesteps, "parts": list(rewind.parts)},
            "mask_digest": mask.digest,
            **origin,
        },
    )


def check_rewind(rewind: Rewind, total_timesteps: int) -> Rewind:
    """The rewind point, if the budget reaches it."""
    if rewind.at >= total_timesteps:
        raise ValueError(
            f"rewind point {rewind.at} is beyond the budget of {total_timesteps} environment steps; "
            "choose an earlier one"
        )
    return rewind


def check_agent(
    model: BaseAlgorithm,
    densities: Sequence[float],
    *,
    total_timesteps: int,
    prunable: Prunable | None = None,
    rewind: Rewind | None = None,
    keep_last: bool = True,
) -> None:
    """Raises ValueError at once for what would fail only after a level or more of this agent."""
    rollout = rollout_steps(model)
    if rewind is not None and -(-rewind.at // rollout) * rollout >= total_timesteps:
        raise ValueError(
            f"rewind point {rewind.at} is beyond the last rollout, of {rollout} environment steps, that starts within "
            f"the budget of {total_timesteps}; choose an earlier one"
        )
    total, layers = (mask := Mask.dense(model, prunable)).total, len(mask)
    for density in check_densities(densities):
        if keep_last and kept_count(density, total) < layers:
            raise ValueError(
                f"density {density:g} keeps {kept_count(density, total)} weights, fewer than the {layers} layers; "
                f"the lowest that leaves each layer one is {layers / total:.3g}"
            )
    if isinstance(rewind, FineTuning):
        demand_learning_rate(model)


def name_of(choice: object) -> str:
    """What a criterion or scope is called in provenance; never an address in memory, which differs between runs."""
    if isinstance(choice, str):
        return choice
    if isinstance(choice, partial):
        given = [repr(value) for value in choice.args] + [f"{key}={value!r}" for key, value in choice.keywords.items()]
        return f"{name_of(choice.func)}({', '.join(given)})"
    return getattr(choice, "__qualname__", type(choice).__qualname__)
