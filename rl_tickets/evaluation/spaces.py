"""Whether an evaluation plays the agent's own task: spaces are compared before anything is played, or even trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3.common.vec_env import VecEnv

from rl_tickets.agents.making import demand_function
from rl_tickets.evaluation.seeding import seeded

MakeEnv = Callable[[], gym.Env[Any, Any] | VecEnv]


def check_env(model: object, make_env: MakeEnv) -> None:
    """Makes an environment of the evaluation, compares its spaces with the agent's, and closes it.

    Kinds and shapes must agree. Bounds and dtypes may differ, and images may have their channels first or last; a
    model without spaces is not looked at.

    Args:
        model: the agent that is going to be evaluated, trained or not.
        make_env: as in `evaluate`.

    Raises:
        TypeError: `make_env` gives no environment.
        ValueError: the spaces differ; the first difference is named.

    Example:
        >>> from stable_baselines3 import PPO
        >>> check_env(PPO("MlpPolicy", "CartPole-v1", device="cpu"), lambda: gym.make("CartPole-v1"))
    """
    with seeded(0):
        env = new_environment(make_env)
        try:
            demand_same_spaces(model, env)
        finally:
            env.close()


def new_environment(make_env: MakeEnv) -> Any:
    """What `make_env` makes, if it is an environment; raises TypeError otherwise."""
    demand_function(make_env, "make_env must be a function `() -> environment`")
    env: Any = make_env()
    # By what it does: SB3 wraps environments of other kinds, too.
    if not (callable(getattr(env, "reset", None)) and callable(getattr(env, "step", None))):
        kind = "None" if env is None else f"a {type(env).__name__}"
        raise TypeError(f"make_env() must return a Gymnasium environment or an SB3 VecEnv, not {kind}")
    return env


def demand_same_spaces(model: object, env: gym.Env[Any, Any] | VecEnv) -> None:
    """Raises ValueError, naming the first difference, where an environment has other spaces than the agent."""
    for kind in ("observation", "action"):
        ours, theirs = getattr(model, f"{kind}_space", None), getattr(env, f"{kind}_space", None)
        if not (isinstance(ours, spaces.Space) and isinstance(theirs, spaces.Space)):
            continue
        if difference := _difference(ours, theirs, f"{kind}s"):
            raise ValueError(
                f"make_env gives another task than the agent was made for: {difference}; evaluate it in the "
                "environment it trains in, wrapped the same way"
            )


def _difference(ours: spaces.Space[Any], theirs: spaces.Space[Any], name: str) -> str:
    """In words, or empty."""
    if isinstance(ours, spaces.Dict) and isinstance(theirs, spaces.Dict):
        for key in [*ours.spaces, *theirs.spaces]:
            if key not in theirs.spaces or key not in ours.spaces:
                side = "agent's" if key in ours.spaces else "environment's"
                return f"only the {side} {name} have a part {key!r}"
        parts = (_difference(part, theirs.spaces[key], f"{name}[{key!r}]") for key, part in ours.spaces.items())
        return next(filter(None, parts), "")
    if _kind(ours) == _kind(theirs) and _form(theirs) in _forms(ours):
        return ""
    return f"its {name} are {_told(theirs)}, the agent's {_told(ours)}"


def _kind(space: spaces.Space[Any]) -> type:
    """The class of Gymnasium's that a space is of."""
    known = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary, spaces.Dict, spaces.Tuple)
    return next((kind for kind in known if isinstance(space, kind)), type(space))


def _form(space: spaces.Space[Any]) -> tuple[int, ...]:
    """Its shape; of a discrete space how many values there are."""
    match space:
        case spaces.Discrete():
            return (int(space.n),)
        case spaces.MultiDiscrete():
            return tuple(np.ravel(space.nvec).tolist())
    return tuple(space.shape or ())


def _forms(space: spaces.Space[Any]) -> list[tuple[int, ...]]:
    """Those of an environment that an agent with this space can play in: SB3 puts an image's channels first."""
    form = _form(space)
    image = isinstance(space, spaces.Box) and len(form) == 3
    return [form, (form[1], form[2], form[0])] if image else [form]


def _told(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Box):
        return f"Box{space.shape}"
    return str(space)
