"""Wiring: whose units feed which weights is found in every agent of the matrix, or refused in one clear sentence."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, cartpole, differing, small, tensors, vec
from gymnasium import spaces
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

import rl_tickets as rt
from rl_tickets.agents.layers import Layer, WiringError
from rl_tickets.agents.neurons import inputs, neurons
from rl_tickets.agents.wiring import Wiring, wiring
from rl_tickets.tickets.selecting import select
from rl_tickets.tickets.units import Units

MLP, CNN = 2 * 8, 32 + 64 + 64 + 32
UNITS = {
    **dict.fromkeys(("dqn", "dqn_n_steps", "dqn_small_memory", "dqn_her", "qrdqn"), MLP),
    **dict.fromkeys(("td3", "td3_mujoco", "sac", "sac_sde", "tqc", "crossq"), 3 * MLP),
    "recurrent_ppo": 2 * (8 + MLP),
    "sac_images_shared": CNN + 3 * MLP,
    "ppo_images": CNN,
    "ppo_images_apart": 2 * CNN,
}
"""Hidden units of each agent of the matrix; of two perceptrons where it is not named."""
WIRED = [case for case in CASES if case.name != "own_heads"]
every_case = pytest.mark.parametrize("case", WIRED, ids=lambda case: case.name)
PI, V = "mlp_extractor.policy_net", "mlp_extractor.value_net"


def said(model: BaseAlgorithm, found: Wiring, change: Callable[[torch.Tensor], None] = lambda o: None) -> torch.Tensor:
    """What all heads say to the same random observations, actions and LSTM states; `change` spoils the observations."""
    policy, outputs = model.policy, []
    hidden = {layer.name for layer in found.hidden}
    heads = [policy.get_submodule(layer.module) for layer in found.layers if layer.name not in hidden]
    hooks = [head.register_forward_hook(lambda m, i, output: outputs.append(output.flatten())) for head in heads]
    policy.set_training_mode(False)
    model.observation_space.seed(0)
    samples: list[Any] = [model.observation_space.sample() for _ in range(8)]
    parts = {key: np.stack([s[key] for s in samples]) for key in samples[0]} if isinstance(samples[0], dict) else None
    observations, _ = policy.obs_to_tensor(np.stack(samples) if parts is None else parts)
    change(observations)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        if hasattr(policy, "lstm_actor"):
            layers, _, size = policy.lstm_hidden_state_shape
            state = (torch.randn(layers, 8, size), torch.randn(layers, 8, size))
            policy(observations, type("States", (), {"pi": state, "vf": state}), torch.zeros(8))
        elif hasattr(policy, "predict_values"):
            policy(observations)
        else:
            for network in ("actor", "q_net", "quantile_net"):
                if hasattr(policy, network):
                    getattr(policy, network)(observations)
            if hasattr(policy, "critic"):
                policy.critic(observations, torch.rand(8, *model.action_space.shape))
    for hook in hooks:
        hook.remove()
    return torch.cat(outputs)


def without(model: BaseAlgorithm, units: Units, layer: str, index: int) -> rt.Mask:
    """The mask that drops one unit, selected as any other; the agent's weights follow it."""
    worst = units.scored_by(lambda unit, scores: -float((unit.layer, unit.index) == (layer, index)))
    dense = rt.Mask.dense(model)
    mask = select({name: dense[name].float() for name in dense}, 1 - 1 / len(units), units=worst, keep_last=False).mask
    with torch.no_grad():
        for name in mask:
            model.policy.get_parameter(name).mul_(mask[name])
    return mask


def push(model: BaseAlgorithm, layer: Layer, index: int) -> None:
    """Moves the biases of one unit, all four gates' in an LSTM."""
    with torch.no_grad():
        for bias in layer.biases:
            model.policy.get_parameter(bias)[index :: layer.outputs] += 3.0


# --- every agent -----------------------------------------------------------------------------------------


@every_case
def test_every_hidden_layer_has_as_many_units_as_outputs_and_every_weight_has_its_place(case: Case) -> None:
    model = case.make(0)
    found, units = wiring(model), neurons(model)
    assert len(units) == UNITS.get(case.name, 2 * MLP)
    for layer in found.hidden:
        gates = 4 if layer.kind == "lstm" else 1
        assert units.layers[layer.name] * gates == model.policy.get_parameter(layer.name).shape[0]
    assert {name for layer in found.layers for name in (layer.name, layer.recurrent) if name} == case.prunable
    covered = units.keep([False] * len(units), rt.Mask.dense(model))
    assert not any(covered[layer.name].any() for layer in found.hidden)
    first = {feed.target for feed in found.feeds if feed.source.startswith(("observation", "action"))}
    heads = case.prunable - {layer.name for layer in found.hidden}
    assert not any(covered[name].any() for name in heads - first), "heads go with all that they hear"


