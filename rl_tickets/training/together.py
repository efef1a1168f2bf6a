"""Learning together: a user's own list of agents trained in lock-step, as if each had called its own `learn`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from rl_tickets.agents.holding import class_of
from rl_tickets.training.draws import first_draws
from rl_tickets.training.environments import demand_own_environments
from rl_tickets.training.learners import usual_log_interval
from rl_tickets.training.stints import Stint
from rl_tickets.training.trainers import Cohorts

Model = TypeVar("Model", bound=BaseAlgorithm)
Callbacks = Callable[[], BaseCallback] | Sequence[BaseCallback] | None


def learn(
    models: Sequence[Model],
    total_timesteps: int,
    callback: Callbacks = None,
    *,
    log_interval: int | None = None,
    tb_log_name: str | None = None,
    reset_num_timesteps: bool = True,
) -> list[Model]:
    """Trains agents together, much faster than one after the other; each as if it had called its own `learn`.

    PPO, A2C, DQN, TD3, SAC and like agents of one shape train in lock-step, compiled; whatever cannot do so trains
    with its own `learn`, and a `PlainTrainingWarning` says why, once. Tickets may be planted in some of them, and stay
    held.

    The random numbers of each agent depend on its seed alone, not on the others or on what was drawn before: a fresh
    agent goes on where its constructor left SB3's global generators, so that `rt.learn([PPO(..., seed=0), ...])` trains
    as `PPO(..., seed=0).learn(...)` does right after it is made; an agent that has trained already gets draws of its
    own for each number of steps it has trained; one without a seed takes a seed from NumPy's global generator.
    Environments draw from their own generators, as always. The global generators are left where they were.
    Numbers are SB3's but for rounding; they do not depend, in a single bit, on which others train beside an agent,
    only on how many agents there are and in which place it is.

    Args:
        models: SB3 agents of any kinds, each with environments of its own.
        total_timesteps: environment steps for each agent.
        callback: makes an SB3 callback for each agent, or one callback for each in their order.
        log_interval: rollouts (off-policy: episodes) between two lines of the log; None: what the algorithm usually
            takes.
        tb_log_name: of each agent's run in its `tensorboard_log`; None: the algorithm's name. SB3 numbers the runs.
        reset_num_timesteps: True counts steps from 0 again; False goes on.

    Returns:
        The same agents, trained, with environments, weights and optimizers of their own. One that diverged stopped
        learning there, and a `DivergenceWarning` says so.

    Raises:
        TypeError: a single agent, or a callback that is neither.
        ValueError: the same agent, environment or callback twice, agents without an environment, fewer than 1 step.

    Example:
        agents = rt.learn([make_model(seed) for seed in range(16)], total_timesteps=50_000)
    """
    models = _agents(models)
    if total_timesteps < 1:
        raise ValueError(f"total_timesteps must be at least 1 environment step, got {total_timesteps}")
    listening = _callbacks(callback, len(models))
    stints = [
        Stint(
            model,
            total_timesteps,
            first_draws(model),
            heard,
            reset_num_timesteps,
            usual_log_interval(model) if log_interval is None else log_interval,
            class_of(model).__name__ if tb_log_name is None else tb_log_name,
            place,
        )
        for place, (model, heard) in enumerate(zip(models, listening, strict=True))
    ]
    Cohorts().start()(stints)
    for stint in stints:
        stint.warn_of_divergence()
    return models


def _agents(models: Sequence[Model]) -> list[Model]:
    if isinstance(models, BaseAlgorithm):
        raise TypeError("rt.learn takes a list of agents; for a single one, write rt.learn([model], ...)")
    found = list(models)
    for place, model in enumerate(found):
        if not isinstance(model, BaseAlgorithm):
            raise TypeError(f"rt.learn takes SB3 agents, but number {place} is a {type(model).__name__}")
        if model.get_env() is None:
            raise ValueError(f"agent {place} has no environment to train in; give it one with `set_env`")
    demand_own_environments(found)
    return found


def _callbacks(callback: Callbacks, count: int) -> list[list[BaseCallback]]:
    """For each agent, the callbacks it is given."""
    if isinstance(callback, BaseCallback):
        raise TypeError(
            f"an SB3 callback has a state, so several agents cannot share one {type(callback).__name__}: give a "
            "function that makes one for each agent, or a list with one for each"
        )
    if callback is None:
        return [[] for _ in range(count)]
    made = [callback() for _ in range(count)] if callable(callback) else list(callback)
    if len(made) != count:
        raise ValueError(f"{len(made)} callbacks were given for {count} agents; give one for each")
    for each in made:
        if not isinstance(each, BaseCallback):
            raise TypeError(f"a callback must be an SB3 callback, got a {type(each).__name__}")
    if len({id(each) for each in made}) < count:
        raise ValueError("two agents were given the same callback; make one for each, since it has a state")
    return [[each] for each in made]
