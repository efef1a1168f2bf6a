"""IMP with early-bird at every level: what looks for the next mask trains until that mask has settled (You et al. 2020,
arXiv 1909.11957)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rl_tickets.search.imp import IMP
from rl_tickets.search.plan import Search, Setup
from rl_tickets.tickets.densities import among, as_floats
from rl_tickets.training.requests import Name, Training

LOOKING = "search"
"""Variant of the runs that end once the next mask has settled."""


@dataclass(frozen=True)
class EarlyBirdIMP(IMP):
    """IMP whose every level trains no longer than the mask of the next one takes to settle.

    Two kinds of runs: the dense one and, at each level, one of its ticket (variant "search") look for the next mask,
    and end once it has settled; a ticket is trained to the end, as IMP would train it, at the densities `at` alone.
    `spent` counts the first kind. So a search saves steps of all levels before its ticket's own training; where every
    density is to be evaluated, every ticket trains to the end anyway, and the dense run alone can be shorter: that is
    `IMP(early_bird=...)`.

    Args:
        early_bird: when a mask counts as settled; its density is the next level's where it has none of its own.
        at: densities at which tickets are trained to the end, of those that the search aims at; None: at all.

    Raises:
        TypeError: there is no early-bird.

    Example:
        >>> from rl_tickets import EarlyBird
        >>> plan = EarlyBirdIMP(early_bird=EarlyBird(every=2_048), at=(0.1,))
        >>> plan.needs
        ()
    """

    at: Sequence[float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.early_bird is None:
            raise TypeError("early-bird at every level needs to know when: EarlyBirdIMP(early_bird=rt.EarlyBird(...))")
        if self.at is not None:
            object.__setattr__(self, "at", as_floats(self.at))

    @property
    def aside(self) -> tuple[str, ...]:
        """What looks for the next mask."""
        return (LOOKING,)

    def search(self, setup: Setup) -> Search:
        """See `Plan`."""
        setup, trained = yield from self._begun(setup)
        point, spent = trained.at(self.rewind.at), trained.timesteps
        evaluated = self._evaluated(setup)
        for level in range(1, evaluated[-1] + 1):
            request = self._sparse(level, point, trained, spent, setup)
            looking = [self._looking(request, setup)] if level < evaluated[-1] else []
            trained, *_ = yield [*looking, *([request] if level in evaluated else [])]
            spent += trained.timesteps

    def _looking(self, request: Training, setup: Setup) -> Training:
        """The same training until the mask of the next level has settled."""
        assert self.early_bird is not None
        bird = self._bird(self.early_bird, request.level + 1, setup)
        begin = request.begins_at()
        return replace(request, variant=LOOKING, during=(replace(bird, after=max(bird.after, begin)),))

    def _evaluated(self, setup: Setup) -> list[int]:
        """Levels whose tickets are trained to the end, ascending."""
        aims = list(enumerate(self._densities(setup)))[1:]
        return [n for n, aim in aims if self.at is None or among(aim, self.at)]

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """The dense level; of each until the last that is evaluated, its ticket's, and what looks for the next mask."""
        evaluated = self._evaluated(setup)
        looking = [Name(level, LOOKING) for level in range(1, evaluated[-1])]
        return (Name(0), *sorted([*looking, *map(Name, evaluated)]))

    def everywhere(self) -> EarlyBirdIMP:
        """See `Plan`."""
        return replace(self, at=None)

    def check(self, setup: Setup) -> None:
        """See `Plan`."""
        super().check(setup)
        aims = self._densities(setup)[1:]
        for density in self.at or ():
            if not among(density, aims):
                choices = ", ".join(f"{aim:g}" for aim in aims)
                raise ValueError(f"no ticket at density {density:g} to train to the end: the search has {choices}")
        if not self._evaluated(setup):
            raise ValueError("no ticket would be trained to the end: give `at` a density of the search")