@every_case
def test_nothing_hears_a_dropped_neuron(case: Case) -> None:
    """Its biases no longer matter, where they did."""
    model = case.make(0)
    found, units = wiring(model), neurons(model)
    start = {name: value.clone() for name, value in model.policy.state_dict().items()}
    for layer in found.hidden:
        index = layer.outputs // 2
        dense = said(model, found)
        push(model, layer, index)
        assert not torch.equal(said(model, found), dense)
        mask = without(model, units, layer.name, index)
        assert not mask[layer.name][index].any()
        assert sum(units.alive(mask)) == len(units) - 1
        silent = said(model, found)
        push(model, layer, index)
        assert torch.equal(said(model, found), silent)
        model.policy.load_state_dict(start)


@pytest.mark.parametrize("name", ["ppo", "dqn", "qrdqn", "td3", "sac", "tqc", "crossq", "recurrent_ppo", "ppo_box2d"])
def test_nothing_sees_a_dropped_observation_dimension(name: str) -> None:
    model = BY_NAME[name].make(0)
    found, units = wiring(model), inputs(model)
    assert units.layers == {"observation": model.observation_space.shape[0]}

    def change(observations: torch.Tensor) -> None:
        observations[:, 1] += 1.0

    assert not torch.equal(said(model, found), said(model, found, change))
    without(model, units, "observation", 1)
    assert torch.equal(said(model, found), said(model, found, change))


@every_case
def test_wiring_leaves_the_agent_and_the_generators_as_they_were(case: Case) -> None:
    model = case.make(0)
    model.policy.set_training_mode(True)
    modes = [module.training for module in model.policy.modules()]
    before, generator = tensors(model), torch.get_rng_state()
    assert wiring(model) == wiring(model)
    assert differing(before, tensors(model)) == []
    assert torch.equal(generator, torch.get_rng_state())
    assert any(modes), "there is a mode to be lost"
    assert modes == [module.training for module in model.policy.modules()]
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.policy.modules())


# --- literal wiring --------------------------------------------------------------------------------------


def test_a_perceptrons_layers_follow_each_other() -> None:
    found = wiring(BY_NAME["ppo"].make(0))
    assert [layer.name for layer in found.hidden] == [f"{net}.{i}.weight" for net in (PI, V) for i in (0, 2)]
    layer = found.layer(f"{PI}.0.weight")
    assert layer == Layer(f"{PI}.0.weight", f"{PI}.0", "linear", (f"{PI}.0.bias",), None, 4, 8, (f"{PI}.1",))
    assert [feed.target for feed in found.out_of("observation")] == [f"{PI}.0.weight", f"{V}.0.weight"]
    (feed,) = found.into("action_net.weight")
    assert (feed.source, feed.units) == (f"{PI}.2.weight", tuple(range(8)))
    assert (found.observations, found.actions) == ({"observation": 4}, 0)


@pytest.mark.parametrize("name", ["sac", "td3", "tqc"])
def test_critics_take_observation_and_action_beside_each_other(name: str) -> None:
    found = wiring(BY_NAME[name].make(0))
    observation, action = found.into("critic.qf1.0.weight")
    assert (observation.source, observation.units) == ("observation", (0, 1, 2, -1))
    assert (action.source, action.units) == ("action", (-1, -1, -1, 0))
    assert found.actions == 1


def test_parts_of_a_dict_are_inputs_of_their_own() -> None:
    found = wiring(BY_NAME["ppo_dict"].make(0))
    cart, pole = found.into(f"{V}.0.weight")
    assert (cart.source, cart.units) == ("observation.cart", (0, 1, -1, -1))
    assert (pole.source, pole.units) == ("observation.pole", (-1, -1, 0, 1))


def test_discrete_observations_are_one_input_for_each_state() -> None:
    units = inputs(PPO("MlpPolicy", gym.make("FrozenLake-v1"), policy_kwargs={"net_arch": [5]}))
    assert units.layers == {"observation": 16}
    assert units[3].weights[f"{PI}.0.weight"].tolist() == [3, 19, 35, 51, 67]


def test_wide_layers_are_probed_in_several_passes() -> None:
    found = wiring(PPO("MlpPolicy", cartpole(), policy_kwargs={"net_arch": [150]}))
    assert found.into("value_net.weight")[0].units == tuple(range(150))


