"""Iterative magnitude pruning with rewinding (Frankle & Carbin 2019, arXiv 1803.03635; Frankle et al. 2020)."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple, Self

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import rollout_steps, whole_rollouts
from rl_tickets.agents.making import built
from rl_tickets.agents.networks import Network, demand_network, network_of, prunable_in
from rl_tickets.agents.saliency import AgentCriterion, criterion_of
from rl_tickets.agents.schedules import demand_learning_rate
from rl_tickets.agents.state import TrainingState
from rl_tickets.search.checking import demand_early_scores, demand_learning, demand_one_a_layer, demand_scores
from rl_tickets.search.plan import Plan, Search, Setup
from rl_tickets.tickets.criteria import Criterion, lamp
from rl_tickets.tickets.densities import as_floats, check_densities
from rl_tickets.tickets.identity import name_of
from rl_tickets.tickets.scopes import Scope, demand_scope
from rl_tickets.tickets.selecting import Pruned, prune
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.tickets.units import Units
from rl_tickets.training.drawing import MakeUnits, demand_make_units
from rl_tickets.training.early_bird import EarlyBird
from rl_tickets.training.requests import DivergenceWarning, Name, Trained, Training
from rl_tickets.training.rewinding import FineTuning, Rewind
from rl_tickets.training.ticketing import make_ticket


class Look(NamedTuple):
    """What there is to prune in a trained agent, by what, and the environment steps it took to see that."""

    units: Units | None
    criterion: Criterion
    timesteps: int


@dataclass(frozen=True)
class IMP(Plan):
    """Trains, prunes the lowest scores, rewinds the survivors, trains again; densities (1.0, 0.1) are one-shot.

    Args:
        rewind: what goes back to which step.
        criterion: scores the trained weights, or with `units` perhaps whole units; the lowest go. One of weights alone
            (`rt.lamp`, `rt.magnitude`), of units by their weights (`rt.outgoing_magnitude`, any `UnitCriterion`), or an
            `AgentCriterion`, which looks at the agent as each level left it: `rt.activation`. Environment steps that it
            looks at are counted as `spent`.
        scope: over which weights, or units, scores compete.
        units: what is pruned in place of single weights, found anew in the agent as each level left it: `rt.neurons`,
            `rt.inputs`, or any `(model, prunable) -> Units`; densities are then shares of the units.
        early_bird: ends the dense level, which is then this search's own, once its mask is settled.
        keep_last: keep the best weight of a layer that would lose its last one.
        densities: of this search, 1.0 first; None: the experiment's.
        network: the one whose weights it prunes, the others stay dense; densities are then shares of that network's
            weights (or units). None: all of them.

    Raises:
        TypeError: a setting that is of another kind: a step for `rewind`, a name for `criterion`.
        ValueError: unknown scope or network, a criterion of units without units, early-bird without a criterion of
            weights.

    Example:
        >>> IMP(rewind=Rewind(at=2_000)).rewind_points
        (2000,)
    """

    rewind: Rewind = field(default_factory=lambda: Rewind(at=0))
    criterion: AgentCriterion | Criterion = lamp
    scope: Scope = "global"
    units: MakeUnits | None = None
    early_bird: EarlyBird | None = None
    keep_last: bool = True
    densities: Sequence[float] | None = None
    network: Network | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.rewind, Rewind):
            raise TypeError(f"rewind must be an rt.Rewind, not {self.rewind!r}; to rewind to a step: rt.Rewind(at=...)")
        if not (self.early_bird is None or isinstance(self.early_bird, EarlyBird)):
            raise TypeError(f"early_bird must be an rt.EarlyBird or None, not {self.early_bird!r}")
        demand_make_units(self.units)
        demand_scores(self.criterion, self.units)
        demand_scope(self.scope)
        if self.network is not None:
            demand_network(self.network)
        if self.early_bird is not None:
            demand_early_scores(self.early_bird, self.criterion)
        if self.densities is not None:
            # Floats in a tuple: an array has no truth, and two plans with one could not be compared.
            object.__setattr__(self, "densities", as_floats(self.densities))

    def search(self, setup: Setup) -> Search:
        """See `Plan`."""
        setup, trained = yield from self._begun(setup)
        point, spent = trained.at(self.rewind.at), trained.timesteps
        for level in range(1, len(self._densities(setup))):
            request = self._sparse(level, point, trained, spent, setup)
            trained = yield self._asked(request)
            assert request.spent is not None
            spent = request.spent + trained.timesteps

    def _begun(self, setup: Setup) -> Generator[Training, Trained, tuple[Setup, Trained]]:
        """The dense level; the setup, of what this search prunes alone."""
        own = setup
        if self.network is not None:
            with built(setup.make_model, setup.seed) as model:
                own = self._own(setup, model)
        # The dense run that all share has the experiment's own mask.
        trained = yield self._dense(setup if self.needs else own)
        return own, trained

    def _own(self, setup: Setup, model: BaseAlgorithm) -> Setup:
        """The setup, of what this search prunes alone."""
        if self.network is None:
            return setup
        return replace(setup, prunable=prunable_in(self.network, model, setup.prunable))

    def _asked(self, request: Training) -> Training:
        """How a sparse level is trained."""
        return request

    def _dense(self, setup: Setup) -> Training:
        during = () if self.early_bird is None else (self._bird(self.early_bird, 1, setup),)
        return Training(level=0, keep_at=(self.rewind.at,), during=during, prunable=setup.prunable)

    def _sparse(self, level: int, point: TrainingState, trained: Trained, spent: int, setup: Setup) -> Training:
        """Of the ticket that is drawn from what the level before trained."""
        look = self._look(trained, setup)
        pruned = self._prune(level, look, point, trained, setup)
        start = self.rewind.start(point, trained.end)
        ticket = self._ticket(level, pruned, look, start, trained, setup)
        until, schedule_end = self.rewind.budget(setup.total_timesteps, point, start)
        spent += look.timesteps
        return Training(
            level,
            ticket=ticket,
            start=start,
            until=until,
            schedule_end=schedule_end,
            exploration_rate=self.rewind.held_exploration_rate(trained.end),
            spent=spent,
            prunable=setup.prunable,
        )

    def _bird(self, bird: EarlyBird, level: int, setup: Setup) -> EarlyBird:
        """That waits for the mask of a level."""
        density = next(iter(self._densities(setup)[level:]), None)
        criterion = bird.criterion or self.criterion
        assert not isinstance(criterion, AgentCriterion), "early-bird looks at weights alone"
        return bird.completed(
            density=density, after=self.rewind.at, criterion=criterion, scope=self.scope, units=self.units
        )

    def _look(self, trained: Trained, setup: Setup) -> Look:
        """At the agent as its level left it."""
        if self.units is None and not isinstance(self.criterion, AgentCriterion):
            return Look(None, self.criterion, 0)
        with built(setup.make_model, setup.seed) as model:
            _finite(trained.end).restore(model)
            units = None if self.units is None else self.units(model, setup.prunable)
            return Look(units, *criterion_of(self.criterion, model, seed=setup.seed, prunable=setup.prunable))

    def _prune(self, level: int, look: Look, point: TrainingState, trained: Trained, setup: Setup) -> Pruned:
        owners = {name: network_of(name, trained.copies) for name in trained.mask}
        within = trained.mask.part(name for name in owners if self.network in (None, owners[name]))
        weights = {name: trained.end.policy[name] for name in within}
        if lost := [name for name, weight in weights.items() if not torch.isfinite(weight).all()]:
            warnings.warn(
                f"level {level}: weights of {', '.join(lost)} are not finite; those that are no numbers count as 0",
                DivergenceWarning,
                stacklevel=2,
            )
        return prune(
            {name: torch.nan_to_num(weight) for name, weight in weights.items()},
            self._densities(setup)[level],
            criterion=look.criterion,
            scope=self.scope,
            within=within,
            units=look.units,
            start=point.policy,
            network_of=partial(network_of, copies=trained.copies),
            keep_last=self.keep_last,
            level=level,
        )

    def _ticket(
        self, level: int, pruned: Pruned, look: Look, start: TrainingState, trained: Trained, setup: Setup
    ) -> Ticket:
        origin: dict[str, Any] = {
            "level": level,
            "total_timesteps": setup.total_timesteps,
            "criterion": name_of(self.criterion),
            "scope": name_of(self.scope),
            "collapsed": list(pruned.collapsed),
        }
        if look.timesteps:
            origin["data"] = {"timesteps": look.timesteps, "policy": "trained", "seed": setup.seed}
        return make_ticket(pruned.mask, start, trained, self.rewind, origin)

    def _densities(self, setup: Setup) -> tuple[float, ...]:
        return check_densities(setup.densities if self.densities is None else self.densities)

    @property
    def needs(self) -> tuple[str, ...]:
        """The shared dense run, unless early-bird shortens its own."""
        return () if self.early_bird else super().needs

    @property
    def rewind_points(self) -> tuple[int, ...]:
        """Where it rewinds, in whichever dense run."""
        return (self.rewind.at,)

    @property
    def cuts(self) -> tuple[int, ...]:
        """Its rewind point, where all of the state goes back."""
        return (self.rewind.at,) if self.rewind.needs_cut else ()

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """A level for each density; the dense one is shared, unless early-bird shortens it."""
        first = 0 if self.early_bird else 1
        return tuple(Name(level) for level in range(first, len(self._densities(setup))))

    def aims(self, setup: Setup) -> tuple[float, ...]:
        """See `Plan`."""
        return self._densities(setup)

    def check(self, setup: Setup) -> None:
        """See `Plan`."""
        if self.rewind.at >= setup.total_timesteps:
            raise ValueError(
                f"rewind point {self.rewind.at} is beyond the budget of {setup.total_timesteps} environment steps; "
                "choose an earlier one"
            )
        if self.early_bird is not None and self.rewind.at + self.early_bird.every > setup.total_timesteps:
            raise ValueError(
                f"early-bird would draw its first mask {self.early_bird.every} environment steps after the rewind "
                f"point, beyond the budget of {setup.total_timesteps}, and end nothing; choose a smaller `every`"
            )
        self._dense(setup)
        self._densities(setup)

    def check_agent(self, model: BaseAlgorithm, setup: Setup) -> None:
        """See `Plan`."""
        rollout = rollout_steps(model)
        if whole_rollouts(self.rewind.at, rollout) >= setup.total_timesteps:
            raise ValueError(
                f"rewind point {self.rewind.at} is beyond the last rollout, of {rollout} environment steps, that "
                f"starts within the budget of {setup.total_timesteps}; choose an earlier one"
            )
        demand_learning(model, setup.total_timesteps)
        self.rewind.check_agent(model)
        if self.early_bird is not None:
            self.rewind.check_shortened(model)
        setup = self._own(setup, model)
        if self.keep_last:
            demand_one_a_layer(model, setup.prunable, self.units, self._densities(setup))
        if isinstance(self.rewind, FineTuning):
            demand_learning_rate(model)
        if isinstance(self.criterion, AgentCriterion):
            self.criterion.check(model, setup.prunable)

    def on_grid(self, grid: Sequence[int]) -> IMP:
        """See `Plan`."""
        return replace(self, rewind=self.rewind.on_grid(grid))

    def scaled(self, ratio: float, rollout: int) -> Self:
        """See `Plan`; early-bird keeps its fractions of the budget too."""
        bird = self.early_bird
        if bird is not None:
            bird = replace(bird, every=max(1, int(bird.every * ratio)), after=int(bird.after * ratio))
        at = whole_rollouts(self.rewind.at * ratio, rollout)
        return replace(self, rewind=replace(self.rewind, at=at), early_bird=bird)


def _finite(end: TrainingState) -> TrainingState:
    """With zeros for weights that are no finite numbers."""
    weights = {name: torch.nan_to_num(tensor, posinf=0.0, neginf=0.0) for name, tensor in end.policy.items()}
    return end.with_policy(weights)
