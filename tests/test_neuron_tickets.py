"""Tickets of whole neurons and of whole inputs: IMP with units, its control, and which inputs a ticket reads."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from tiny import PPO_EXPERIMENT, make_ppo

import rl_tickets as rt
from rl_tickets.report.tables import read_levels
from rl_tickets.tickets.units import Units

DENSITIES = (1.0, 0.5, 0.25)


def make_model(seed: int) -> PPO:
    return make_ppo(seed, policy_kwargs={"net_arch": [8, 8]})


@pytest.fixture(scope="module")
def units() -> Units:
    return rt.neurons(make_model(0))


@pytest.fixture(scope="module")
def levels() -> list[rt.Level]:
    found = rt.find_tickets(make_model, total_timesteps=128, densities=DENSITIES, units=rt.neurons, trainer=rt.Plain())
    return list(found)


def test_a_level_has_lost_whole_neurons_and_they_nest(levels: list[rt.Level], units: Units) -> None:
    alive = [units.alive(level.ticket.mask) for level in levels]
    assert [sum(each) for each in alive] == [32, 16, 8]
    for level, each in zip(levels, alive, strict=True):
        assert level.ticket.mask == units.keep(each, rt.Mask.dense(level.model))
    for fewer, more in pairwise(reversed(alive)):
        assert all(denser for sparser, denser in zip(fewer, more, strict=True) if sparser)


def test_they_are_the_neurons_with_the_largest_weights(levels: list[rt.Level], units: Units) -> None:
    dense, sparse = levels[0].trained.end.policy, levels[1].ticket.mask
    scores = {name: weights.double().flatten() for name, weights in rt.lamp({n: dense[n] for n in sparse}, {}).items()}
    totals = np.array([units.score(unit, scores) for unit in units])
    alive = np.array(units.alive(sparse))
    assert totals[alive].min() >= totals[~alive].max()


def test_what_is_pruned_stays_zero_and_what_is_left_is_rewound(levels: list[rt.Level]) -> None:
    for level in levels[1:]:
        for name, kept in level.ticket.mask.items():
            assert not level.trained.end.policy[name][~kept].any()
            start = levels[0].trained.at(0).policy[name]
            assert torch.equal(level.ticket.weights[name] * kept, start * kept)


def test_an_experiment_takes_units_and_permutes_neurons(tmp_path: Any) -> None:
    searches = {"neurons": rt.IMP(units=rt.neurons), "other": rt.Control(rt.permuted_neurons, of="neurons")}
    experiment = replace(
        PPO_EXPERIMENT,
        make_model=make_model,
        searches=searches,
        densities=DENSITIES,
        seeds=2,
        dense_seeds=2,
        total_timesteps=64,
    )
    rt.run(experiment, jobs=1, out=tmp_path)
    rows = {row.run: row for row in read_levels(tmp_path / "tiny")}
    assert {(run.search, run.level) for run in rows} == {("dense", 0), *((s, i) for s in searches for i in (1, 2))}
    assert "IMP(" in (text := (tmp_path / "tiny" / "report.md").read_text())
    assert "units=neurons" in text


def test_permuted_neurons_are_as_many_in_each_layer_but_others(levels: list[rt.Level], units: Units) -> None:
    ticket = levels[1].ticket
    control = rt.permuted_neurons(ticket, make_model, seed=3)
    ours, theirs = units.alive(ticket.mask), units.alive(control.mask)
    assert ours != theirs
    assert control.mask == units.keep(theirs, rt.Mask.dense(levels[0].model))
    for layer in units.layers:
        where = [unit.layer == layer for unit in units]
        assert sum(np.array(ours)[where]) == sum(np.array(theirs)[where])
    assert all(torch.equal(control.weights[name], ticket.weights[name]) for name in ticket.weights)
    assert control.mask == rt.permuted_neurons(ticket, make_model, seed=3).mask
    assert control.mask != rt.permuted_neurons(ticket, make_model, seed=4).mask


def test_permuted_neurons_are_drawn_uniformly(levels: list[rt.Level], units: Units) -> None:
    ticket = levels[1].ticket
    drawn = [units.alive(rt.permuted_neurons(ticket, make_model, seed=seed).mask) for seed in range(100)]
    share, alive = np.mean(drawn, axis=0), np.array(units.alive(ticket.mask))
    for layer in units.layers:
        where = np.array([unit.layer == layer for unit in units])
        assert share[where] == pytest.approx(alive[where].mean(), abs=0.2), "4 standard errors"


def test_what_neurons_cannot_be_permuted_is_refused(levels: list[rt.Level]) -> None:
    with pytest.raises(TypeError, match="permuted_neurons needs make_model"):
        rt.permuted_neurons(levels[1].ticket, seed=0)
    with pytest.raises(ValueError, match="keeps all of its neurons, or none"):
        rt.permuted_neurons(levels[0].ticket, make_model, seed=0)
    parts = next(iter(rt.find_tickets(make_model, total_timesteps=32, densities=(1.0, 0.5), trainer=rt.Plain())))
    weights = {name: parts.ticket.weights[name] for name in parts.ticket.mask}
    half = replace(parts.ticket, mask=rt.prune(weights, 0.5, criterion=rt.magnitude, start=weights).mask)
    with pytest.raises(ValueError, match="take permuted_mask, which permutes weights"):
        rt.permuted_neurons(half, make_model, seed=0)


@pytest.mark.parametrize(
    ("units", "densities", "error", "told"),
    [
        ("neurons", (1.0, 0.5), TypeError, "units must be a function such as rt.neurons, not 'neurons'"),
        (rt.neurons, (1.0, 0.1), ValueError, r"density 0\.1 keeps 3 units, fewer than the 4 layers; .* is 0\.125"),
    ],
)
def test_impossible_units_are_refused_at_once(units: Any, densities: Any, error: Any, told: str) -> None:
    with pytest.raises(error, match=told):
        rt.find_tickets(make_model, total_timesteps=64, densities=densities, units=units)


class Distracted(gym.Env[np.ndarray, int]):
    """The right action is the sign of the observation's third dimension; the other five are noise."""

    observation_space = spaces.Box(-1.0, 1.0, (6,), np.float32)
    action_space = spaces.Discrete(2)
    reads = 2

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._seen = self._draw()
        return self._seen, {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        reward = float((self._seen[self.reads] > 0) == bool(action))
        self._seen = self._draw()
        return self._seen, reward, True, False, {}

    def _draw(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 6).astype(np.float32)


def make_distracted(seed: int) -> PPO:
    settings: dict[str, Any] = {"n_steps": 128, "batch_size": 64, "n_epochs": 10, "learning_rate": 3e-3, "gamma": 0.0}
    kwargs = {"net_arch": [16]}
    return PPO("MlpPolicy", Distracted(), policy_kwargs=kwargs, seed=seed, device="cpu", **settings)


@pytest.fixture(params=[0, 1, 2])
def distracted(request: pytest.FixtureRequest) -> list[rt.Level]:
    find = partial(rt.find_tickets, make_distracted, total_timesteps=1_536, trainer=rt.Plain(), criterion=rt.magnitude)
    return list(find(densities=(1.0, 0.5, 1 / 6), units=rt.inputs, seed=request.param))


def test_distracting_dimensions_go_first_and_the_ticket_needs_no_other(distracted: list[rt.Level]) -> None:
    """The known answer: one dimension tells all, and IMP finds it among six."""
    reads = [rt.inputs(level.model).alive(level.ticket.mask) for level in distracted]
    assert [sum(each) for each in reads] == [6, 3, 1]
    assert reads[2] == [dimension == Distracted.reads for dimension in range(6)]
    assert rt.evaluate(distracted[2].model, Distracted, episodes=200, seed=7).mean() > 0.9


def test_both_trainers_find_the_same_neurons() -> None:
    def masks(trainer: Any) -> list[rt.Mask]:
        found = rt.find_tickets(make_model, total_timesteps=64, densities=DENSITIES, units=rt.neurons, trainer=trainer)
        return [level.ticket.mask for level in found]

    assert masks(rt.Plain()) == masks(rt.Cohorts(seeds=1))
