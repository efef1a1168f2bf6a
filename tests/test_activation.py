"""Units scored by what they say over visited states, and by their weights on either side: literal values."""

from __future__ import annotations

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, differing, tensors
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import DummyVecEnv
from tiny import PPO_EXPERIMENT, assert_same, counted, forked, make_ppo, trained_steps
from torch import nn

import rl_tickets as rt
from rl_tickets.agents.visiting import visits
from rl_tickets.report.tables import read_levels
from rl_tickets.tickets.unit_criteria import UnitCriterion
from rl_tickets.tickets.units import Unit, Units, through

ACTOR = "mlp_extractor.policy_net.0.weight"
UNDERSTOOD = [case for case in CASES if case.name != "own_heads"]


class Blinking(gym.Env[np.ndarray, Any]):
    """Shows (1, 0) and (0, 2) in turn, whatever is done; an episode has four states."""

    observation_space = spaces.Box(-5.0, 5.0, (2,), np.float32)

    def __init__(self, action_space: spaces.Space[Any] | None = None) -> None:
        self.action_space = action_space or spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._shown(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        return self._shown(), 0.0, self._steps == 4, False, {}

    def _shown(self) -> np.ndarray:
        return np.array([[1, 0], [0, 2]][self._steps % 2], dtype=np.float32)


def three_units(seed: int = 0) -> PPO:
    """An actor of three ReLU units: one sees the first dimension, one the second, one never fires."""
    kwargs = {"net_arch": [3], "activation_fn": nn.ReLU}
    env = DummyVecEnv([Blinking])
    model = PPO("MlpPolicy", env, n_steps=16, batch_size=16, policy_kwargs=kwargs, seed=seed, device="cpu")
    layer = model.policy.mlp_extractor.policy_net[0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]))
        layer.bias.zero_()
        model.policy.action_net.weight.copy_(torch.tensor([[3.0, 1.0, 9.0], [1.0, -1.0, 9.0]]))
    return model


def pruned(model: BaseAlgorithm, density: float, criterion: Any, layer: str = ACTOR) -> list[bool]:
    """Which units of a layer are left."""
    weights = {name: model.policy.state_dict()[name] for name in rt.Mask.dense(model)}
    units = rt.neurons(model)
    mask = rt.prune(weights, density, criterion=criterion, units=units, scope="layer").mask
    return [alive for unit, alive in zip(units, units.alive(mask), strict=True) if unit.layer == layer]


# Activation, by hand


def test_activation_by_hand_and_what_never_fires_goes_first() -> None:
    """Units say 1 or 0, 0 or 2, and nothing: means 0.5, 1 and 0 in a layer whose mean is 0.5."""
    model = three_units()
    found = rt.Activation(timesteps=40).of(model, seed=3)
    np.testing.assert_allclose(found.means[ACTOR], [1.0, 2.0, 0.0], rtol=1e-12)
    np.testing.assert_allclose(found.means["observation"], [2 / 3, 4 / 3], rtol=1e-12)
    assert found.timesteps == 40
    assert pruned(model, 2 / 3, found) == [True, True, False]
    assert pruned(model, 1 / 3, found) == [False, True, False]
    # It is heard most of all.
    assert pruned(model, 1 / 3, rt.outgoing_magnitude) == [False, False, True]


def test_the_layers_mean_is_that_of_the_units_that_are_heard() -> None:
    model = three_units()
    with torch.no_grad():
        model.policy.action_net.weight[:, 2] = 0.0
    np.testing.assert_allclose(rt.Activation(timesteps=40).of(model).means[ACTOR], [2 / 3, 4 / 3, 0.0], rtol=1e-12)


def test_a_layer_that_says_nothing_scores_nothing() -> None:
    model = three_units()
    with torch.no_grad():
        model.policy.mlp_extractor.policy_net[0].weight.fill_(-1.0)
    assert rt.Activation(timesteps=8).of(model).means[ACTOR].tolist() == [0.0, 0.0, 0.0]


