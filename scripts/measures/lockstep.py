"""Cohorts against plain SB3 in double precision, where rounding cannot hide a difference between the two.

Training is chaotic: in single precision two runs that differ in the last bit have nothing in common after some ten
thousand steps. So a plain run is cut into pieces; a cohort trains every piece, each from the plain run's own state.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from stable_baselines3.common import policies
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictRolloutBuffer, ReplayBuffer, RolloutBuffer
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvObs, VecEnvStepReturn

import rl_tickets as rt
from rl_tickets.agents.making import MakeModel
from rl_tickets.agents.state import TrainingState
from rl_tickets.training.cohorts.on_policy.rollouts import FIELDS
from rl_tickets.training.observing import each
from rl_tickets.training.requests import Training
from rl_tickets.training.runs import Setting, TrainingRun


@dataclass(frozen=True)
class Piece:
    """One piece of a training run.

    Args:
        begin: environment step.
        end: environment step.
        moved: by how much plain training moved a weight, at most.
        difference: by how much a weight differs between the two ways at the end, at most.
    """

    begin: int
    end: int
    moved: float
    difference: float


def lockstep(make_model: MakeModel, total_timesteps: int, piece: int, seed: int = 0) -> list[Piece]:
    """Every piece of one dense run, trained both ways.

    Args:
        make_model: of agents that can join a cohort.
        total_timesteps: of the run; a multiple of `piece`.
        piece: environment steps, whole rollouts.
        seed: of the run.
    """
    cuts = range(0, total_timesteps + 1, piece)
    with double_precision():
        setting = Setting(partial(_double_rewarded, make_model), seed, total_timesteps, boundaries=tuple(cuts[:-1]))
        whole = TrainingRun(setting, Training(0, keep_at=tuple(cuts[:-1])))
        rt.Plain().start()([whole])
        ended = whole.finish()
        plain = [ended.kept[cut] for cut in cuts[:-1]] + [ended.end]
        pieces = [
            TrainingRun(replace(setting, callback=partial(_Until, cut)), Training(0, start=start))
            for start, cut in zip(plain, cuts[1:], strict=False)
        ]
        rt.Cohorts().start()(pieces)
        cohort = [run.finish().end for run in pieces]
    return [
        Piece(begin, end, _largest(before, after), _largest(ours, after))
        for begin, end, before, after, ours in zip(cuts, cuts[1:], plain, plain[1:], cohort, strict=False)
    ]


class _DoubleRewards(VecEnvWrapper):
    """Single ones would be rounded where SB3 adds the value of an observation that a time limit cut off."""

    def reset(self) -> VecEnvObs:
        return self.venv.reset()

    def step_wait(self) -> VecEnvStepReturn:
        observations, rewards, dones, infos = self.venv.step_wait()
        return observations, rewards.astype(np.float64), dones, infos


def _double_rewarded(make_model: MakeModel, seed: int) -> BaseAlgorithm:
    model = make_model(seed)
    model.set_env(_DoubleRewards(model.get_env()))
    return model


class _Until(BaseCallback):
    """Ends training before the first step after `cut`; the schedules' end stays where it was."""

    def __init__(self, cut: int) -> None:
        super().__init__()
        self._cut = cut

    def _on_step(self) -> bool:
        return self.num_timesteps <= self._cut


@contextmanager
def double_precision() -> Iterator[None]:
    """Meanwhile agents are made with double weights; observations, rollouts and transitions are double too."""
    preprocess, make = policies.preprocess_obs, ReplayBuffer.__init__

    def doubled(*args: object, **kwargs: object) -> Any:
        return each(torch.Tensor.double, preprocess(*args, **kwargs))

    def doubling(reset: Callable[[RolloutBuffer], None]) -> Callable[[RolloutBuffer], None]:
        def reset_doubled(buffer: RolloutBuffer) -> None:
            reset(buffer)
            for field in FIELDS:
                setattr(buffer, field, each(lambda array: array.astype(np.float64), getattr(buffer, field)))

        return reset_doubled

    def make_doubled(buffer: ReplayBuffer, *args: Any, **kwargs: Any) -> None:
        make(buffer, *args, **kwargs)
        for name, array in vars(buffer).items():
            if isinstance(array, np.ndarray) and array.dtype == np.float32:
                setattr(buffer, name, array.astype(np.float64))

    before = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(patch.object(ReplayBuffer, "__init__", make_doubled))
        stack.enter_context(patch.object(policies, "preprocess_obs", doubled))
        for kind in (RolloutBuffer, DictRolloutBuffer):
            stack.enter_context(patch.object(kind, "reset", doubling(kind.reset)))
        stack.callback(torch.set_default_dtype, before)
        torch.set_default_dtype(torch.float64)
        yield


def _largest(one: TrainingState, other: TrainingState) -> float:
    # NumPy's maximum keeps what is no number.
    return float(np.max([float((one.policy[name] - tensor).abs().max()) for name, tensor in other.policy.items()]))
