"""Finding tickets in one's own loop: iterative magnitude pruning, one level at a time."""

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from rl_tickets.agents.enforcing import LeakError
from rl_tickets.agents.making import MakeModel, demand_function, fresh_agent
from rl_tickets.agents.saliency import AgentCriterion
from rl_tickets.search.driving import side_by_side
from rl_tickets.search.imp import IMP
from rl_tickets.search.plan import Search, Setup
from rl_tickets.search.watching import Bars
from rl_tickets.tickets.criteria import Criterion, lamp
from rl_tickets.tickets.densities import check_densities
from rl_tickets.tickets.mask import Prunable
from rl_tickets.tickets.scopes import Scope
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.choosing import faster
from rl_tickets.training.drawing import MakeUnits
from rl_tickets.training.early_bird import EarlyBird
from rl_tickets.training.environments import share_environment
from rl_tickets.training.requests import DivergenceWarning, Trained, Training
from rl_tickets.training.rewinding import Rewind, whole_step
from rl_tickets.training.runs import Setting, TrainingRun
from rl_tickets.training.ticketing import ticket_of
from rl_tickets.training.trainers import Trainer, demand_trainer


@dataclass(frozen=True)
class Level:
    """One full training run at one density.

    Args:
        index: 0 is dense.
        density: fraction of prunable weights kept, in (0, 1].
        ticket: the mask and the weights of the rewind point; plants into other agents.
        model: the trained agent, its mask held.
        timesteps: environment steps trained at this level.
        trained: everything else the training gave: divergence, curve, early-bird's sightings.
    """

    index: int
    density: float
    ticket: Ticket
    model: BaseAlgorithm
    timesteps: int
    trained: Trained


def find_tickets(
    make_model: MakeModel,
    *,
    total_timesteps: int,
    densities: Sequence[float],
    criterion: AgentCriterion | Criterion = lamp,
    scope: Scope = "global",
    units: MakeUnits | None = None,
    prunable: Prunable | None = None,
    rewind: Rewind | None = None,
    early_bird: EarlyBird | None = None,
    keep_last: bool = True,
    warmup: int = 0,
    callback: Callable[[], BaseCallback] | None = None,
    trainer: Trainer | None = None,
    progress: bool = False,
    seed: int = 0,
) -> Iterator[Level]:
    """Finds tickets by iterative pruning with rewinding between full training runs; yields each level once trained.

    A level's environments are closed when the next one begins, since they may have processes of their own: the agent
    of an earlier level still predicts, evaluates and is saved, but needs `set_env` to train on. The last level's stay
    open, also where the loop ends before.

    Args:
        make_model: `make_model(seed)` gives a fresh dense SB3 agent with its environment.
        total_timesteps: environment steps per level; the rewind point's count as trained.
        densities: 1.0, then strictly decreasing; `rt.geometric(keep=0.8, levels=10)`, or (1.0, 0.1) for one-shot.
        criterion: scores weights, the lowest go; `rt.lamp`, `rt.magnitude`, or `(weights, start) -> scores`; with
            `units` also `rt.activation`, `rt.outgoing_magnitude`, ...; see `IMP`.
        scope: over which weights scores compete: "global", "network", "layer", or `rt.erk`.
        units: what is pruned in place of single weights: `rt.neurons`, `rt.inputs`; see `IMP`.
        prunable: `f(name, parameter) -> bool`; None: all weight matrices and kernels that an optimizer trains.
        rewind: what goes back to which step; None: everything to initialisation.
        early_bird: ends the dense level once its mask is settled.
        keep_last: keep the best weight of a layer that would lose its last one, instead of letting it collapse.
        warmup: environment steps over which each level's learning rate rises from 0.
        callback: makes a fresh SB3 callback for each level.
        trainer: how levels are trained: `rt.Plain()` by SB3's own `learn`, `rt.Cohorts()` compiled; None: compiled
            where the agent can be and the levels' gradient steps are so many that it pays, which is a matter of seconds
            against tens of thousands of steps. The two differ by rounding.
        progress: shows a bar for the level that trains.
        seed: of every draw; same seed, same bytes.

    Raises:
        ValueError: impossible densities, a rewind point beyond the budget, an agent without an optimizer or one that
            would begin to learn after the budget, at once. What training raises comes as a ValueError (LeakError,
            RuntimeError) that names the level and the seed.

    Example:
        for level in rt.find_tickets(make_model, total_timesteps=50_000, densities=(1.0, 0.5, 0.2)):
            print(level.density, rt.evaluate(level.model, make_env).mean())
    """
    total_timesteps, warmup = whole_step(total_timesteps), whole_step(warmup)
    if total_timesteps < 1:
        raise ValueError(f"total_timesteps must be at least 1 environment step, got {total_timesteps}")
    if warmup < 0:
        raise ValueError(f"warmup must be at least 0 environment steps, got {warmup}")
    if callback is not None:
        demand_function(callback, "callback must be a function `() -> callback`")
    if trainer is not None:
        demand_trainer(trainer)
    plan = IMP(rewind or Rewind(at=0), criterion, scope, units, early_bird, keep_last)
    setup = Setup(make_model, seed, total_timesteps, check_densities(densities), prunable)
    plan.check(setup)
    # Made here, not at the first level, so that errors come at once.
    first = [fresh_agent(make_model, seed)]
    plan.check_agent(first[0], setup)
    setting = Setting(
        lambda seed: first.pop() if first else make_model(seed),
        seed,
        total_timesteps,
        tuple(sorted({0, *plan.cuts})),
        warmup,
        callback,
    )
    if trainer is None:
        trainer = faster(first[0], total_timesteps * len(setup.densities))
    bars = Bars(total_timesteps, len(setup.densities)) if progress else None
    return _levels(plan.search(setup), setting, trainer, bars)