def test_an_lstms_unit_covers_four_gates_its_recurrent_column_and_what_it_feeds() -> None:
    model = BY_NAME["recurrent_ppo"].make(0)
    dense = rt.Mask.dense(model)
    units = neurons(model)
    unit = next(u for u in units if (u.layer, u.index) == ("lstm_actor.weight_ih_l0", 3))
    mask = units.keep([other is not unit for other in units], dense)
    rows, column = torch.zeros(32, dtype=torch.bool), torch.zeros(8, dtype=torch.bool)
    rows[[3, 11, 19, 27]], column[3] = True, True
    dropped = {name: ~mask[name] for name in mask if not mask[name].all()}
    assert set(dropped) == {"lstm_actor.weight_ih_l0", "lstm_actor.weight_hh_l0", f"{PI}.0.weight"}
    assert torch.equal(dropped["lstm_actor.weight_ih_l0"], rows[:, None].expand(32, 4))
    assert torch.equal(dropped["lstm_actor.weight_hh_l0"], rows[:, None] | column[None])
    assert torch.equal(dropped[f"{PI}.0.weight"], column[None].expand(8, 8))


def recurrent(**more: Any) -> BaseAlgorithm:
    return RecurrentPPO("MlpLstmPolicy", cartpole(), n_steps=8, policy_kwargs=small(lstm_hidden_size=6, **more))


def test_a_shared_lstm_feeds_both_and_a_critic_without_one_has_a_layer_instead() -> None:
    shared = wiring(recurrent(shared_lstm=True, enable_critic_lstm=False))
    assert [f.target for f in shared.out_of("lstm_actor.weight_ih_l0")] == [f"{PI}.0.weight", f"{V}.0.weight"]
    apart = wiring(recurrent(enable_critic_lstm=False))
    assert [f.target for f in apart.out_of("critic.weight")] == [f"{V}.0.weight"]
    assert neurons(recurrent(enable_critic_lstm=False)).layers["critic.weight"] == 6


def test_an_lstm_of_two_layers_feeds_itself_upwards() -> None:
    found = wiring(recurrent(n_lstm_layers=2))
    (feed,) = found.into("lstm_actor.weight_ih_l1")
    assert (feed.source, feed.units) == ("lstm_actor.weight_ih_l0", tuple(range(6)))
    assert [f.source for f in found.into(f"{PI}.0.weight")] == ["lstm_actor.weight_ih_l1"]


class Pair(gym.Env[np.ndarray, int]):
    """Images of two channels."""

    observation_space = spaces.Box(0, 255, (2, 8, 8), np.uint8)
    action_space = spaces.Discrete(2)


class Extractor(BaseFeaturesExtractor):
    """Features by a given network."""

    def __init__(self, space: spaces.Space[Any], network: Callable[[], nn.Module], width: int) -> None:
        super().__init__(space, width)
        self.network = network()

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.network(observations)


def with_features(env: Any, network: Callable[[], nn.Module], width: int, **more: Any) -> BaseAlgorithm:
    features = {
        "features_extractor_class": Extractor,
        "features_extractor_kwargs": {"network": network, "width": width},
    }
    return PPO("MlpPolicy", env, n_steps=8, batch_size=8, policy_kwargs={"net_arch": [4], **features, **more})


def test_a_channel_feeds_kernels_and_after_flattening_a_block_of_columns() -> None:
    def network() -> nn.Module:
        second = (nn.Conv2d(3, 2, 3), nn.MaxPool2d(2), nn.Flatten())
        return nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), *second)

    model = with_features(vec(Pair), network, 8)
    found = wiring(model)
    assert found.observations == {"observation": 2}
    first, second = "features_extractor.network.0.weight", "features_extractor.network.3.weight"
    assert found.layer(first).after == ("features_extractor.network.1", "features_extractor.network.2")
    assert found.into(second)[0].units == (0, 1, 2)
    assert found.into(f"{PI}.0.weight")[0].units == (0, 0, 0, 0, 1, 1, 1, 1)
    unit = next(unit for unit in neurons(model) if (unit.layer, unit.index) == (first, 1))
    mask = Units([unit]).keep([False], rt.Mask.dense(model))
    assert mask[first].flatten(1).any(1).tolist() == [True, False, True]
    assert mask[second].flatten(2).all(2).tolist() == [[True, False, True]] * 2
    seen = Units([inputs(model)[0]]).keep([False], rt.Mask.dense(model))
    assert seen[first].flatten(2).any(2).tolist() == [[False, True]] * 3


