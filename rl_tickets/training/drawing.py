"""Drawing a mask in the middle of a training, as pruning would at its end."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import copies, prunable_weights
from rl_tickets.agents.holding import held_mask
from rl_tickets.agents.networks import network_of
from rl_tickets.tickets.criteria import Criterion
from rl_tickets.tickets.mask import Mask, Prunable
from rl_tickets.tickets.scopes import Scope
from rl_tickets.tickets.selecting import LayerCollapseWarning, prune
from rl_tickets.tickets.units import Units

MakeUnits = Callable[[BaseAlgorithm, Prunable | None], Units]
"""`(model, prunable) -> Units`."""


def demand_make_units(units: object) -> None:
    """Raises TypeError for what makes no units."""
    if not (units is None or callable(units)):
        raise TypeError(f"units must be a function such as rt.neurons, not {units!r}: give the function itself")


@dataclass(frozen=True)
class Drawing:
    """How masks are drawn: what a search would prune to, within the mask that is held.

    Args:
        density: of the drawn masks, in (0, 1]; with `units`, the share of units.
        criterion: scores the weights; the lowest go.
        scope: over which scores compete.
        units: what is pruned in place of single weights, as in `IMP`.
    """

    density: float
    criterion: Criterion
    scope: Scope
    units: MakeUnits | None = None

    def mask(self, model: BaseAlgorithm, prunable: Prunable | None) -> Mask:
        """The mask of the agent as it is now.

        Raises:
            ValueError: the held mask, or the agent, has fewer weights than the density asks for.
        """
        weights = prunable_weights(model, prunable)
        with warnings.catch_warnings():
            # What counts is the collapse at the search's own pruning, which warns.
            warnings.simplefilter("ignore", LayerCollapseWarning)
            return prune(
                # As a search does: what is no number counts as 0.
                {name: torch.nan_to_num(weight.detach()) for name, weight in weights.items()},
                self.density,
                criterion=self.criterion,
                scope=self.scope,
                within=held_mask(model),
                units=None if self.units is None else self.units(model, prunable),
                network_of=partial(network_of, copies=copies(model)),
            ).mask
