"""An experiment: what is trained, how tickets are searched, and how the outcome is judged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Integral
from typing import Any, Literal

from rl_tickets.agents.anatomy import whole_rollouts
from rl_tickets.agents.making import MakeModel, demand_function
from rl_tickets.evaluation.failures import FAILED_BELOW
from rl_tickets.evaluation.returns import MakeEnv
from rl_tickets.lab.callbacks import MakeCallback
from rl_tickets.search.controls import Control
from rl_tickets.search.imp import IMP
from rl_tickets.search.plan import DENSE, Dense, Outcome, Plan, Setup
from rl_tickets.search.weight_controls import random_reinit
from rl_tickets.tickets.densities import check_densities, geometric
from rl_tickets.tickets.identity import describe
from rl_tickets.tickets.mask import Prunable
from rl_tickets.training.requests import Trained
from rl_tickets.training.trainers import Cohorts, Trainer, demand_trainer

Keep = Literal["all", "last", "none"]
"""Of which trainings of a search the final weights stay in the results folder."""

DENSE_RUNS = 5
"""For each seed of the searches: verdicts compare unpaired, and their power is bounded by the smaller sample's."""


def _demand_seeds(label: str, given: object, seeds: Sequence[int]) -> None:
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise ValueError(f"{label} must be a positive number or different integers from 0 on, got {given!r}")


def _demand_names(given: Sequence[str]) -> None:
    if isinstance(given, str) or not all(isinstance(name, str) and name for name in given):
        raise TypeError(f'input_names must name each dimension, as ("position", "velocity") does, got {given!r}')
    if len(set(given)) != len(given):
        raise ValueError(f"input_names must be different names, got {given!r}")


def _whole(label: str, number: Any, least: int) -> int:
    """As an int, which experiment.json can hold, also where NumPy counted it."""
    if not isinstance(number, Integral) or number < least:
        raise ValueError(f"{label} must be a whole number of at least {least}, got {number!r}")
    return int(number)


def _plain_seeds(given: Any) -> Any:
    """Their number as an int, where it is a number."""
    return int(given) if isinstance(given, Integral) else given


