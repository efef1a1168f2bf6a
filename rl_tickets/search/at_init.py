"""Pruning at initialisation: tickets are found before anything is trained (Lee et al. 2019; Tanaka et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.making import fresh_agent, provenance
from rl_tickets.agents.saliency import AgentCriterion
from rl_tickets.agents.state import TrainingState
from rl_tickets.search.checking import demand_a_weight_a_layer, demand_learning
from rl_tickets.search.plan import Plan, Search, Setup
from rl_tickets.tickets.criteria import Criterion, demand_criterion
from rl_tickets.tickets.densities import as_floats, check_densities
from rl_tickets.tickets.identity import name_of
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.scopes import Scope, demand_scope
from rl_tickets.tickets.selecting import Pruned, prune
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import Name, Training


@dataclass(frozen=True)
class AtInit(Plan):
    """Prunes an untrained agent to each density, from dense each time, and trains what is left once.

    No dense agent is trained for it. `spent` of its trainings are the environment steps that its criterion looked at,
    collected once for all densities of a seed by a copy of the agent that is trained.

    Args:
        criterion: scores the initial weights; the lowest go. `rt.synflow`, `rt.snip`, `rt.grasp`, any `AgentCriterion`,
            or one of weights alone, such as `rt.magnitude` and `rt.random_scores`.
        scope: over which weights scores compete. By default actor and critic each keep the density: the sizes of their
            losses, and of SB3's initial weights, have no common scale.
        keep_last: keep the best weight of a layer that would lose its last one.
        densities: of this search, 1.0 first; None: the experiment's.

    Raises:
        TypeError: a criterion that is none.
        ValueError: unknown scope.

    Example:
        >>> from rl_tickets.agents.saliency import synflow
        >>> AtInit(synflow).needs
        ()
    """

    criterion: AgentCriterion | Criterion
    scope: Scope = "network"
    keep_last: bool = True
    densities: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.criterion, AgentCriterion):
            demand_criterion(self.criterion)
        demand_scope(self.scope)
        if self.densities is not None:
            object.__setattr__(self, "densities", as_floats(self.densities))

    def search(self, setup: Setup) -> Search:
        """See `Plan`."""
        model = fresh_agent(setup.make_model, setup.seed)
        start = TrainingState.capture(model, replay_buffer=False).only("weights")
        criterion, timesteps = self._criterion(model, setup)
        densities = self._densities(setup)[1:]
        masks = [
            self._prune(level, density, criterion, start, model, setup) for level, density in enumerate(densities, 1)
        ]
        origin = {"copies": anatomy.copies(model), "provenance": provenance(model, setup.seed)}
        if (env := model.get_env()) is not None:
            env.close()
        for level, pruned in enumerate(masks, start=1):
            ticket = self._ticket(level, pruned, start, timesteps, setup, **origin)
            yield Training(level, ticket=ticket, start=start, spent=timesteps)

    def _criterion(self, model: BaseAlgorithm, setup: Setup) -> tuple[Criterion, int]:
        """The criterion of this agent, and the environment steps that it looks at."""
        if not isinstance(self.criterion, AgentCriterion):
            return self.criterion, 0
        criterion = self.criterion.of(model, seed=setup.seed, prunable=setup.prunable)
        return criterion, criterion.timesteps

    def _prune(
        self,
        level: int,
        density: float,
        criterion: Criterion,
        start: TrainingState,
        model: BaseAlgorithm,
        setup: Setup,
    ) -> Pruned:
        # Not `Mask.dense`: what it has to say was said before the first level.
        return prune(
            {name: start.policy[name] for name in anatomy.prunable_weights(model, setup.prunable)},
            density,
            criterion=criterion,
            scope=self.scope,
            network_of=partial(anatomy.network_of, copies=anatomy.copies(model)),
            keep_last=self.keep_last,
            level=level,
        )

    def _ticket(
        self,
        level: int,
        pruned: Pruned,
        start: TrainingState,
        timesteps: int,
        setup: Setup,
        copies: dict[str, str],
        provenance: dict[str, Any],
    ) -> Ticket:
        told = {
            "rewind": {"at": 0, "step": 0, "parts": ["weights"]},
            "mask_digest": pruned.mask.digest,
            "level": level,
            "total_timesteps": setup.total_timesteps,
            "criterion": name_of(self.criterion),
            "scope": name_of(self.scope),
            "collapsed": list(pruned.collapsed),
            "data": {"timesteps": timesteps, "policy": "untrained", "seed": setup.seed} if timesteps else None,
        }
        state = {"tensors": start.tensors, "optimizers": None, "normalizer": None, "copies": copies}
        return Ticket(pruned.mask, start.policy, state, {**provenance, **told})

    def _densities(self, setup: Setup) -> tuple[float, ...]:
        return check_densities(setup.densities if self.densities is None else self.densities)

    @property
    def needs(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def trainings(self, setup: Setup) -> tuple[Name, ...]:
        """A level for each density but the dense one."""
        return tuple(Name(level) for level in range(1, len(self._densities(setup))))

    def check(self, setup: Setup) -> None:
        """See `Plan`."""
        self._densities(setup)

    def check_agent(self, model: BaseAlgorithm, setup: Setup) -> None:
        """See `Plan`."""
        demand_learning(model, setup.total_timesteps)
        if self.keep_last:
            demand_a_weight_a_layer(Mask.dense(model, setup.prunable), self._densities(setup))
        if isinstance(self.criterion, AgentCriterion):
            self.criterion.check(model, setup.prunable)
