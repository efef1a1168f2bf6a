"""Every public method of an SB3 agent does on a held one what it does on one that is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents_matrix import CASES, Case, differing, sparse_mask, tensors
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from test_holding import leaks

import rl_tickets as rt
from rl_tickets.agents.loading import load

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
# SB3 says of two agents of the matrix that loading them, or learning anew, is not quite what it was.
SB3_WARNS = pytest.mark.filterwarnings(
    "ignore:`n_steps=3` is ignored because a custom", "ignore:The last trajectory in the replay buffer"
)


def used(case: Case, model: BaseAlgorithm, path: Path) -> list[Any]:
    """All that the agent's public methods give and leave behind, one after another."""
    seen: list[Any] = []
    logger = Logger(folder=None, output_formats=[])
    model.set_logger(logger)
    assert model.logger is logger
    model.set_random_seed(5)
    assert model.learn(case.at) is model
    seen += [tensors(model), model.num_timesteps]
    model.learn(case.at, reset_num_timesteps=False, log_interval=1)
    seen += [tensors(model), model.num_timesteps]

    env = model.get_env()
    assert env is not None
    observations = env.reset()
    for deterministic in (True, False):
        actions, state = model.predict(observations, deterministic=deterministic)  # type: ignore[arg-type]
        seen += [actions, state]
    normalize = model.get_vec_normalize_env()
    seen += [normalize is not None, None if normalize is None else normalize.obs_rms.mean]  # type: ignore[union-attr]

    parameters = {
        name: {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in part.items()}
        if isinstance(part, dict)
        else part.clone()
        for name, part in model.get_parameters().items()
    }
    model.learn(case.at, reset_num_timesteps=False)
    seen += [tensors(model), model.num_timesteps]
    weights = {name: part for name, part in parameters.items() if not name.endswith("optimizer")}
    model.set_parameters(weights, exact_match=False)
    seen.append(tensors(model))

    model.set_env(case.make(1).get_env(), force_reset=True)  # type: ignore[arg-type]
    model.learn(case.at, reset_num_timesteps=True)
    seen += [tensors(model), model.num_timesteps]

    model.save(path)
    loaded = type(model).load(path, env=model.get_env(), device="cpu")
    assert differing(tensors(loaded), tensors(model)) == []
    assert rt.hold_of(loaded) is None
    loaded.set_random_seed(6)
    seen += [tensors(loaded.learn(case.at)), type(loaded).__name__]
    return seen


def same(one: Any, two: Any) -> bool:
    match one:
        case dict():
            return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
        case list() | tuple():
            return len(one) == len(two) and all(map(same, one, two))
        case torch.Tensor():
            return torch.equal(one, two)
        case np.ndarray():
            return np.array_equal(one, two)
    return bool(one == two)


@SB3_WARNS
@every_case
def test_under_a_full_mask_every_bit_is_the_same(case: Case, tmp_path: Path) -> None:
    plain, held = case.make(0), case.make(0)
    rt.hold(held, rt.Mask.dense(held))
    alone, together = used(case, plain, tmp_path / "plain.zip"), used(case, held, tmp_path / "held.zip")
    assert [index for index, pair in enumerate(zip(alone, together, strict=True)) if not same(*pair)] == []


@SB3_WARNS
@every_case
def test_under_a_sparse_mask_all_of_it_works_and_the_mask_holds(case: Case, tmp_path: Path) -> None:
    model = case.make(0)
    mask = sparse_mask(model)
    held = rt.hold(model, mask)
    used(case, model, tmp_path / "held.zip")
    assert rt.hold_of(model) is held
    assert leaks(model, mask) == []
    again = load(type(held.remove()), tmp_path / "held.zip", mask, env=model.get_env(), device="cpu")
    assert leaks(again.learn(case.at), mask) == []