def _default_searches() -> dict[str, Plan]:
    return {"imp": IMP(), "random_reinit": Control(random_reinit)}


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
        dense_seeds: of the dense runs that all are compared with, `seeds` among them, or their number; what is not in
            `seeds` is trained densely alone. None: five times as many as `seeds`.
        searches: plans by name, the main search first; "dense" is always trained.
        episodes: evaluation episodes of every final policy.
        random_episodes: of a uniformly random policy, whose mean return is 0 on the normalised scale.
        evaluation_seed: episode i is reset with this + i, for every policy.
        margin: how much worse than dense a ticket may be, in normalised score, and still match.
        failed_below: the normalised score below which a run has failed.
        segment: environment steps between two checkpoints, at each of which environments are reset; None: 50,000,
            or 5,000 for algorithms with a replay buffer.
        warmup: environment steps over which every level's learning rate rises from 0.
        prunable: which parameters may be pruned, as in `find_tickets`.
        callback: makes a fresh SB3 callback for every training; it may take a `CallbackPlace`, which tells the
            training and has a folder for it alone, as SB3's `EvalCallback` and `CheckpointCallback` need.
        trainer: `Cohorts()` trains several seeds in lock-step where the agent can join, anything else with plain SB3;
            `Plain()` trains every agent with its own `learn`.
        keep: final weights in the results folder: of "all" trainings, of each search's "last", or "none"; None: of all
            where they take less than 100 MB, else of the last.
        input_names: of the observation's dimensions in their order, for the report; None: they are numbered.
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
    dense_seeds: int | Sequence[int] | None = None
    searches: Mapping[str, Plan] = field(default_factory=_default_searches)
    episodes: int = 100
    random_episodes: int = 1_000
    evaluation_seed: int = 1_000
    margin: float = 0.05
    failed_below: float = FAILED_BELOW
    segment: int | None = None
    warmup: int = 0
    prunable: Prunable | None = None
    callback: MakeCallback | None = None
    trainer: Trainer = field(default_factory=Cohorts)
    keep: Keep | None = None
    input_names: Sequence[str] | None = None
    command: str = ""

    def __post_init__(self) -> None:
        check_densities(self.densities)
        self._demand_kinds()
        least = {
            "total_timesteps": 1,
            "episodes": 1,
            "random_episodes": 1,
            "segment": 1,
            "evaluation_seed": 0,
            "warmup": 0,
        }
        for label, smallest in least.items():
            number = getattr(self, label)
            if label != "segment" or number is not None:
                object.__setattr__(self, label, _whole(label, number, smallest))
        for label in ("seeds", "dense_seeds"):
            object.__setattr__(self, label, _plain_seeds(getattr(self, label)))
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise ValueError(f"margin must be a finite normalised score of at least 0, got {self.margin}")
        if not 0 < self.failed_below < 1:
            raise ValueError(f"failed_below must be a normalised score in (0, 1), got {self.failed_below}")
        if self.keep not in (None, "all", "last", "none"):
            raise ValueError(f'keep must be "all", "last", "none" or None, got {self.keep!r}')
        if self.input_names is not None:
            _demand_names(self.input_names)
        _demand_seeds("seeds", self.seeds, self.all_seeds)
        _demand_seeds("dense_seeds", self.dense_seeds, self.pool)
        if not {*self.all_seeds} <= {*self.pool}:
            raise ValueError(
                f"dense_seeds must have the {len(self.all_seeds)} of seeds among them, since searches share their "
                f"dense runs, got {self.dense_seeds!r}"
            )
        if not self.name or "/" in self.name or "\\" in self.name or self.name.startswith("."):
            raise ValueError(f"name must be a plain folder name, got {self.name!r}")
        for name, plan in self.searches.items():
            self._check_search(name, plan)

    def _demand_kinds(self) -> None:
        """Raises TypeError where an object stands for the function that makes one, or something else for a plan."""
        demand_function(self.make_model, "make_model must be a function `(seed) -> agent`")
        demand_function(self.make_env, "make_env must be a function `() -> environment`")
        if self.callback is not None:
            demand_function(self.callback, "callback must be a function `() -> callback`")
        demand_trainer(self.trainer)
        if not isinstance(self.searches, Mapping):
            raise TypeError(f'searches are plans by name, as in {{"imp": rt.IMP()}}, got {self.searches!r}')
        for name, plan in self.searches.items():
            if not isinstance(plan, Plan):
                raise TypeError(
                    f"search {name!r} must be a plan, such as rt.IMP() or rt.Control(rt.random_reinit), got {plan!r}"
                )

    def _check_search(self, name: str, plan: Plan) -> None:
        if name == DENSE or not name.replace("_", "").replace("-", "").isalnum():
            raise ValueError(f"a search cannot be called {name!r}: use letters, digits, - and _, and not 'dense'")
        setup = self.setup(self.all_seeds[0])
        try:
            plan.check(setup)
        except ValueError as error:
            raise ValueError(f"search {name!r}: {error}") from error
        if missing := [need for need in plan.needs if need not in setup.plans]:
            raise ValueError(f"search {name!r} needs {missing[0]!r}, which is not in this experiment; add it")

    @property
    def dense(self) -> Dense:
        """The dense runs, which keep the states that all searches want to have back."""
        points = {0, *(point for plan in self.searches.values() for point in plan.rewind_points)}
        return Dense(tuple(sorted(points)))

    @property
    def plans(self) -> dict[str, Plan]:
        """The dense runs, and every search by name."""
        return {DENSE: self.dense, **self.searches}

    def setup(self, seed: int, outcomes_of: Callable[[str], Sequence[Outcome]] = lambda name: ()) -> Setup:
        """What the plans may know of this experiment, for one seed."""
        densities = tuple(float(density) for density in self.densities)
        return Setup(self.make_model, seed, self.total_timesteps, densities, self.prunable, self.plans, outcomes_of)

    def make_model_of(self, search: str, trained: Trained) -> MakeModel:
        """What made the agent of a training; the experiment's agent for searches that it does not know."""
        plan = self.plans.get(search)
        return self.make_model if plan is None else plan.make_model_of(trained, self.setup(self.all_seeds[0]))

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The training seeds."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else tuple(int(seed) for seed in self.seeds)

    @property
    def pool(self) -> tuple[int, ...]:
        """The seeds of the dense runs: the training seeds, then those that no search goes on with."""
        if self.dense_seeds is not None and not isinstance(self.dense_seeds, int):
            return tuple(int(seed) for seed in self.dense_seeds)
        count = DENSE_RUNS * len(self.all_seeds) if self.dense_seeds is None else self.dense_seeds
        further = (seed for seed in itertools.count() if seed not in self.all_seeds)
        return tuple(itertools.islice(itertools.chain(self.all_seeds, further), count))

    def needs_of(self, plan: str) -> tuple[str, ...]:
        """The plans that must be finished before this one begins: what it needs, what that needs, and so on."""
        plans = self.plans
        found = list(plans[plan].needs)
        for need in found:  # Which grows meanwhile.
            found += [further for further in plans[need].needs if further not in found]
        return tuple(found)

    def seeds_of(self, plan: str) -> tuple[int, ...]:
        """The seeds that a plan is trained with."""
        return self.pool if plan == DENSE else self.all_seeds

    @property
    def groups(self) -> tuple[tuple[int | None, ...], ...]:
        """The dense seeds that train together, each in its place: as many as the trainer asks, empty places at the end.

        A seed's place depends on the seeds before it alone, and never on the number of processes: more seeds change
        nothing about it.
        """
        seeds, size = self.pool, self.trainer.seeds
        groups = [seeds[start : start + size] for start in range(0, len(seeds), size)]
        return tuple((*group, *[None] * (size - len(group))) for group in groups)

    @property
    def count(self) -> int:
        """Trainings in all."""
        return sum(
            len(plan.trainings(self.setup(seed))) for name, plan in self.plans.items() for seed in self.seeds_of(name)
        )

    @property
    def boundaries(self) -> tuple[int, ...]:
        """Steps that cut every training into segments, whatever is searched, so that one dense run serves all."""
        return tuple(range(0, self.total_timesteps, self.segment)) if self.segment else (0,)

    def on_grid(self) -> Experiment:
        """With every plan's exact rewind points where training is cut anyway."""
        return replace(self, searches={name: plan.on_grid(self.boundaries) for name, plan in self.searches.items()})

    def scaled(self, total_timesteps: int, *, rollout: int = 1) -> Experiment:
        """The same experiment at another budget; rewind points, early-bird, warm-up and segments keep their fractions.

        Rewind points are rounded up to whole rollouts of `rollout` environment steps, as training would.
        """
        ratio = total_timesteps / self.total_timesteps
        searches = {name: plan.scaled(ratio, rollout) for name, plan in self.searches.items()}
        segment = None if self.segment is None else whole_rollouts(self.segment * ratio, rollout) or rollout
        warmup = int(self.warmup * ratio)
        return replace(self, total_timesteps=total_timesteps, searches=searches, warmup=warmup, segment=segment)

    def settings(self) -> dict[str, Any]:
        """What must not change under an existing results folder, as plain data.

        Raises:
            ValueError: a setting that cannot be described, named.
        """
        return {
            "total_timesteps": self.total_timesteps,
            "densities": [float(density) for density in self.densities],
            "searches": {
                name: {"plan": type(plan).__name__, "settings": plan.settings(), "control_of": plan.control_of}
                | ({"aside": list(plan.aside)} if plan.aside else {})
                for name, plan in self.searches.items()
            },
            "seeds": list(self.all_seeds),
            "dense_seeds": list(self.pool),
            "episodes": self.episodes,
            "random_episodes": self.random_episodes,
            "evaluation_seed": self.evaluation_seed,
            "margin": self.margin,
            "failed_below": self.failed_below,
            "segment": self.segment,
            "warmup": self.warmup,
            "trainer": describe(self.trainer, "trainer"),
            "prunable": describe(self.prunable, "prunable"),
            "callback": describe(self.callback, "callback"),
            "input_names": None if self.input_names is None else list(self.input_names),
        }
