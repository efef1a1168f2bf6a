"""Shrinking: units that zero weights leave inactive go, and the smaller agent is the same, or is not given out."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, cartpole, differing, pendulum, small, tensors
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from shrinking_cases import Drawn, Padded, examine, fuzz, small_differences
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed
from torch import nn

import rl_tickets as rt
from rl_tickets.agents import anatomy
from rl_tickets.agents.exact import rows
from rl_tickets.agents.observations import drawn, recorded
from rl_tickets.agents.slim_cnn import SlimCNN
from rl_tickets.agents.wiring import wiring
from rl_tickets.deploy.dissecting import Dissected

PI, V = "mlp_extractor.policy_net", "mlp_extractor.value_net"
SHRINKING = [case for case in CASES if case.name not in ("own_heads", "crossq")]


def sparse(model: BaseAlgorithm, density: float = 0.4, units: int = 3, seed: int = 0) -> rt.Mask:
    """A random mask under which some units of each layer have lost their inputs, and others their readers."""
    generator = torch.Generator().manual_seed(seed)
    bits = {name: torch.rand(b.shape, generator=generator) < density for name, b in rt.Mask.dense(model).items()}
    for layer in wiring(model).hidden:
        bits[layer.name][:units] = False
    for feed in wiring(model).feeds:
        bits[feed.target][:, np.isin(feed.units, (units, units + 1))] = False
    return rt.Mask(bits)


def zero(model: BaseAlgorithm, name: str, index: Any) -> None:
    model.policy.get_parameter(name).data[index] = 0


def ppo(**more: Any) -> PPO:
    return PPO("MlpPolicy", cartpole(), seed=0, device="cpu", policy_kwargs=small(**more), n_steps=16, batch_size=16)


# --- every agent -----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.n_steps=3. is ignored")  # SB3's own load says so of every such agent.
@pytest.mark.parametrize("case", SHRINKING, ids=lambda case: case.name)
def test_every_agent_is_smaller_the_same_saved_loaded_and_trained_on(case: Case, tmp_path: Path) -> None:
    model = case.make(0)
    rt.hold(model, sparse(model))
    model.learn(case.at)
    before = tensors(model)
    new = rt.shrink(model, states=300)
    assert differing(before, tensors(model)) == []
    assert anatomy.parameter_count(new) < anatomy.parameter_count(model)
    small_differences(model, new)

    new.save(tmp_path / "small")
    kind = type(rt.hold(new, rt.Mask.dense(new)).remove())  # The agent's own class, no longer held.
    loaded = kind.load(tmp_path / "small", env=model.get_env(), device="cpu")
    assert loaded.policy_kwargs == new.policy_kwargs
    assert differing(tensors(new), tensors(loaded)) == []


@pytest.mark.parametrize("name", ["ppo", "dqn", "sac", "td3", "recurrent_ppo", "ppo_images", "maskable_ppo"])
def test_a_shrunk_agent_trains_on_with_its_mask_held(name: str) -> None:
    case = BY_NAME[name]
    model = case.make(0)
    rt.hold(model, sparse(model))
    model.learn(case.total)
    new = rt.shrink(model, states=300)
    held = rt.hold_of(new)
    assert held is not None
    before, steps = tensors(new), new.num_timesteps
    new.learn(case.total, reset_num_timesteps=False)
    assert new.num_timesteps >= steps + case.total
    assert any(not torch.equal(before[name], value) for name, value in tensors(new).items())
    held.check()


def test_what_is_trained_is_what_the_masked_agent_trains() -> None:
    """Units that nobody reads have no gradient: without them every kept weight goes the same way."""
    agents = []
    for shrinks in (False, True):
        model = ppo(net_arch=[12, 12])
        bits = dict(rt.Mask.dense(model).items())
        for name in (f"{PI}.2.weight", f"{V}.2.weight", "action_net.weight", "value_net.weight"):
            bits[name][:, [2, 5, 7]] = False
        rt.hold(model, rt.Mask(bits))
        model.learn(32)
        agent = rt.shrink(model, states=100) if shrinks else model
        set_random_seed(3)
        agent.get_env().seed(3)  # type: ignore[union-attr]
        agents.append(agent.learn(64, reset_num_timesteps=True))
    assert agents[1].policy_kwargs["net_arch"] == {"pi": [9, 9], "vf": [9, 9]}
    old, new = (tensors(agent) for agent in agents)
    kept = [unit for unit in range(12) if unit not in (2, 5, 7)]
    torch.testing.assert_close(old[f"{PI}.2.weight"][kept][:, kept], new[f"{PI}.2.weight"], atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(old["value_net.weight"][:, kept], new["value_net.weight"], atol=1e-6, rtol=1e-5)


# --- known answers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("activation", "value"), [(nn.Tanh, np.tanh(0.5)), (nn.ReLU, 0.5), (nn.Sigmoid, 0.6224593)])
def test_a_constant_unit_goes_into_the_next_bias_through_its_activation(
    activation: type[nn.Module], value: float
) -> None:
    model = ppo(net_arch={"pi": [3], "vf": [2]}, activation_fn=activation)
    zero(model, f"{PI}.0.weight", 1)
    model.policy.get_parameter(f"{PI}.0.bias").data[1] = 0.5
    head, bias = (model.policy.get_parameter(f"action_net.{part}").detach().clone() for part in ("weight", "bias"))
    new = rt.shrink(model, states=100)
    assert new.policy_kwargs["net_arch"] == {"pi": [2], "vf": [2]}
    folded = new.policy.get_parameter("action_net.bias").detach()
    torch.testing.assert_close(folded, bias + float(value) * head[:, 1])
    assert torch.equal(new.policy.get_parameter("action_net.weight").detach(), head[:, [0, 2]])


def test_it_goes_on_both_ways() -> None:
    """A unit fed by constants alone is constant, one read by unread ones alone is unread."""
    model = ppo(net_arch={"pi": [4, 4, 4], "vf": [2]})
    zero(model, f"{PI}.0.weight", 0)
    zero(model, f"{PI}.2.weight", (0, slice(1, None)))  # Unit 0 hears the constant only, and so does
    zero(model, f"{PI}.4.weight", (0, slice(1, None)))  # the next one.
    zero(model, "action_net.weight", (slice(None), 3))  # Nobody reads unit 3, which alone reads
    zero(model, f"{PI}.4.weight", (slice(0, 3), 3))  # unit 3, which alone reads
    zero(model, f"{PI}.2.weight", (slice(0, 3), 3))  # unit 3.
    assert rt.shrink(model, states=100).policy_kwargs["net_arch"] == {"pi": [2, 2, 2], "vf": [2]}


def test_heads_stay_whole_and_a_dead_net_keeps_one_unit_a_layer() -> None:
    model = ppo(net_arch=[4, 4])
    rt.hold(model, rt.Mask({name: torch.zeros_like(kept) for name, kept in rt.Mask.dense(model).items()}))
    new = rt.shrink(model, states=100)
    assert new.policy_kwargs["net_arch"] == {"pi": [1, 1], "vf": [1, 1]}
    assert new.policy.get_parameter("action_net.weight").shape == (2, 1)
    assert rt.shrink(new, states=100).policy_kwargs == new.policy_kwargs


def test_twin_critics_stay_as_wide_as_the_wider_with_zeros_in_the_other() -> None:
    model = TD3("MlpPolicy", pendulum(), policy_kwargs=small(net_arch=[6]), buffer_size=10, seed=0, device="cpu")
    for target in ("critic", "critic_target"):
        zero(model, f"{target}.qf0.0.weight", slice(0, 4))
        zero(model, f"{target}.qf1.0.weight", slice(0, 1))
    new = rt.shrink(model, states=100)
    assert new.policy_kwargs["net_arch"] == {"pi": [6], "qf": [5]}
    weights = new.policy.get_parameter("critic.qf0.0.weight")
    assert weights[:2].all()
    assert not weights[2:].any()


def test_target_networks_fold_their_own_constants_and_keep_what_they_still_read() -> None:
    model = DQN("MlpPolicy", cartpole(), policy_kwargs=small(net_arch=[5]), buffer_size=10, seed=0, device="cpu")
    for net in ("q_net.q_net", "q_net_target.q_net"):
        zero(model, f"{net}.0.weight", slice(0, 2))
    model.policy.get_parameter("q_net_target.q_net.0.bias").data[:] = 0.3
    new = rt.shrink(model, states=100)
    assert new.policy_kwargs["net_arch"] == [3]
    out, bias = (model.policy.get_parameter(f"q_net_target.q_net.2.{part}") for part in ("weight", "bias"))
    expected = bias + out[:, :2].sum(1) * np.tanh(0.3)
    torch.testing.assert_close(new.policy.get_parameter("q_net_target.q_net.2.bias"), expected)
    zero(model, "q_net.q_net.0.weight", 2)  # Not in the target network, which would go on hearing it.
    assert rt.shrink(model, states=100).policy_kwargs["net_arch"] == [3]


def recurrent(**more: Any) -> RecurrentPPO:
    kwargs = small(net_arch=[3], lstm_hidden_size=5, enable_critic_lstm=False, shared_lstm=True, **more)
    return RecurrentPPO("MlpLstmPolicy", cartpole(), n_steps=16, batch_size=16, seed=0, policy_kwargs=kwargs)


@pytest.mark.parametrize(("bias", "left"), [(0.0, 4), (0.5, 5)])
def test_an_lstms_unit_without_inputs_goes_only_if_it_stays_zero(bias: float, left: int) -> None:
    """A bias alone moves a cell from step to step: it is no constant."""
    model = recurrent()
    for name in ("lstm_actor.weight_ih_l0", "lstm_actor.weight_hh_l0"):
        zero(model, name, slice(1, None, 5))
    for name in ("lstm_actor.bias_ih_l0", "lstm_actor.bias_hh_l0"):
        model.policy.get_parameter(name).data[11] = bias
    assert rt.shrink(model, states=100).policy_kwargs["lstm_hidden_size"] == left


def test_an_lstms_unit_is_read_through_steps_to_come() -> None:
    model = recurrent()
    for net in (PI, V):
        zero(model, f"{net}.0.weight", (slice(None), slice(0, 2)))  # Nobody but the LSTM reads units 0 and 1.
    assert rt.shrink(model, states=100).policy_kwargs["lstm_hidden_size"] == 5
    rows_of_others = [row for row in range(20) if row % 5 > 1]
    zero(model, "lstm_actor.weight_hh_l0", (rows_of_others, 0))
    assert rt.shrink(model, states=100).policy_kwargs["lstm_hidden_size"] == 5  # Unit 1 is read, and reads unit 0.
    zero(model, "lstm_actor.weight_hh_l0", (rows_of_others, 1))
    model.learn(16)
    zero(model, f"{PI}.0.weight", (slice(None), slice(0, 2)))
    zero(model, f"{V}.0.weight", (slice(None), slice(0, 2)))
    zero(model, "lstm_actor.weight_hh_l0", (rows_of_others, slice(0, 2)))
    new = rt.shrink(model, states=100)
    assert new.policy_kwargs["lstm_hidden_size"] == 3
    state = model._last_lstm_states.pi[0]
    assert torch.equal(new._last_lstm_states.pi[0], state[..., 2:])


def test_a_constant_channel_is_folded_through_a_convolution_and_through_flattening() -> None:
    model = BY_NAME["ppo_images"].make(0)
    for place in (0, 2, 4):
        zero(model, f"features_extractor.cnn.{place}.weight", slice(0, 5))
        model.policy.get_parameter(f"features_extractor.cnn.{place}.bias").data[:] = 0.2
    new = rt.shrink(model, states=50)
    kwargs = new.policy_kwargs
    assert kwargs["features_extractor_class"] is SlimCNN
    assert kwargs["features_extractor_kwargs"] == {"features_dim": 32, "channels": (27, 59, 59)}
    assert kwargs["net_arch"] == {"pi": [], "vf": []}


def test_a_convolution_that_pads_takes_no_constant_into_its_bias_and_ones_own_extractor_stays_whole() -> None:
    kwargs = {"features_extractor_class": Padded, "net_arch": [4]}
    model = PPO("CnnPolicy", BY_NAME["ppo_images"].make(0).get_env(), policy_kwargs=kwargs, n_steps=8, batch_size=8)
    zero(model, "features_extractor.convolutions.0.weight", 0)
    connections = Dissected(model, wiring(model), drawn(model, 8)).connections
    foldable = {name.rpartition(".")[0][-1]: mine.foldable for name, mine in connections.items() if "conv" in name}
    assert foldable == {"0": True, "2": False}
    new = rt.shrink(model, states=50)
    assert new.policy.get_parameter("features_extractor.convolutions.0.weight").shape[0] == 4


def test_the_layer_that_exploration_noise_reads_stays_whole() -> None:
    model = SAC("MlpPolicy", pendulum(), use_sde=True, buffer_size=10, seed=0, policy_kwargs=small(net_arch=[6, 6]))
    for place in (0, 2):
        zero(model, f"actor.latent_pi.{place}.weight", slice(0, 2))
    assert rt.shrink(model, states=100).policy_kwargs["net_arch"] == {"pi": [4, 6], "qf": [6, 6]}


def test_moments_go_on_where_they_were() -> None:
    model = ppo(net_arch={"pi": [6], "vf": [4]})
    bits = dict(rt.Mask.dense(model).items())
    bits[f"{PI}.0.weight"][[1, 4]] = False
    rt.hold(model, rt.Mask(bits))
    model.learn(32)
    new = rt.shrink(model, states=100)
    ours, theirs = (
        {name: agent.policy.optimizer.state[p] for name, p in agent.policy.named_parameters()} for agent in (model, new)
    )
    kept = [0, 2, 3, 5]
    for moment in ("exp_avg", "exp_avg_sq"):
        assert torch.equal(theirs[f"{PI}.0.weight"][moment], ours[f"{PI}.0.weight"][moment][kept])
        assert torch.equal(theirs["action_net.weight"][moment], ours["action_net.weight"][moment][:, kept])
    assert theirs["value_net.bias"]["step"] == ours["value_net.bias"]["step"] > 0


def test_the_entropy_coefficient_and_its_optimizer_come_along() -> None:
    model = BY_NAME["sac"].make(0).learn(40)
    new: Any = rt.shrink(model, states=100)
    assert torch.equal(new.log_ent_coef, model.log_ent_coef)  # type: ignore[attr-defined]
    assert new.log_ent_coef is not model.log_ent_coef  # type: ignore[attr-defined]
    state = next(iter(new.ent_coef_optimizer.state.values()))
    assert state["step"] == next(iter(model.ent_coef_optimizer.state.values()))["step"] > 0  # type: ignore[attr-defined]


def test_generators_and_the_agent_are_left_as_they_were() -> None:
    model = ppo()
    before = generators(model)
    rt.shrink(model, states=100)
    assert before == generators(model)


def generators(model: BaseAlgorithm) -> list[str]:
    numpy = np.random.get_state()  # noqa: NPY002
    env: Any = model.get_env()
    return [str(torch.get_rng_state().tolist()), str(numpy), str(env.action_space.np_random.bit_generator.state)]


# --- observations ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ppo", "dqn", "sac", "ppo_dict", "dqn_her", "ppo_images", "ppo_sde_normalized"])
def test_recorded_observations_are_those_that_the_policy_saw(name: str) -> None:
    model = BY_NAME[name].make(0)
    assert recorded(model, 10) is None
    model.learn(48)
    found = recorded(model, 10)
    assert found is not None
    assert rows(found) == 10
    model.predict(found)
    if model.get_vec_normalize_env() is not None and hasattr(model, "replay_buffer"):
        stored = model.replay_buffer.observations[: model.replay_buffer.size()].reshape(-1, 3)
        normal = model.get_vec_normalize_env().normalize_obs(stored)
        assert all((normal == row).all(1).any() for row in found)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1, 1, (3,)),
        spaces.Box(-np.inf, np.inf, (3,)),
        spaces.Box(0, 255, (1, 36, 36), np.uint8),
        spaces.Discrete(4),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Discrete(3)}),
    ],
    ids=str,
)
def test_drawn_observations_lie_in_their_space_the_same_for_the_same_seed(space: spaces.Space[Any]) -> None:
    class Still(gym.Env[Any, int]):
        observation_space, action_space = space, spaces.Discrete(2)

    kind = "MultiInputPolicy" if isinstance(space, spaces.Dict) else "MlpPolicy"
    model = PPO(kind, Still(), n_steps=8, batch_size=8)
    one, other = drawn(model, 20, seed=1), drawn(model, 20, seed=1)
    for row in range(20):
        picked = {key: part[row] for key, part in one.items()} if isinstance(one, dict) else one[row]
        assert space.contains(picked)
    assert str(one) == str(other)
    assert str(one) != str(drawn(model, 20, seed=2))


# --- refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: BY_NAME["crossq"].make(0), r"'actor\.latent_pi\.3' \(BatchRenorm1d\), which has a state of its own"),
        (lambda: BY_NAME["own_heads"].make(0), r"CuriousPolicy never calls 'forward_head'"),
        (lambda: ppo(activation_fn=nn.PReLU), r"\(PReLU\), which has a state of its own"),
    ],
    ids=["batch_renorm", "own_heads", "prelu"],
)
def test_what_is_not_understood_is_refused(make: Callable[[], BaseAlgorithm], sentence: str) -> None:
    with pytest.raises(rt.WiringError, match=sentence):
        rt.shrink(make(), states=10)


def test_only_agents_are_shrunk() -> None:
    with pytest.raises(TypeError, match="what is shrunk is an SB3 agent, not a MlpExtractor"):
        rt.shrink(ppo().policy.mlp_extractor)  # type: ignore[type-var]


def test_what_single_precision_cannot_fold_is_not_given_out() -> None:
    """1e7 + 0.3 is no float: what a huge constant adds is lost beside a bias, though another unit takes it back."""
    model = ppo(net_arch={"pi": [2], "vf": [1]}, activation_fn=nn.ReLU)
    for name, value in [
        (f"{PI}.0.weight", [[0.0] * 4, [0.0, 0.0, 0.0, 1.0]]),
        (f"{PI}.0.bias", [1e7, 1e7]),
        ("action_net.weight", [[1.0, -1.0], [0.0, 0.0]]),
        ("action_net.bias", [0.3, 0.0]),
    ]:
        model.policy.get_parameter(name).data.copy_(torch.tensor(value))
    with pytest.raises(rt.EquivalenceError, match=r"the outputs of 'action_net' would differ by up to 0\.3"):
        rt.shrink(model, states=100)


# --- any agent at all ------------------------------------------------------------------------------------


def test_cases_drawn_at_random_are_equivalent_or_refused() -> None:
    found = fuzz(25, 200)()
    assert found["shrunk"] + found["same"] + found["crossq: refused"] == 25, found
    assert found["shrunk"] > 10


def test_noise_that_reads_observations_themselves() -> None:
    """No layer between observations and gSDE: a case that was drawn once."""
    assert examine(Drawn("ppo", (), (3,), nn.Tanh, None, False, True, 0.05, 0.0, 0.0, False, False, 0)) == "shrunk"


def test_a_drawn_case_without_zeros_stays_as_it_is() -> None:
    case = Drawn("ppo", (4,), (4,), nn.Tanh, None, True, False, 1.0, 0.0, 0.0, True, False, 0)
    assert examine(case) == "same"


def other_activation(model: Any) -> None:
    model.policy.mlp_extractor.policy_net[1] = nn.ReLU()


def other_head(model: Any) -> None:
    model.policy.action_net = nn.Sequential(nn.Linear(model.policy.action_net.in_features, 2), nn.Tanh())


def other_optimizer(model: Any) -> None:
    model.policy.optimizer = torch.optim.AdamW(model.policy.parameters())


CHANGED = {
    "mlp_extractor.policy_net.1 is ReLU()": other_activation,
    "action_net is Sequential": other_head,
    "its optimizer is a AdamW, and a fresh agent has a Adam": other_optimizer,
}


@pytest.mark.parametrize("said", CHANGED)
def test_what_was_changed_after_it_was_built_is_not_built_again_as_something_else(said: str) -> None:
    model = BY_NAME["ppo"].make(0)
    CHANGED[said](model)
    asked: list[Callable[[], object]] = [lambda: rt.shrink(model)]
    if CHANGED[said] is not other_optimizer:
        asked += [lambda: rt.snip.of(model), lambda: rt.activation.of(model)]
    for each in asked:
        with pytest.raises(rt.WiringError, match=re.escape(said)):
            each()


def test_what_is_frozen_stays_frozen() -> None:
    model: Any = BY_NAME["ppo"].make(0)
    model.policy.mlp_extractor.value_net.requires_grad_(False)
    frozen = {name for name, p in model.policy.named_parameters() if not p.requires_grad}
    new = rt.shrink(model)
    assert {name for name, p in new.policy.named_parameters() if not p.requires_grad} == frozen != set()
