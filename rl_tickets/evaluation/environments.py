"""The environments of an evaluation: made as they are needed, and closed when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import TracebackType
from typing import Any, Self

import gymnasium as gym
from gymnasium.wrappers import OrderEnforcing, PassiveEnvChecker

from rl_tickets.evaluation.seeding import generators, seeded
from rl_tickets.evaluation.spaces import MakeEnv, new_environment


class Environments:
    """Made by `make_env`; whoever plays in some finds the global generators as the seed leaves them.

    Args:
        make_env: as in `evaluate`.
        seed: that the global generators were given just now.
    """

    def __init__(self, make_env: MakeEnv, seed: int) -> None:
        self._make_env, self._seed = make_env, seed
        self._undrawn = generators()
        self.first: Any = new_environment(make_env)
        """One to look at; the first to be lent."""
        self._unused = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._unused:
            self.first.close()

    @property
    def drew(self) -> bool:
        """Whether the global generators moved while environments are lent."""
        return generators() != self._undrawn

    @contextmanager
    def lent(self, count: int) -> Iterator[list[Any]]:
        """So many environments, closed afterwards.

        Raises:
            ValueError: `make_env` gave one of them twice.
        """
        unused, self._unused = self._unused, False
        with nullcontext() if unused else seeded(self._seed):
            envs = [self.first] if unused else [self._make_env()]
            try:
                envs += (self._make_env() for _ in range(count - 1))
                if len({id(env) for env in envs}) < len(envs):
                    raise ValueError("make_env() gave the same environment twice; it must make a new one each time")
                yield envs
            finally:
                for env in envs:
                    env.close()


def uncheck(env: gym.Env[Any, Any]) -> None:
    """Takes gymnasium's checks of how an environment is used out of one that has passed them: they look once."""
    outer: gym.Env[Any, Any] = env
    while isinstance(outer, gym.Wrapper):
        while isinstance(inner := outer.env, gym.Wrapper) and type(inner) in (OrderEnforcing, PassiveEnvChecker):
            outer.env = inner.env
        outer = outer.env
