"""An experiment: what is trained, how tickets are searched, and how the outcome is judged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from stable_baselines3.common.callbacks import BaseCallback

from rl_tickets.evaluation.returns import MakeEnv
from rl_tickets.search.controls import Control, random_reinit
from rl_tickets.search.imp import Search, check_rewind, dense_request, imp, name_of
from rl_tickets.search.spoiling import spoiled
from rl_tickets.tickets.criteria import Criterion, lamp
from rl_tickets.tickets.densities import check_densities, geometric
from rl_tickets.tickets.mask import Prunable
from rl_tickets.tickets.scopes import Scope
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.early_bird import EarlyBird
from rl_tickets.training.requests import MakeModel
from rl_tickets.training.rewinding import Rewind
from rl_tickets.training.trainers import Cohorts, Trainer

DENSE = "dense"


@dataclass(frozen=True)
class IMP:
    """Iterative pruning with rewinding as a part of an experiment; see `find_tickets` for the choices.

    Args:
        rewind: what goes back to which step.
        criterion: scores weights; the lowest go.
        scope: over which weights scores compete.
        early_bird: ends this search's own dense run once the mask is settled.
        keep_last: keep the best weight of a layer that would lose its last one.
        densities: of this search; None: the experiment's.
    """

    rewind: Rewind = field(default_factory=lambda: Rewind(at=0))
    criterion: Criterion = lamp
    scope: Scope = "global"
    early_bird: EarlyBird | None = None
    keep_last: bool = True
    densities: Sequence[float] | None = None

    def search(self, experiment: Experiment, seed: int, tickets: Iterable[Ticket]) -> Search:
        """The generator of this search's training requests."""
        return imp(
            self.densities or experiment.densities,
            total_timesteps=experiment.total_timesteps,
            criterion=self.criterion,
            scope=self.scope,
            prunable=experiment.prunable,
            rewind=self.rewind,
            early_bird=self.early_bird,
            keep_last=self.keep_last,
        )

    def describe(self) -> str:
        """All that makes this search what it is, in one line."""
        criterion, scope = name_of(self.criterion), name_of(self.scope)
        bird_text = f", early_bird=({_without_functions(self.early_bird)})" if self.early_bird else ""
        densities = f", densities={list(self.densities)}" if self.densities else ""
        return f"IMP({criterion}, {scope}, {self.rewind}, keep_last={self.keep_last}{bird_text}{densities})"


@dataclass(frozen=True)
class Spoiled:
    """A control trained beside every ticket of another search of the experiment.

    Args:
        control: spoils a ticket: `random_reinit`, `permuted_weights`, `permuted_mask`, `random_mask`.
        of: name of the search whose tickets are spoiled.
    """

    control: Control
    of: str = "imp"

    def search(self, experiment: Experiment, seed: int, tickets: Iterable[Ticket]) -> Search:
        """The generator of this control's training requests."""
        source = experiment.searches[self.of]
        assert isinstance(source, IMP)
        return spoiled(
            tickets,
            self.control,
            experiment.make_model,
            seed=seed,
            total_timesteps=experiment.total_timesteps,
            rewind=source.rewind,
            prunable=experiment.prunable,
        )

    def describe(self) -> str:
        """All that makes this control what it is, in one line."""
        return f"Spoiled({name_of(self.control)}, of={self.of!r})"


Plan = IMP | Spoiled


def _demand_whole(label: str, number: float, *, least: int) -> None:
    if isinstance(number, float) or number < least:
        raise ValueError(f"{label} must be a whole number of at least {least}, got {number!r}")


def _without_functions(bird: EarlyBird) -> str:
    names = ("every", "density", "window", "threshold", "over_kept", "after")
    return ", ".join(f"{name}={getattr(bird, name)}" for name in names)


def _default_searches() -> dict[str, Plan]:
    return {"imp": IMP(), "random_reinit": Spoiled(random_reinit)}