def test_critics_hear_the_actions_that_were_taken() -> None:
    """The actor says tanh(0.5) whatever it sees, and a critic's units hear 1 and 3 times as much."""
    env = DummyVecEnv([partial(Blinking, spaces.Box(-2.0, 2.0, (1,), np.float32))])
    model = TD3("MlpPolicy", env, policy_kwargs={"net_arch": {"pi": [2], "qf": [2]}}, seed=0, device="cpu")
    policy: Any = model.policy
    with torch.no_grad():
        policy.actor.mu[2].weight.zero_()
        policy.actor.mu[2].bias.fill_(0.5)
        policy.critic.qf0[0].weight.copy_(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 3.0]]))
        policy.critic.qf0[0].bias.zero_()
        policy.critic.qf1[0].weight.copy_(torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -3.0]]))
        policy.critic.qf1[0].bias.fill_(1.0)
    means = rt.Activation(timesteps=12).of(model).means
    np.testing.assert_allclose(means["critic.qf0.0.weight"], [0.5, 1.5], rtol=1e-6)
    said = np.array([1 + np.tanh(0.5), 0.0])  # 1 - 3 tanh(0.5) is below zero.
    np.testing.assert_allclose(means["critic.qf1.0.weight"], said / said.mean(), rtol=1e-6)


def test_recurrent_states_go_on_through_an_episode_and_begin_anew_with_the_next() -> None:
    """All gates are half open: c ← (c + tanh b) / 2, and a unit says tanh(c) / 2; episodes have four states."""
    kwargs = {"lstm_hidden_size": 2, "net_arch": [2]}
    env = DummyVecEnv([Blinking, Blinking])
    model = RecurrentPPO("MlpLstmPolicy", env, n_steps=8, batch_size=8, policy_kwargs=kwargs, seed=0, device="cpu")
    biases = np.array([0.3, 2.0])
    lstm: Any = model.policy.lstm_actor
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.zero_()
        lstm.bias_ih_l0[4:6] = torch.tensor(biases)  # torch's order: input, forget, cell, output.
    cell, said = np.zeros(2), []
    for _ in range(4):
        cell = (cell + np.tanh(biases)) / 2
        said.append(np.tanh(cell) / 2)
    expected = np.mean(said, axis=0)
    found = rt.Activation(timesteps=32).of(model)
    np.testing.assert_allclose(found.means["lstm_actor.weight_ih_l0"], expected / expected.mean(), rtol=1e-6)
    assert found.timesteps == 32


def test_a_channel_says_the_mean_over_its_places() -> None:
    model = BY_NAME["ppo_images"].make(0)
    found = rt.Activation(timesteps=20).of(model, seed=5)
    extractor: Any = model.policy.features_extractor
    seen = np.concatenate([visit.observations for visit in visits(model, 20, seed=5)])
    with torch.no_grad():
        channels = extractor.cnn[:2](torch.as_tensor(seen).float() / 255).double().abs().mean((0, 2, 3)).numpy()
    first = rt.wiring(model).layers[0].name
    np.testing.assert_allclose(found.means[first], channels / channels.mean(), rtol=1e-5)


# Activation of every agent


@pytest.mark.parametrize("case", UNDERSTOOD, ids=lambda case: case.name)
def test_every_agent_is_scored_the_same_again_and_left_as_it_was(case: Case) -> None:
    model = case.make(0)
    before, generator = tensors(model), torch.get_rng_state()
    found, again = (rt.Activation(timesteps=16).of(model, seed=1) for _ in range(2))
    assert not differing(before, tensors(model))
    assert torch.equal(torch.get_rng_state(), generator)
    assert found.means.keys() == again.means.keys()
    for name, scores in found.means.items():
        assert scores.tobytes() == again.means[name].tobytes()
        assert scores.mean() == pytest.approx(1.0) or not scores.any()
    assert 16 <= found.timesteps < 16 + model.get_env().num_envs  # type: ignore[union-attr]
    pruned(model, 0.5, found)


@pytest.mark.parametrize("name", ["ppo", "ppo_sde_normalized", "sac", "recurrent_ppo"])
def test_a_fresh_agent_learns_as_if_nothing_had_visited(name: str) -> None:
    make = BY_NAME[name].make
    plain, model = make(0).learn(48), make(0)
    rt.Activation(timesteps=24).of(model, seed=1)
    assert not differing(tensors(model.learn(48)), tensors(plain))


