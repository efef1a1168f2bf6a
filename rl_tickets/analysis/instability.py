"""Instability as a plan: from the state at step k, two copies train on with different draws (Frankle et al. 2020, arXiv
1912.05671)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rl_tickets.agents.anatomy import whole_rollouts
from rl_tickets.agents.generators import derived_seed
from rl_tickets.agents.state import TrainingState
from rl_tickets.search.plan import DENSE, Outcome, Plan, Search, Setup
from rl_tickets.training.requests import Name, Training
from rl_tickets.training.rewinding import whole_step

TRUNK = "trunk"


@dataclass(frozen=True)
class Instability(Plan):
    """Trains two copies of every ticket of a plan, or of the dense agent, from each of several steps of its training.

    Both go on from the same whole state (weights, moments, statistics, buffer, schedule) to the same end; only where
    environments, actions and minibatches draw from differs. All steps and levels are asked for at once.

    Args:
        of: name of the plan whose tickets are copied, or "dense".
        at: steps k, ascending; 0 is initialisation. What trains from a rewind point has no states before it.
        draws: of the two copies.

    Raises:
        ValueError: steps that are none, not ascending or negative, or copies with the same draws.

    Example:
        >>> Instability(at=(0, 5_120)).names(level=0)[:2]
        (Name(level=0, variant='k0-a'), Name(level=0, variant='k0-b'))
    """

    of: str = DENSE
    at: tuple[int, ...] = (0,)
    draws: tuple[int, int] = (1, 2)
    keeps_tickets = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "at", tuple(map(whole_step, self.at)))
        if not self.at or list(self.at) != sorted({*self.at}) or self.at[0] < 0:
            raise ValueError(f"steps to copy at must be ascending, from 0 on, got {self.at}")
        if len(self.draws) != 2 or self.draws[0] == self.draws[1]:
            raise ValueError(f"two copies need two different draws, or they are the same run twice; got {self.draws}")

    def search(self, setup: Setup) -> Search:
        """See `Plan`."""
        outcomes = self._outcomes(setup)
        trunks = [trunk for request, _ in outcomes if (trunk := self._trunk(request, setup)) is not None]
        trained = dict(zip([t.level for t in trunks], (yield trunks), strict=True)) if trunks else {}
        copies: list[Training] = []
        for request, done in outcomes:
            states = trained.get(request.level, done)
            for step in self.at:
                start = request.start if step <= request.begins_at() and self.of != DENSE else states.at(step)
                copies += self._copies(request, step, start, setup)
        yield copies

    def _outcomes(self, setup: Setup) -> list[Outcome]:
        every = setup.outcomes_of(self.of)
        return [(request, done) for request, done in every if self.of == DENSE or request.ticket is not None]

    def _trunk(self, request: Training, setup: Setup) -> Training | None:
        """What trains until the last step that a state is wanted of; the dense run has kept all of its own."""
        ahead = tuple(step for step in self.at if step > request.begins_at())
        if self.of == DENSE or not ahead:
            return None
        until = setup.total_timesteps if request.until is None else request.until
        end = until if request.schedule_end is None else request.schedule_end
        # A rollout must begin there for a state to be kept.
        return replace(request, variant=TRUNK, keep_at=ahead, until=min(ahead[-1] + 1, until), schedule_end=end)

    def _copies(self, request: Training, step: int, start: TrainingState | None, setup: Setup) -> Iterator[Training]:
        for copy, draw in zip("ab", self.draws, strict=True):
            seed = derived_seed(setup.seed, draw)
            yield replace(request, variant=f"k{step}-{copy}", start=start, keep_at=(), draws=seed)

    def names(self, level: int) -> tuple[Name, ...]:
        """Of the copies of one level, both of a step beside each other."""
        return tuple(Name(level, f"k{step}-{copy}") for step in self.at for copy in "ab")

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """A trunk for every ticket, where states are wanted beyond its start, and two copies for every step."""
        if self.of == DENSE:
            return self.names(0)
        levels = [name.level for name in setup.plans[self.of].trainings(setup) if name.level > 0]
        start = max(setup.plans[self.of].rewind_points, default=0)
        trunk = any(step > start for step in self.at)
        return tuple(each for at in levels for each in ((Name(at, TRUNK),) if trunk else ()) + self.names(at))

    @property
    def aside(self) -> tuple[str, ...]:
        """All: copies are joined by lines, and judged by what is on these."""
        return (TRUNK, *(name.variant for name in self.names(0)))

    @property
    def needs(self) -> tuple[str, ...]:
        """The plan whose tickets are copied."""
        return (self.of,)

    @property
    def rewind_points(self) -> tuple[int, ...]:
        """The steps, of the dense run."""
        return self.at if self.of == DENSE else ()

    def check(self, setup: Setup) -> None:
        """See `Plan`."""
        if self.at[-1] >= setup.total_timesteps:
            raise ValueError(f"step {self.at[-1]} is beyond the budget of {setup.total_timesteps} environment steps")
        if self.of != DENSE and (plan := setup.plans.get(self.of)) is not None:
            names = [name for name in plan.trainings(setup) if name.level > 0]
            if any(name.variant for name in names):
                raise ValueError(f"{self.of!r} trains several tickets at one level; choose a plan that trains one")
            if self.at[0] < max(plan.rewind_points, default=0):
                raise ValueError(
                    f"tickets of {self.of!r} train from step {max(plan.rewind_points)} on, so there is no state of "
                    f"theirs at step {self.at[0]}"
                )

    def scaled(self, ratio: float, rollout: int) -> Instability:
        """See `Plan`; steps fall on whole rollouts, and those that fall together are one."""
        return replace(self, at=tuple(sorted({whole_rollouts(step * ratio, rollout) for step in self.at})))
