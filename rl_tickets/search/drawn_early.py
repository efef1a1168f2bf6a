"""Tickets drawn early: what becomes of masks that are drawn before dense training has ended (You et al. 2020, arXiv
1909.11957)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import rollout_steps, whole_rollouts
from rl_tickets.agents.generators import derived_seed
from rl_tickets.agents.saliency import AgentCriterion
from rl_tickets.search.imp import IMP
from rl_tickets.search.plan import Search, Setup
from rl_tickets.training.mask_distances import MaskDistances
from rl_tickets.training.requests import Name, Trained, Training
from rl_tickets.training.rewinding import whole_step

AGAIN = "again"
"""Variant of the final ticket that trains with other draws: what differs from the final one is noise."""


@dataclass(frozen=True)
class DrawnEarly(IMP):
    """Draws tickets at several steps of one dense training, and trains each of them as it does the final one.

    The dense run is its own: along it, masks are drawn every `every` steps and their distances told
    (`mask_distances.csv`). Each density is pruned to from dense, at once. The final ticket is trained a second time
    with other draws, which tells what difference noise makes. `spent` is the step at which a ticket was drawn.

    Args:
        at: steps at which tickets are drawn, ascending, from the rewind point on.
        every: environment steps between two masks whose distances are told.

    Raises:
        ValueError: steps that are none, not ascending or before the rewind point; an early-bird; a criterion that
            looks at more than weights.

    Example:
        >>> DrawnEarly(at=(1_024, 2_048)).variants
        ('step1024', 'step2048')
    """

    at: tuple[int, ...] = ()
    every: int = 1_024

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "at", tuple(map(whole_step, self.at)))
        if not self.at or list(self.at) != sorted({*self.at}) or self.at[0] < self.rewind.at:
            raise ValueError(
                f"steps to draw tickets at must be ascending, from the rewind point {self.rewind.at} on, got {self.at}"
            )
        if self.early_bird is not None:
            raise ValueError("tickets are drawn at given steps of a whole dense run, which no early-bird may end")
        if isinstance(self.criterion, AgentCriterion):
            raise ValueError(
                "masks are drawn in the middle of a training by weights alone; give a criterion of weights, such as "
                "rt.magnitude"
            )

    def search(self, setup: Setup) -> Search:
        """See `Plan`."""
        setup, dense = yield from self._begun(setup)
        yield [each for level in range(1, len(self._densities(setup))) for each in self._tickets(level, dense, setup)]

    def _dense(self, setup: Setup) -> Training:
        sparse = self._densities(setup)[1:]
        assert not isinstance(self.criterion, AgentCriterion)
        distances = MaskDistances(self.every, sparse, self.criterion, self.scope, self.units)
        keep_at = tuple(sorted({self.rewind.at, *self.at}))
        return Training(level=0, keep_at=keep_at, during=(distances,), prunable=setup.prunable)

    def _tickets(self, level: int, dense: Trained, setup: Setup) -> Iterator[Training]:
        """Of one density: those drawn early, the final one, and that with other draws."""
        point = dense.at(self.rewind.at)
        for variant, step in zip(self.variants, self.at, strict=True):
            drawn = dense.at(step)
            early = replace(dense, end=drawn.only("weights", "normalizer", "schedule"))
            yield replace(self._sparse(level, point, early, drawn.timesteps, setup), variant=variant)
        final = self._sparse(level, point, dense, dense.timesteps, setup)
        yield final
        yield replace(final, variant=AGAIN, draws=derived_seed(setup.seed, 1))

    @property
    def variants(self) -> tuple[str, ...]:
        """Of the tickets that are drawn early, one for each step."""
        return tuple(f"step{step}" for step in self.at)

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """The dense run, and at each density a ticket for each step, the final one, and that again."""
        levels = range(1, len(self._densities(setup)))
        return (Name(0), *(Name(n, variant) for n in levels for variant in (*self.variants, "", AGAIN)))

    def check(self, setup: Setup) -> None:
        """See `Plan`."""
        if self.at[-1] >= setup.total_timesteps:
            raise ValueError(f"step {self.at[-1]} is beyond the budget of {setup.total_timesteps} environment steps")
        super().check(setup)

    def check_agent(self, model: BaseAlgorithm, setup: Setup) -> None:
        """See `Plan`."""
        super().check_agent(model, setup)
        self.rewind.check_shortened(model)
        rollout = rollout_steps(model)
        if whole_rollouts(self.at[-1], rollout) >= setup.total_timesteps:
            raise ValueError(
                f"step {self.at[-1]} is beyond the last rollout, of {rollout} environment steps, that starts within "
                f"the budget of {setup.total_timesteps}; draw the last ticket earlier"
            )

    def scaled(self, ratio: float, rollout: int) -> Self:
        """See `Plan`; steps fall on whole rollouts, and those that fall together are one."""
        at = tuple(sorted({whole_rollouts(step * ratio, rollout) for step in self.at}))
        return replace(super().scaled(ratio, rollout), at=at, every=max(1, int(self.every * ratio)))
