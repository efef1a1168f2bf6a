"""Early-bird tickets: training stops once the mask has stopped changing (You et al. 2020, arXiv 1909.11957)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from rl_tickets.agents.holding import held_mask
from rl_tickets.tickets.criteria import Criterion, demand_criterion, lamp
from rl_tickets.tickets.mask import Mask, Prunable
from rl_tickets.tickets.scopes import Scope, demand_scope
from rl_tickets.training.drawing import Drawing, MakeUnits, demand_make_units
from rl_tickets.training.during import During, Observer


class Sighting(NamedTuple):
    """Distance between the masks drawn at two steps, and what two random masks would give."""

    step: int
    other_step: int
    distance: float
    chance: float


@dataclass(frozen=True)
class EarlyBird(During):
    """When a mask counts as settled.

    A mask is drawn every `every` steps, within the one that is held. Once a window of `window` earlier masks is full
    and the newest is within `threshold` of all of them, training stops.

    Args:
        density: density of the drawn masks, in (0, 1]; None: that of the search's next level.
        every: environment steps between two masks, counted from the rewind point.
        window: length of the first-in-first-out window.
        threshold: largest distance, as a fraction of what two random masks of this density would give within the mask
            that is held, in (0, 1). A distance over all weights alone would mean nothing at low density. The default is
            the smallest of which whole searches were measured; none was shown to be harmless
            (results/cheap_tickets_cartpole).
        over_kept: measure over kept weights (True) or over all weights (False). Relative to chance the two agree.
        after: never stop before this step; a search raises it to its rewind point.
        criterion: scores the weights of the drawn masks; None: the search's, or LAMP where there is no search.
        scope: over which scores compete; None: the search's, or "global".
        units: what is drawn in place of single weights; None: what the search prunes.

    Example:
        >>> EarlyBird(every=1_000, density=0.2).threshold
        0.1
    """

    every: int
    density: float | None = None
    window: int = 5
    threshold: float = 0.1
    over_kept: bool = True
    after: int = 0
    criterion: Criterion | None = None
    scope: Scope | None = None
    units: MakeUnits | None = None
    table, columns = "distances", Sighting._fields

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"`every` must be at least 1 environment step, got {self.every}")
        if self.window < 1:
            raise ValueError(f"`window` must be at least 1 mask, got {self.window}")
        if not 0 < self.threshold < 1:
            raise ValueError(f"`threshold` is a fraction of chance in (0, 1), got {self.threshold}")
        if self.criterion is not None:
            demand_criterion(self.criterion)
        if self.scope is not None:
            demand_scope(self.scope)
        demand_make_units(self.units)

    def completed(
        self,
        *,
        density: float | None,
        after: int = 0,
        criterion: Criterion = lamp,
        scope: Scope = "global",
        units: MakeUnits | None = None,
    ) -> EarlyBird:
        """The same with a search's own choices where none was made, never stopping before its rewind point.

        Raises:
            ValueError: nobody chose a density.
        """
        if (density := self.density or density) is None:
            raise ValueError("early-bird needs the density of its masks: EarlyBird(density=...)")
        return replace(
            self,
            density=density,
            after=max(self.after, after),
            criterion=self.criterion or criterion,
            scope=self.scope or scope,
            units=self.units or units,
        )

    def observer(self, prunable: Prunable | None) -> EarlyBirdCallback:
        """See `During`."""
        return EarlyBirdCallback(self, prunable=prunable)

    def drawing(self) -> Drawing:
        """How its masks are drawn; all of it must be chosen, see `completed`."""
        assert self.density is not None
        assert self.criterion is not None
        assert self.scope is not None
        return Drawing(self.density, self.criterion, self.scope, self.units)

    def distance(self, mask: Mask, other: Mask, within: Mask | None = None) -> tuple[float, float]:
        """Distance of two masks in the chosen form, and what chance would give within a mask."""
        if self.over_kept:
            return mask.kept_distance(other), mask.chance_kept_distance(other, within)
        return mask.distance(other), mask.chance_distance(other, within)


class EarlyBirdCallback(Observer):
    """Early-bird stopping in anyone's own `learn(callback=...)`.

    After training, `mask` is the last mask drawn, `stopped_at` the step at which it had settled (None: never), and
    `sightings` the distances seen.

    Args:
        early_bird: when a mask counts as settled; its density must be set.
        prunable: which parameters may be pruned, as in `Mask.dense`.

    Raises:
        ValueError: no density was given.

    Example:
        bird = rt.EarlyBirdCallback(rt.EarlyBird(density=0.2, every=2_000))
        model.learn(100_000, callback=bird); bird.stopped_at
    """

    def __init__(self, early_bird: EarlyBird, *, prunable: Prunable | None = None) -> None:
        super().__init__()
        self._settings = early_bird = early_bird.completed(density=None)
        self._prunable = prunable
        self._window: deque[tuple[int, Mask]] = deque(maxlen=early_bird.window)
        self._next = early_bird.after
        self._sightings: list[Sighting] = []
        self.mask: Mask | None = None
        self.stopped_at: int | None = None

    @property
    def sightings(self) -> tuple[Sighting, ...]:
        """Distances of each drawn mask to those in its window."""
        return tuple(self._sightings)

    def rows(self) -> tuple[Sighting, ...]:
        """The same, see `Observer`."""
        return self.sightings

    def progress(self) -> dict[str, Any]:
        """See `Observer`."""
        window = [(step, dict(mask)) for step, mask in self._window]
        return {"next": self._next, "window": window, "sightings": [tuple(seen) for seen in self._sightings]}

    def resume(self, progress: dict[str, Any]) -> None:
        """See `Observer`."""
        self._next = progress["next"]
        self._window.extend((step, Mask(kept)) for step, kept in progress["window"])
        self._sightings = [Sighting(*seen) for seen in progress["sightings"]]

    def _on_rollout_start(self) -> None:
        if self.num_timesteps < self._next:
            return
        self._next = self.num_timesteps + self._settings.every
        self.mask = self._settings.drawing().mask(self.model, self._prunable)
        relative = [self._compare(step, mask) for step, mask in self._window]
        if len(self._window) == self._window.maxlen and max(relative) <= self._settings.threshold:
            self.stopped_at = self.num_timesteps
        self._window.append((self.num_timesteps, self.mask))

    def _compare(self, step: int, other: Mask) -> float:
        assert self.mask is not None
        distance, chance = self._settings.distance(self.mask, other, held_mask(self.model))
        self._sightings.append(Sighting(self.num_timesteps, step, distance, chance))
        return distance / chance if chance else 0.0

    def _on_step(self) -> bool:
        # Drawn at the start of a rollout, acted upon one step later: SB3 asks callbacks only here.
        return self.stopped_at is None
