"""How far apart the masks are that would be drawn at different steps of one training, in each of its networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from rl_tickets.agents.anatomy import copies
from rl_tickets.agents.holding import held_mask
from rl_tickets.agents.networks import network_of
from rl_tickets.tickets.criteria import Criterion, demand_criterion, lamp
from rl_tickets.tickets.densities import as_floats
from rl_tickets.tickets.mask import Mask, Prunable
from rl_tickets.tickets.scopes import Scope, demand_scope
from rl_tickets.training.drawing import Drawing, MakeUnits, demand_make_units
from rl_tickets.training.during import During, Observer


class Apart(NamedTuple):
    """Distances over kept weights between the masks of two steps, as fractions of what two random masks would give.

    NaN where there is nothing to compare: an agent without an actor or critic of its own, or a network that is kept
    whole.
    """

    density: float
    step: int
    other_step: int
    whole: float
    actor: float
    critic: float


@dataclass(frozen=True)
class MaskDistances(During):
    """Draws masks all along a training, and tells how far each is from all before it; it stops and changes nothing.

    Args:
        every: environment steps between two masks; the first is drawn before any training, the last at its end.
        densities: of the drawn masks, each in (0, 1).
        criterion: scores the weights; the lowest go.
        scope: over which scores compete.
        units: what is drawn in place of single weights; densities are then shares of the units.

    Raises:
        ValueError: an impossible `every` or density, or no density.

    Example:
        >>> MaskDistances(every=1_024, densities=(0.4, 0.1)).table
        'mask_distances'
    """

    every: int
    densities: Sequence[float]
    criterion: Criterion = lamp
    scope: Scope = "global"
    units: MakeUnits | None = None
    table, columns = "mask_distances", Apart._fields

    def __post_init__(self) -> None:
        object.__setattr__(self, "densities", as_floats(self.densities))
        if self.every < 1:
            raise ValueError(f"`every` must be at least 1 environment step, got {self.every}")
        if not self.densities or not all(0 < density < 1 for density in self.densities):
            raise ValueError(f"densities of drawn masks lie in (0, 1), and there must be one; got {self.densities}")
        demand_criterion(self.criterion)
        demand_scope(self.scope)
        demand_make_units(self.units)

    def observer(self, prunable: Prunable | None) -> Observer:
        """See `During`."""
        return _Drawing(self, prunable)


class _Drawing(Observer):
    def __init__(self, settings: MaskDistances, prunable: Prunable | None) -> None:
        super().__init__()
        self._settings, self._prunable = settings, prunable
        self._drawn: list[tuple[int, list[Mask]]] = []

    def progress(self) -> dict[str, Any]:
        return {"drawn": [(step, [dict(mask) for mask in masks]) for step, masks in self._drawn]}

    def resume(self, progress: dict[str, Any]) -> None:
        self._drawn = [(step, [Mask(kept) for kept in masks]) for step, masks in progress["drawn"]]

    def rows(self) -> Sequence[Apart]:
        """Of all pairs, the newer first; the masks of the agent as it is now are the last."""
        drawn = list(self._drawn)
        if not drawn or drawn[-1][0] < self.model.num_timesteps:
            drawn.append((self.model.num_timesteps, self._draw()))
        pairs = [(new, old) for place, new in enumerate(drawn) for old in drawn[:place]]
        found = []
        for place, density in enumerate(self._settings.densities):
            found += [
                Apart(density, step, other, *self._apart(ours[place], theirs[place]))
                for (step, ours), (other, theirs) in pairs
            ]
        return found

    def _on_rollout_start(self) -> None:
        if not self._drawn or self.num_timesteps >= self._drawn[-1][0] + self._settings.every:
            self._drawn.append((self.num_timesteps, self._draw()))

    def _draw(self) -> list[Mask]:
        settings = self._settings
        ways = [Drawing(density, settings.criterion, settings.scope, settings.units) for density in settings.densities]
        return [way.mask(self.model, self._prunable) for way in ways]

    def _apart(self, mask: Mask, other: Mask) -> tuple[float, ...]:
        """In the whole agent, its actor and its critic."""
        found = partial(network_of, copies=copies(self.model))
        held = held_mask(self.model) or Mask.full(mask)
        every = (list(mask), *([name for name in mask if found(name) == network] for network in ("actor", "critic")))
        return tuple(
            _relative(*(_part(each, names) for each in (mask, other, held))) if names else float("nan")
            for names in every
        )


def _part(mask: Mask, names: Sequence[str]) -> Mask:
    return Mask({name: mask[name] for name in names})


def _relative(mask: Mask, other: Mask, within: Mask) -> float:
    chance = mask.chance_kept_distance(other, within)
    return mask.kept_distance(other) / chance if chance else float("nan")
