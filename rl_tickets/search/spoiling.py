"""The search that trains a control beside each ticket of another search."""

from collections.abc import Iterable
from dataclasses import replace

from rl_tickets.search.controls import Control
from rl_tickets.search.imp import Search, check_rewind, ticket_request
from rl_tickets.tickets.mask import Prunable
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import MakeModel, Training
from rl_tickets.training.rewinding import Rewind


def spoiled(
    tickets: Iterable[Ticket],
    control: Control,
    make_model: MakeModel,
    *,
    seed: int,
    total_timesteps: int,
    rewind: Rewind | None = None,
    prunable: Prunable | None = None,
) -> Search:
    """Trains the spoiled tickets with the same seed, rewind point and step budget as the whole ones.

    Args:
        tickets: one for each pruned level, levels 1, 2, ... of the search they come from.
        control: spoils a ticket.
        make_model: for controls that draw new weights.
        seed: of the training run, and of the control's draws.
        total_timesteps: environment steps of a level.
        rewind: as in the search the tickets come from.
        prunable: as in the search the tickets come from.
    """
    rewind = check_rewind(rewind or Rewind(at=0), total_timesteps)
    trained = yield Training(level=0, keep_at=(rewind.at,), prunable=prunable)
    point = trained.kept.get(rewind.at, trained.end)
    for level, ticket in enumerate(tickets, start=1):
        spoilt = control(ticket, make_model, seed=seed)
        start = rewind.start(point, trained.end)
        assert start.weights is not None
        modules = {**start.weights["modules"], "policy": dict(spoilt.weights)}
        start = replace(start, weights={**start.weights, "modules": modules}, optimizers=None)
        trained = yield ticket_request(level, spoilt, start, point, rewind, total_timesteps)
