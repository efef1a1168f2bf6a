"""Finding tickets in one's own loop: iterative magnitude pruning, one level at a time."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from rl_tickets.agents.making import MakeModel, fresh_agent
from rl_tickets.search.driving import side_by_side
from rl_tickets.search.imp import IMP
from rl_tickets.search.plan import Search, Setup
from rl_tickets.tickets.criteria import Criterion, lamp
from rl_tickets.tickets.densities import check_densities
from rl_tickets.tickets.mask import Prunable
from rl_tickets.tickets.scopes import Scope
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.early_bird import EarlyBird
from rl_tickets.training.requests import Trained
from rl_tickets.training.rewinding import Rewind
from rl_tickets.training.runs import Run, Setting
from rl_tickets.training.ticketing import ticket_of
from rl_tickets.training.trainers import Plain, Trainer

PLAIN = Plain()


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
    criterion: Criterion = lamp,
    scope: Scope = "global",
    prunable: Prunable | None = None,
    rewind: Rewind | None = None,
    early_bird: EarlyBird | None = None,
    keep_last: bool = True,
    warmup: int = 0,
    callback: Callable[[], BaseCallback] | None = None,
    trainer: Trainer = PLAIN,
    seed: int = 0,
) -> Iterator[Level]:
    """Finds tickets by iterative pruning with rewinding between full training runs; yields each level once trained.

    Args:
        make_model: `make_model(seed)` gives a fresh dense SB3 agent with its environment.
        total_timesteps: environment steps per level; the rewind point's count as trained.
        densities: 1.0, then strictly decreasing; `rt.geometric(keep=0.8, levels=10)`, or (1.0, 0.1) for one-shot.
        criterion: scores weights, the lowest go; `rt.lamp`, `rt.magnitude`, or `(weights, start) -> scores`.
        scope: over which weights scores compete: "global", "network", "layer", or `rt.erk`.
        prunable: `f(name, parameter) -> bool`; None: all weight matrices and kernels that an optimizer trains.
        rewind: what goes back to which step; None: everything to initialisation.
        early_bird: ends the dense level once its mask is settled.
        keep_last: keep the best weight of a layer that would lose its last one, instead of letting it collapse.
        warmup: environment steps over which each level's learning rate rises from 0.
        callback: makes a fresh SB3 callback for each level.
        trainer: how levels are trained: `rt.Plain()` by SB3's own `learn`, `rt.Cohorts()` compiled.
        seed: of every draw; same seed, same bytes.

    Raises:
        ValueError: impossible densities, a rewind point beyond the budget, an agent without an optimizer, at once.

    Example:
        for level in rt.find_tickets(make_model, total_timesteps=50_000, densities=(1.0, 0.5, 0.2)):
            print(level.density, rt.evaluate(level.model, make_env).mean())
    """
    if total_timesteps < 1:
        raise ValueError(f"total_timesteps must be at least 1 environment step, got {total_timesteps}")
    plan = IMP(rewind or Rewind(at=0), criterion, scope, early_bird, keep_last)
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
    return _levels(plan.search(setup), setting, trainer)


def _levels(search: Search, setting: Setting, trainer: Trainer) -> Iterator[Level]:
    rounds, train = side_by_side({setting.seed: search}), trainer.start()
    requests = next(rounds)[setting.seed]
    while requests:
        runs = [Run(setting, request) for request in requests]
        train(runs)
        answers = tuple(run.finish() for run in runs)
        for run, trained in zip(runs, answers, strict=True):
            ticket = ticket_of(run.request, trained)
            yield Level(run.request.level, ticket.density, ticket, run.model, trained.timesteps, trained)
        try:
            requests = rounds.send({setting.seed: answers})[setting.seed]
        except StopIteration:
            return