@dataclass(frozen=True)
class Experiment:
    """Seeds x searches x controls on one agent and environment, judged by the protocol of Agarwal et al. 2021.

    Args:
        name: folder of the results.
        make_model: `make_model(seed)` gives a fresh dense agent with its environment.
        make_env: makes an environment for evaluation.
        total_timesteps: environment steps of every level.
        densities: 1.0, then strictly decreasing.
        seeds: training seeds, or their number.
        searches: by name; "dense" is always trained.
        episodes: evaluation episodes of every final policy.
        evaluation_seed: episode i is reset with this + i, for every policy.
        margin: how much worse than dense a ticket may be, in normalised score, and still match.
        segment: environment steps between two checkpoints, at each of which environments are reset; None: 50,000,
            or 5,000 for algorithms with a replay buffer.
        warmup: environment steps over which every level's learning rate rises from 0.
        prunable: which parameters may be pruned, as in `find_tickets`.
        callback: makes a fresh SB3 callback for every level.
        trainer: `Cohorts()` trains PPO and A2C agents of several seeds in lock-step, anything else with plain SB3;
            `Plain()` trains every agent with its own `learn`.
        command: what the report names as the command that made it.

    Raises:
        ValueError: an impossible setting, named.
    """

    name: str
    make_model: MakeModel
    make_env: MakeEnv
    total_timesteps: int
    densities: Sequence[float] = geometric(keep=0.8, levels=10)
    seeds: int | Sequence[int] = 5
    searches: Mapping[str, Plan] = field(default_factory=_default_searches)
    episodes: int = 100
    evaluation_seed: int = 1_000
    margin: float = 0.05
    segment: int | None = None
    warmup: int = 0
    prunable: Prunable | None = None
    callback: Callable[[], BaseCallback] | None = None
    trainer: Trainer = field(default_factory=Cohorts)
    command: str = ""

    def __post_init__(self) -> None:
        check_densities(self.densities)
        for label, number in (("total_timesteps", self.total_timesteps), ("episodes", self.episodes)):
            _demand_whole(label, number, least=1)
        for label, number in (("evaluation_seed", self.evaluation_seed), ("warmup", self.warmup)):
            _demand_whole(label, number, least=0)
        if self.segment is not None:
            _demand_whole("segment", self.segment, least=1)
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(f"margin must be a finite normalised score of at least 0, got {self.margin}")
        if not self.all_seeds or len(set(self.all_seeds)) != len(self.all_seeds) or min(self.all_seeds) < 0:
            raise ValueError(f"seeds must be a positive number or different integers from 0 on, got {self.seeds!r}")
        if not self.name or "/" in self.name or "\\" in self.name or self.name.startswith("."):
            raise ValueError(f"name must be a plain folder name, got {self.name!r}")
        for name, plan in self.searches.items():
            self._check_search(name, plan)

    def _check_search(self, name: str, plan: Plan) -> None:
        if name == DENSE or not name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"a search cannot be called {name!r}: use letters, digits, - and _, and not 'dense'")
        if isinstance(plan, IMP):
            check_rewind(plan.rewind, self.total_timesteps)
            densities = check_densities(plan.densities or self.densities)
            dense_request(densities, plan.rewind, plan.early_bird, plan.criterion, plan.scope, self.prunable)
        elif not isinstance(self.searches.get(plan.of), IMP):
            choices = ", ".join(n for n, p in self.searches.items() if isinstance(p, IMP))
            raise ValueError(
                f"control {name!r} spoils {plan.of!r}, which is no IMP search here; choose from: {choices}"
            )

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The training seeds."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(int(seed) for seed in self.seeds)

    @property
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """The seeds that train together: groups of nearly equal size, no larger than the trainer asks, at least two.

        They are the same however many processes there are, and two let two processes work.
        """
        seeds = self.all_seeds
        count = min(max(-(-len(seeds) // self.trainer.seeds), 2), len(seeds))
        cuts = [len(seeds) * index // count for index in range(count + 1)]
        return tuple(seeds[start:stop] for start, stop in pairwise(cuts))

    @property
    def rewind_points(self) -> tuple[int, ...]:
        """Steps at which some search rewinds, ascending."""
        return tuple(sorted({plan.rewind.at for plan in self.searches.values() if isinstance(plan, IMP)} | {0}))

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Steps that cut every level into segments: the same for all searches, so that one dense run serves all."""
        grid = range(0, self.total_timesteps, self.segment) if self.segment else ()
        return tuple(sorted({*grid, *self.rewind_points}))

    def levels(self, search: str) -> range:
        """The levels a search trains itself; the dense level is shared, unless early-bird shortens it."""
        if search == DENSE:
            return range(1)
        plan = self.searches[search]
        source = self.searches[plan.of] if isinstance(plan, Spoiled) else plan
        assert isinstance(source, IMP)
        first = 0 if plan is source and source.early_bird else 1
        return range(first, len(source.densities or self.densities))

    def scaled(self, total_timesteps: int, *, rollout: int = 1) -> Experiment:
        """The same experiment at another budget; rewind points, early-bird and warm-up keep their fractions of it.

        Rewind points are rounded up to whole rollouts of `rollout` environment steps, as training would.
        """
        ratio = total_timesteps / self.total_timesteps

        def scale(plan: Plan) -> Plan:
            if isinstance(plan, Spoiled):
                return plan
            bird = plan.early_bird
            if bird is not None:
                bird = replace(bird, every=max(1, int(bird.every * ratio)), after=int(bird.after * ratio))
            at = -(-int(plan.rewind.at * ratio) // rollout) * rollout
            return replace(plan, rewind=replace(plan.rewind, at=at), early_bird=bird)

        searches = {name: scale(plan) for name, plan in self.searches.items()}
        return replace(self, total_timesteps=total_timesteps, searches=searches, warmup=int(self.warmup * ratio))

    def settings(self) -> dict[str, Any]:
        """What must not change under an existing results folder, as plain data."""
        return {
            "total_timesteps": self.total_timesteps,
            "densities": [float(density) for density in self.densities],
            "searches": {name: plan.describe() for name, plan in self.searches.items()},
            "seeds": list(self.all_seeds),
            "episodes": self.episodes,
            "evaluation_seed": self.evaluation_seed,
            "margin": self.margin,
            "segment": self.segment,
            "warmup": self.warmup,
            "trainer": repr(self.trainer),
            "prunable": None if self.prunable is None else name_of(self.prunable),
        }