def _levels(search: Search, setting: Setting, trainer: Trainer, bars: Bars | None) -> Iterator[Level]:
    rounds, train = side_by_side({setting.seed: search}), trainer.start()
    requests = next(rounds)[setting.seed]
    before: list[TrainingRun] = []
    while requests:
        with _told(requests, setting), nullcontext() if bars is None else bars:
            runs = [TrainingRun(_watched(setting, request, bars), request) for request in requests]
            _close(before, runs)
            train(runs)
            answers = tuple(run.finish() for run in runs)
        for run, trained in zip(runs, answers, strict=True):
            if trained.diverged:
                told = f": {trained.problem}" if trained.problem else ""
                warnings.warn(
                    f"level {run.request.level} diverged after {trained.timesteps} environment steps, so that weights "
                    f"are no numbers{told}",
                    DivergenceWarning,
                    stacklevel=3,
                )
            ticket = ticket_of(run.request, trained)
            yield Level(run.request.level, ticket.density, ticket, run.model, trained.timesteps, trained)
        before = runs
        try:
            requests = rounds.send({setting.seed: answers})[setting.seed]
        except StopIteration:
            return


def _watched(setting: Setting, request: Training, bars: Bars | None) -> Setting:
    """With a callback that advances the bar of this training."""
    if bars is None:
        return setting

    def callback() -> BaseCallback:
        users = [] if setting.callback is None else [setting.callback()]
        return CallbackList([*users, bars.callback(request)])

    return replace(setting, callback=callback)


def _close(before: Sequence[TrainingRun], now: Sequence[TrainingRun]) -> None:
    """Closes the environments of the level before, unless `make_model` gave the same ones again."""
    for run in before:
        env = run.model.get_env()
        if env is not None and not any(share_environment(run.model, other.model) for other in now):
            env.close()


@contextmanager
def _told(requests: Sequence[Training], setting: Setting) -> Iterator[None]:
    """Errors say where they happened."""
    try:
        yield
    except Warning:
        raise  # Somebody wants warnings to be errors.
    except Exception as error:
        where = f"level {', '.join(str(request.level) for request in requests)} of seed {setting.seed}"
        kind = next((kind for kind in (LeakError, ValueError) if isinstance(error, kind)), RuntimeError)
        name = "" if isinstance(error, ValueError | LeakError) else f"{type(error).__name__}: "
        raise kind(f"{where}: {name}{error}") from error
