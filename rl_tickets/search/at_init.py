"""Pruning at initialisation: tickets are found before anything is trained (Lee et al. 2019; Tanaka et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.making import built, provenance
from rl_tickets.agents.networks import network_of
from rl_tickets.agents.saliency import AgentCriterion, criterion_of
from rl_tickets.agents.state import TrainingState
from rl_tickets.search.checking import demand_learning, demand_one_a_layer, demand_scores
from rl_tickets.search.plan import Plan, Search, Setup
from rl_tickets.tickets.criteria import Criterion
from rl_tickets.tickets.densities import as_floats, check_densities
from rl_tickets.tickets.identity import name_of
from rl_tickets.tickets.scopes import Scope, demand_scope
from rl_tickets.tickets.selecting import Pruned, prune
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.drawing import MakeUnits, demand_make_units
from rl_tickets.training.requests import Name, Training


@dataclass(frozen=True)
class AtInit(Plan):
    """Prunes an untrained agent to each density, from dense each time, and trains what is left once.

    No dense agent is trained for it. `spent` of its trainings are the environment steps that its criterion looked at,
    collected once for all densities of a seed by a copy of the agent that is trained.

    Args:
        criterion: scores the initial weights; the lowest go. `rt.synflow`, `rt.snip`, `rt.grasp`, any `AgentCriterion`,
            or one of weights alone, such as `rt.magnitude` and `rt.random_scores`; with `units` also one of units,
            such as `rt.activation`.
        scope: over which weights scores compete. By default actor and critic each keep the density: the sizes of their
            losses, and of SB3's initial weights, have no common scale.
        units: what is pruned in place of single weights: `rt.neurons`, `rt.inputs`, or any
            `(model, prunable) -> Units`; densities are then shares of the units.
        keep_last: keep the best weight of a layer that would lose its last one.
        densities: of this search, 1.0 first; None: the experiment's.

    Raises:
        TypeError: a criterion that is none.
        ValueError: unknown scope, a criterion of units without units.

    Example:
        >>> from rl_tickets.agents.saliency import synflow
        >>> AtInit(synflow).needs
        ()
    """

    criterion: AgentCriterion | Criterion
    scope: Scope = "network"
    units: MakeUnits | None = None
    keep_last: bool = True
    densities: Sequence[float] | None = None

    def __post_init__(self) -> None:
        demand_scope(self.scope)
        demand_make_units(self.units)
        demand_scores(self.criterion, self.units)
        if self.densities is not None:
            object.__setattr__(self, "densities", as_floats(self.densities))

    def search(self, setup: Setup) -> Search:
        """See `Plan`."""
        with built(setup.make_model, setup.seed) as model:
            start = TrainingState.capture(model, replay_buffer=False).only("weights")
            criterion, timesteps = criterion_of(self.criterion, model, seed=setup.seed, prunable=setup.prunable)
            state = {"tensors": start.tensors, "copies": anatomy.copies(model)}
            origin = {**provenance(model, setup.seed), **self._origin(timesteps, setup)}
            masks = self._masks(criterion, start, model, setup)
        for level, pruned in enumerate(masks, start=1):
            told = {"level": level, "mask_digest": pruned.mask.digest, "collapsed": list(pruned.collapsed)}
            ticket = Ticket(pruned.mask, start.policy, state, {**origin, **told})
            yield Training(level, ticket=ticket, start=start, spent=timesteps, prunable=setup.prunable)

    def _masks(self, criterion: Criterion, start: TrainingState, model: BaseAlgorithm, setup: Setup) -> list[Pruned]:
        """Of each density, from dense each time."""
        # Not `Mask.dense`: what it has to say was said before the first level.
        weights = {name: start.policy[name] for name in anatomy.prunable_weights(model, setup.prunable)}
        choices: dict[str, Any] = {
            "scope": self.scope,
            "units": None if self.units is None else self.units(model, setup.prunable),
            "network_of": partial(network_of, copies=anatomy.copies(model)),
            "keep_last": self.keep_last,
        }
        return [
            prune(weights, density, criterion=criterion, level=level, **choices)
            for level, density in enumerate(self._densities(setup)[1:], start=1)
        ]

    def _origin(self, timesteps: int, setup: Setup) -> dict[str, Any]:
        """Where all its tickets come from, as plain data."""
        return {
            "rewind": {"at": 0, "step": 0, "parts": ["weights"]},
            "total_timesteps": setup.total_timesteps,
            "criterion": name_of(self.criterion),
            "scope": name_of(self.scope),
            "data": {"timesteps": timesteps, "policy": "untrained", "seed": setup.seed} if timesteps else None,
        }

    def _densities(self, setup: Setup) -> tuple[float, ...]:
        return check_densities(setup.densities if self.densities is None else self.densities)

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """A level for each density but the dense one."""
        return tuple(Name(level) for level in range(1, len(self._densities(setup))))

    def aims(self, setup: Setup) -> tuple[float, ...]:
        """See `Plan`."""
        return self._densities(setup)

    def check(self, setup: Setup) -> None:
        """See `Plan`."""
        self._densities(setup)

    def check_agent(self, model: BaseAlgorithm, setup: Setup) -> None:
        """See `Plan`."""
        demand_learning(model, setup.total_timesteps)
        if self.keep_last:
            demand_one_a_layer(model, setup.prunable, self.units, self._densities(setup))
        if isinstance(self.criterion, AgentCriterion):
            self.criterion.check(model, setup.prunable)
