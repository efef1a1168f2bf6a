"""Anatomy: weights, their owners and their copies are found in every agent of the matrix, by no list of algorithms."""

from collections.abc import Callable

import gymnasium as gym
import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, Image, cartpole, pendulum, vec
from sb3_contrib import ARS
from stable_baselines3 import DQN, PPO, TD3
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

import rl_tickets as rt
from rl_tickets.agents import anatomy
from rl_tickets.agents.networks import network_of
from rl_tickets.tickets.selecting import prune

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@every_case
def test_prunable_weights_are_those_of_the_table_in_the_policys_order(case: Case) -> None:
    model = case.make(0)
    found = anatomy.prunable_weights(model)
    assert set(found) == case.prunable
    named = dict(model.policy.named_parameters())
    assert list(found) == [name for name in named if name in found]
    assert all(found[name] is named[name] for name in found)


@every_case
def test_every_weight_belongs_to_its_network(case: Case) -> None:
    model = case.make(0)
    copies = anatomy.copies(model)
    owners = {name: network_of(name, copies) for name in anatomy.prunable_weights(model)}
    expected = {**dict.fromkeys(case.actor, "actor"), **dict.fromkeys(case.critic, "critic")}
    assert owners == {**expected, **dict.fromkeys(case.shared, "shared")}


@every_case
def test_twins_are_the_target_networks_and_nothing_else(case: Case) -> None:
    model = case.make(0)
    names = {id(p): name for name, p in model.policy.named_parameters()}
    found = {names[id(copy)]: names[id(p)] for p, copy in anatomy.twins(model)}
    origins = dict(case.twins)
    heads = [name for name in names.values() if name.split(".")[0] in origins]
    assert set(found) == set(heads)
    online = dict(model.policy.named_parameters(remove_duplicate=False))
    for copy, origin in found.items():
        head, _, rest = copy.partition(".")
        assert names[id(online[f"{origins[head]}.{rest}"])] == origin


@every_case
def test_every_optimizer_is_found(case: Case) -> None:
    assert set(anatomy.optimizers(case.make(0))) == set(case.optimizers)


@every_case
def test_biases_norms_and_log_std_are_never_prunable(case: Case) -> None:
    for name, parameter in anatomy.prunable_weights(case.make(0)).items():
        assert parameter.ndim >= 2
        assert name.endswith(("weight", "weight_ih_l0", "weight_hh_l0"))


def test_copies_name_every_place_of_a_shared_extractor() -> None:
    copies = anatomy.copies(BY_NAME["ppo_images"].make(0))
    weight = "features_extractor.cnn.0.weight"
    assert {alias for alias, origin in copies.items() if origin == weight} == {f"pi_{weight}", f"vf_{weight}"}


def test_copies_name_target_networks() -> None:
    copies = anatomy.copies(BY_NAME["td3"].make(0))
    assert copies["critic_target.qf1.0.weight"] == "critic.qf1.0.weight"
    assert copies["actor_target.mu.0.weight"] == "actor.mu.0.weight"


def test_the_user_chooses_what_may_be_pruned() -> None:
    model = BY_NAME["ppo"].make(0)
    mask = rt.Mask.dense(model, lambda name, parameter: name.startswith("mlp_extractor") and parameter.ndim == 2)
    assert set(mask) == BY_NAME["ppo"].prunable - {"action_net.weight", "value_net.weight"}
    with pytest.raises(ValueError, match="no parameter of this PPO policy may be pruned"):
        rt.Mask.dense(model, lambda name, parameter: False)


def test_weights_that_no_optimizer_trains_are_not_prunable() -> None:
    model = BY_NAME["ppo"].make(0)
    model.policy.frozen = nn.Linear(3, 3)
    assert not any(name.startswith("frozen") for name in rt.Mask.dense(model))


def test_ars_is_refused_in_one_clear_sentence() -> None:
    model = ARS("LinearPolicy", gym.make("Pendulum-v1"), n_delta=1)
    with pytest.raises(ValueError, match=r"ARS has no torch optimizer.*such as PPO or SAC"):
        rt.Mask.dense(model)
    with pytest.raises(ValueError, match="ARS has no torch optimizer"):
        rt.find_tickets(
            lambda seed: ARS("LinearPolicy", gym.make("Pendulum-v1"), n_delta=1),
            total_timesteps=100,
            densities=(1.0, 0.5),
        )


def test_loose_tensors_are_those_of_no_network() -> None:
    sac = BY_NAME["sac"].make(0)
    assert set(anatomy.loose_tensors(sac)) == {"log_ent_coef"}
    assert set(anatomy.loose_tensors(BY_NAME["own_writing"].make(0))) == {"drift.0"}
    sac.batch_norm_stats = [next(iter(sac.policy.parameters()))]
    assert set(anatomy.loose_tensors(sac)) == {"log_ent_coef"}


def test_an_attribute_network_outside_the_policy_is_found_with_its_optimizer() -> None:
    model = BY_NAME["ppo"].make(0)
    model.guess = nn.Linear(4, 4)  # type: ignore[attr-defined]
    model.guessing = [torch.optim.SGD(model.guess.parameters(), lr=0.1)]  # type: ignore[attr-defined]
    assert list(anatomy.modules(model)) == ["policy", "guess"]
    assert "guessing.0" in anatomy.optimizers(model)


def test_the_network_scope_gives_each_extractor_the_budget_of_its_owner() -> None:
    model = BY_NAME["ppo_images_apart"].make(0)
    copies = anatomy.copies(model)
    weights = anatomy.prunable_weights(model)
    pruned = prune(weights, 0.25, criterion=rt.lamp, scope="network", network_of=lambda name: network_of(name, copies))
    layers = pruned.mask.layers
    actor = [name for name in layers if not name.startswith(("vf_", "value"))]
    assert sum(layers[name].kept for name in actor) == round(0.25 * sum(layers[name].total for name in actor))


@pytest.mark.parametrize(
    ("env", "name"),
    [
        (lambda: cartpole(2), "CartPole-v1"),
        (lambda: pendulum(2, True), "Pendulum-v1"),
        (lambda: vec(Image, normalize=False), "Image"),
    ],
)
def test_environments_are_called_by_their_id_or_class(env: Callable[[], VecEnv], name: str) -> None:
    policy = "CnnPolicy" if name == "Image" else "MlpPolicy"
    assert anatomy.environment_name(PPO(policy, env(), n_steps=8, batch_size=8)) == name


def test_a_rollout_is_as_long_as_the_agent_makes_it() -> None:
    small = {"buffer_size": 100, "policy_kwargs": {"net_arch": [4]}}
    assert anatomy.rollout_steps(PPO("MlpPolicy", cartpole(3), n_steps=8, batch_size=8)) == 24
    assert anatomy.rollout_steps(DQN("MlpPolicy", cartpole(), train_freq=4, **small)) == 4
    assert anatomy.rollout_steps(DQN("MlpPolicy", cartpole(2), train_freq=(5, "step"), **small)) == 10
    episodes = TD3("MlpPolicy", pendulum(), train_freq=(2, "episode"), learning_starts=10, **small)
    assert anatomy.rollout_steps(episodes) == 1
    assert anatomy.shortest_run(episodes) == 2 * 2 * 200, "a time limit of 200 steps"