def test_weights_that_may_not_be_pruned_belong_to_no_unit() -> None:
    model = BY_NAME["ppo"].make(0)

    def prunable(name: str, parameter: nn.Parameter) -> bool:
        return name.startswith(PI) and name.endswith("weight")

    units = neurons(model, prunable)
    assert units.layers == {f"{PI}.0.weight": 8, f"{PI}.2.weight": 8}
    assert {name for unit in units for name in unit.weights} == set(rt.Mask.dense(model, prunable))
    scores = {name: kept.float() for name, kept in rt.Mask.dense(model, prunable).items()}
    assert sum(units.alive(select(scores, 0.5, units=units).mask)) == 8


# --- refusals --------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Features that attend to each other."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.MultiheadAttention(4, 1, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.heads(x[:, None], x[:, None], x[:, None])[0][:, 0]


class Skip(nn.Module):
    """A residual block."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class Twice(Skip):
    """A layer that is applied twice."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(self.inner(x).tanh())


class Signs(nn.Module):
    """Features of which only the signs go on."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x > 0).float()


class Recurrence(nn.Module):
    """Features by a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x[None])[0][0]


class Noisy(nn.Linear):
    """A layer with a forward pass of its own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x.flip(1))


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        (Attention, r"'features_extractor.network.heads' \(MultiheadAttention\) is not understood: .* `prunable`, or"),
        (Recurrence, r"'features_extractor.network.gru' \(GRU\) is not understood"),
        (lambda: Noisy(4, 4), r"'features_extractor.network' \(Noisy\) is not understood"),
        (
            lambda: nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4)),
            r"mixed by '.*network\.1' \(LayerNorm\), so none can",
        ),
        (lambda: nn.LayerNorm(4), r"units of 'observation' reach '.*' mixed by '.*network' \(LayerNorm\)"),
        (Skip, r"input 0 of '.*policy_net.0.weight' hears both 'observation' and '.*inner.weight', so no unit of them"),
        (Twice, r"'features_extractor.network.inner' is fed its own outputs"),
        (Signs, r"input 0 of '.*' comes from no observation, action or layer that wiring knows; prune single weights"),
        (lambda: nn.Linear(3, 3), r"cannot be run on observations of zeros, so its wiring is unknown \(RuntimeError: "),
    ],
    ids=["attention", "gru", "own_forward", "layer_norm", "input_norm", "skip", "twice", "signs", "misshapen"],
)
def test_what_cannot_be_told_apart_is_refused_by_module(network: Callable[[], nn.Module], sentence: str) -> None:
    model = with_features(cartpole(), network, 4)
    for ask in (wiring, neurons, inputs):
        with pytest.raises(WiringError, match=sentence):
            ask(model)


def test_grouped_convolutions_and_two_way_lstms_are_refused() -> None:
    grouped = with_features(vec(Pair), lambda: nn.Sequential(nn.Conv2d(2, 2, 3, groups=2), nn.Flatten()), 72)
    with pytest.raises(WiringError, match=r"network\.0' \(Conv2d\) is not understood: .* ungrouped Conv"):
        wiring(grouped)
    with pytest.raises(WiringError, match=r"'lstm_actor' \(LSTM\) is not understood: .* one-way LSTM"):
        wiring(recurrent(lstm_kwargs={"bidirectional": True}))


def test_a_head_that_the_forward_pass_never_calls_is_refused_or_left_out() -> None:
    model = BY_NAME["own_heads"].make(0)
    with pytest.raises(
        WiringError, match=r"CuriousPolicy never calls 'forward_head', .*; leave it out with `prunable`"
    ):
        neurons(model)
    units = neurons(model, lambda name, p: p.ndim == 2 and not name.startswith("forward_head"))
    assert len(units) == 2 * MLP


class Asking(ActorCriticPolicy):
    """A policy that wants more than observations."""

    def forward(self, obs: torch.Tensor, goal: torch.Tensor) -> Any:  # type: ignore[override]
        return super().forward(obs + goal)


def test_a_forward_pass_that_wants_something_unknown_is_refused() -> None:
    model = PPO(Asking, cartpole(), n_steps=8, batch_size=8)
    with pytest.raises(WiringError, match=r"Asking\.forward wants 'goal', of which wiring knows nothing"):
        wiring(model)


def test_a_policy_without_hidden_layers_has_no_neurons_but_inputs() -> None:
    model = PPO("MlpPolicy", cartpole(), policy_kwargs={"net_arch": []})
    with pytest.raises(WiringError, match="this PPO policy has no hidden units to prune; prune single weights"):
        neurons(model)
    assert set(inputs(model)[0].weights) == {"action_net.weight", "value_net.weight"}


def test_inputs_need_weights_that_may_be_pruned() -> None:
    with pytest.raises(WiringError, match="no weight that sees the observation may be pruned; check `prunable`"):
        inputs(BY_NAME["ppo"].make(0), lambda name, parameter: name == "action_net.weight")