def test_another_seed_visits_other_states() -> None:
    one, other = (rt.Activation(timesteps=64).of(make_ppo(0), seed=seed).means[ACTOR] for seed in (0, 1))
    assert not np.array_equal(one, other)


# By weights


def test_magnitudes_by_hand() -> None:
    """Incoming 3, 5, 4; outgoing 4, 1, 2: together 7, 6, 6, and along paths 12, 5, 8."""
    weights = {"a": torch.tensor([[1.0, -2.0], [5.0, 0.0], [-2.0, -2.0]]), "b": torch.tensor([[-4.0, 1.0, 2.0]])}
    units = Units(Unit("a", i, {"a": [2 * i, 2 * i + 1]}, {"b": [i]}) for i in range(3))

    def left(criterion: Any, density: float) -> list[bool]:
        return units.alive(rt.prune(weights, density, criterion=criterion, units=units).mask)

    assert left(rt.incoming_magnitude, 1 / 3) == [False, True, False]
    assert left(rt.incoming_magnitude, 2 / 3) == [False, True, True]
    assert left(rt.outgoing_magnitude, 1 / 3) == [True, False, False]
    assert left(rt.outgoing_magnitude, 2 / 3) == [True, False, True]
    assert left(rt.path_magnitude, 1 / 3) == [True, False, False]
    assert left(rt.path_magnitude, 2 / 3) == [True, False, True]
    assert left(rt.magnitude, 2 / 3) == [True, True, False], "the sum of both sides; ties go to the earlier"


def test_paths_do_not_see_how_a_relu_unit_shares_its_scale() -> None:
    """Half as much in, twice as much out: the same function, and the same score."""
    model = three_units()
    weights = {name: model.policy.state_dict()[name].clone() for name in rt.Mask.dense(model)}
    units = rt.neurons(model)

    def scores(score: Any) -> list[float]:
        flat = {name: weight.double().abs().flatten() for name, weight in weights.items()}
        return [score(unit, flat) for unit in units]

    before, sums = scores(through), scores(units.score)
    weights[ACTOR][0] *= 0.5
    weights["action_net.weight"][:, 0] *= 2.0
    assert scores(through) == pytest.approx(before)
    assert scores(units.score)[0] != pytest.approx(sums[0])


def test_an_input_has_one_side_only() -> None:
    model = three_units()
    flat = {name: model.policy.state_dict()[name].double().abs().flatten() for name in rt.Mask.dense(model)}
    inputs = rt.inputs(model)
    assert [through(unit, flat) for unit in inputs] == [inputs.score(unit, flat) for unit in inputs]


# Searches


IMP = rt.IMP(units=rt.neurons, criterion=rt.Activation(timesteps=40))
EXPERIMENT = replace(
    PPO_EXPERIMENT,
    searches={
        "activation": IMP,
        "other": rt.Control(rt.permuted_neurons, of="activation"),
        "outgoing": rt.IMP(units=rt.neurons, criterion=rt.outgoing_magnitude),
        "before": rt.AtInit(rt.Activation(timesteps=40), units=rt.neurons),
    },
    total_timesteps=64,
    seeds=1,
    dense_seeds=1,
    trainer=rt.Plain(),
    segment=32,
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("activation")
    assert forked(partial(rt.run, EXPERIMENT, jobs=1, out=out)) == 0
    return out / "tiny"


def test_visited_steps_are_counted(out: Path) -> None:
    """Each level costs its training, and the 40 steps after it that tell what to prune."""
    spent = {"activation": [104, 208], "other": [104, 208], "outgoing": [64, 128], "before": [40, 40]}
    for row in read_levels(out):
        if row.run.level:
            assert row.spent == spent[row.run.search][row.run.level - 1], row.run
    assert "criterion=Activation(timesteps=40)" in (out / "report.md").read_text()


def test_what_goes_is_what_says_least_in_the_trained_agent() -> None:
    criterion = rt.Activation(timesteps=40)
    dense, sparse = rt.find_tickets(
        three_units, total_timesteps=64, densities=(1.0, 0.5), units=rt.neurons, criterion=criterion, trainer=rt.Plain()
    )
    model = three_units()
    dense.trained.end.restore(model)
    means = criterion.of(model, seed=0).means
    units = rt.neurons(model)
    scores = [means[unit.layer][unit.index] for unit in units]
    lowest = sorted(range(len(units)), key=lambda place: (scores[place], -place))[:3]
    assert [not alive for alive in units.alive(sparse.ticket.mask)] == [place in lowest for place in range(6)]
    assert sparse.ticket.provenance["data"] == {"timesteps": 40, "policy": "trained", "seed": 0}


@pytest.mark.parametrize("criterion", [rt.SynFlow(rounds=3), rt.Snip(timesteps=32)], ids=["synflow", "snip"])
@pytest.mark.parametrize("units", [None, rt.neurons], ids=["weights", "neurons"])
def test_criteria_of_agents_score_what_was_trained(criterion: rt.AgentCriterion, units: Any) -> None:
    settings: dict[str, Any] = {"total_timesteps": 64, "densities": (1.0, 0.5), "trainer": rt.Plain()}
    dense, sparse = rt.find_tickets(make_ppo, units=units, criterion=criterion, **settings)
    model = make_ppo(0)
    dense.trained.end.restore(model)
    weights = {name: dense.trained.end.policy[name] for name in dense.ticket.mask}
    found = units and units(model)
    assert sparse.ticket.mask == rt.prune(weights, 0.5, criterion=criterion.of(model, seed=0), units=found).mask


def test_killed_and_resumed_it_ends_with_the_same_bytes(out: Path, tmp_path: Path) -> None:
    killed = partial(rt.run, EXPERIMENT, jobs=1, out=tmp_path)
    with counted(tmp_path / "steps"):
        half = 0.5 * trained_steps(out)
        assert forked(killed, lambda: (tmp_path / "steps").stat().st_size > half) == -signal.SIGKILL
    assert forked(killed) == 0
    assert_same(tmp_path / "tiny", out)


# Bad input


def test_states_need_an_environment() -> None:
    model = three_units()
    model.env = None
    for act in (rt.activation.of, rt.activation.check):
        with pytest.raises(ValueError, match="this PPO has no environment, so that there are no states that it visits"):
            act(model)


@pytest.mark.parametrize("criterion", [rt.activation, rt.outgoing_magnitude])
def test_criteria_of_units_need_units(criterion: Any) -> None:
    with pytest.raises(ValueError, match=r"scores whole units, not single weights; say which: units=rt\.neurons"):
        rt.IMP(criterion=criterion)
    with pytest.raises(ValueError, match="scores whole units"):
        rt.AtInit(criterion)
    with pytest.raises(ValueError, match="scores whole units"):
        rt.find_tickets(make_ppo, total_timesteps=64, densities=(1.0, 0.5), criterion=criterion)
    with pytest.raises(ValueError, match="early-bird draws masks while an agent trains, by scores of single weights"):
        rt.IMP(units=rt.neurons, criterion=criterion, early_bird=rt.EarlyBird(every=32))
    rt.IMP(units=rt.neurons, criterion=criterion, early_bird=rt.EarlyBird(every=32, criterion=rt.magnitude))


def test_a_criterion_of_units_without_units_is_refused_where_it_prunes() -> None:
    with pytest.raises(ValueError, match="scores whole units"):
        rt.prune({"w": torch.ones(2, 2)}, 0.5, criterion=rt.path_magnitude)


@pytest.mark.parametrize("timesteps", [0, 1.5, True])
def test_timesteps_are_whole_numbers(timesteps: Any) -> None:
    with pytest.raises(ValueError, match="timesteps must be a whole number of at least 1 environment step"):
        rt.Activation(timesteps=timesteps)


def test_a_criterion_of_units_is_made_of_functions() -> None:
    with pytest.raises(TypeError, match="score must be a function"):
        UnitCriterion(rt.magnitude, "outgoing")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="criterion must be a function"):
        UnitCriterion("magnitude", through)  # type: ignore[arg-type]


def test_an_lstm_of_two_layers_is_refused() -> None:
    kwargs = {"lstm_hidden_size": 2, "net_arch": [2], "n_lstm_layers": 2}
    model = RecurrentPPO("MlpLstmPolicy", DummyVecEnv([Blinking]), policy_kwargs=kwargs, device="cpu")
    with pytest.raises(rt.WiringError, match="cannot be heard from outside; use an LSTM of one layer"):
        rt.activation.check(model)
