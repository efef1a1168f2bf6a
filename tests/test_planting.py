"""Planting: a ticket grows in any agent of its architecture, with plain SB3."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, cartpole, differing, pendulum, small
from stable_baselines3 import A2C, PPO, SAC

import rl_tickets as rt
from rl_tickets.agents.holding import held_mask


@cache
def ticket_of(name: str) -> rt.Ticket:
    case = BY_NAME[name]
    levels = rt.find_tickets(case.make, total_timesteps=case.total, densities=(1.0, 0.5), rewind=rt.Rewind(at=case.at))
    return list(levels)[1].ticket


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_planted_ticket_is_start_times_mask_and_stays_sparse(case: Case, tmp_path: Path) -> None:
    ticket = rt.Ticket.load(ticket_of(case.name).save(tmp_path / "ticket"))
    model = ticket.plant(case.make(1))
    assert held_mask(model) == ticket.mask
    named = dict(model.policy.named_parameters())
    for name in ticket.mask:
        assert torch.equal(named[name], ticket.weights[name] * ticket.mask[name])
    unpruned = {name for name in named if name not in ticket.mask} - {copy for copy in named if "target" in copy}
    assert all(torch.equal(named[name], ticket.weights[name]) for name in unpruned)
    assert model.learn(case.total) is model
    assert not any(named[name][~kept].any() for name, kept in ticket.mask.items())


def test_planting_is_deterministic() -> None:
    ends = [dict(ticket_of("sac").plant(BY_NAME["sac"].make(1)).learn(48).policy.state_dict()) for _ in range(2)]
    assert differing(*ends) == []


def test_the_ticket_stays_as_it_was() -> None:
    ticket = ticket_of("ppo")
    before = ticket.digest
    ticket.plant(BY_NAME["ppo"].make(1)).learn(96)
    assert ticket.digest == before


def test_planting_again_replaces_weights_and_mask() -> None:
    model = BY_NAME["ppo"].make(1)
    rt.hold(model, rt.Mask.dense(model))
    model.learn(32)
    ticket = ticket_of("ppo")
    ticket.plant(model)
    assert held_mask(model) == ticket.mask
    assert differing(dict(model.policy.state_dict()), ticket.mask.apply(ticket.weights)) == []


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"net_arch": [9, 8]},
            r"'mlp_extractor.policy_net.0.weight' has shape \(8, 4\) in the ticket, \(9, 4\) in the",
        ),
        ({"net_arch": [8]}, "only the ticket has 'mlp_extractor.policy_net.2.weight'"),
        ({"net_arch": [8, 8, 8]}, "only the agent has 'mlp_extractor.policy_net.4.weight'"),
    ],
)
def test_another_architecture_is_refused_by_its_first_difference(kwargs: dict[str, Any], message: str) -> None:
    model = PPO("MlpPolicy", cartpole(), policy_kwargs=kwargs)
    before = {name: weight.clone() for name, weight in model.policy.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        ticket_of("ppo").plant(model)
    assert differing(dict(model.policy.state_dict()), before) == []
    assert held_mask(model) is None


def test_only_agents_can_be_planted_in() -> None:
    with pytest.raises(TypeError, match="not in a str"):
        ticket_of("ppo").plant("a pot")


def test_statistics_of_vecnormalize_travel(tmp_path: Path) -> None:
    ticket = rt.Ticket.load(ticket_of("sac").save(tmp_path / "ticket"))
    model = ticket.plant(BY_NAME["sac"].make(1))
    normalize = model.get_vec_normalize_env()
    assert normalize is not None
    expected = ticket.state["normalizer"]["observations"][""]
    assert np.array_equal(normalize.obs_rms.mean, expected["mean"])  # type: ignore[union-attr]
    assert np.array_equal(normalize.obs_rms.var, expected["var"])  # type: ignore[union-attr]
    assert np.abs(expected["mean"]).max() > 0


def test_statistics_without_a_place_to_go_are_refused() -> None:
    kwargs: dict[str, Any] = {"policy_kwargs": small(), "buffer_size": 10}
    model = SAC("MlpPolicy", pendulum(), **kwargs)
    with pytest.raises(ValueError, match=r"has no VecNormalize; wrap it in one"):
        ticket_of("sac").plant(model)


def test_moments_that_do_not_fit_are_refused_before_anything_is_set() -> None:
    kwargs: dict[str, Any] = {"policy_kwargs": small(), "buffer_size": 10}
    model = SAC("MlpPolicy", pendulum(normalize=True), ent_coef=0.1, **kwargs)
    before = {name: weight.clone() for name, weight in model.policy.state_dict().items()}
    with pytest.raises(ValueError, match="'ent_coef_optimizer', an optimizer this agent lacks"):
        ticket_of("sac").plant(model)
    assert differing(dict(model.policy.state_dict()), before) == []


def test_moments_of_another_kind_of_optimizer_are_refused() -> None:
    model = A2C("MlpPolicy", cartpole(), policy_kwargs=small())
    with pytest.raises(
        ValueError,
        match=r"moments for 'policy.optimizer' are of another kind of optimizer than this agent's RMSprop",
    ):
        ticket_of("ppo").plant(model)


@pytest.mark.parametrize("at", [0, 32])
def test_optimizers_keep_the_settings_of_the_agent(at: int) -> None:
    *_, level = rt.find_tickets(ppo, total_timesteps=64, densities=(1.0, 0.5), rewind=rt.Rewind(at=at))
    settings = {"betas": (0.5, 0.6), "eps": 1e-3, "weight_decay": 0.2}
    model = ppo(1, policy_kwargs={"net_arch": [8], "optimizer_kwargs": settings})
    optimizer = level.ticket.plant(model).policy.optimizer
    assert {name: optimizer.param_groups[0][name] for name in settings} == settings
    ours, theirs = optimizer.state_dict()["state"], level.ticket.state["optimizers"]["policy.optimizer"]["state"]
    assert bool(ours) == (at > 0)
    for index, moments in theirs.items():
        kept = ours[index]["exp_avg"] != 0  # Those of pruned weights are zero.
        assert torch.equal(ours[index]["exp_avg"], moments["exp_avg"] * kept)
        assert kept.any()
    model.learn(32)
    assert {name: optimizer.param_groups[0][name] for name in settings} == settings


def ppo(seed: int, **settings: Any) -> PPO:
    made = {"n_steps": 32, "batch_size": 32, "policy_kwargs": {"net_arch": [8]}, **settings}
    return PPO("MlpPolicy", "CartPole-v1", seed=seed, device="cpu", **made)


def test_the_entropy_coefficient_of_sac_travels_with_its_moments() -> None:
    def make_model(seed: int) -> SAC:
        return SAC("MlpPolicy", "Pendulum-v1", learning_starts=20, policy_kwargs={"net_arch": [8]}, seed=seed)

    levels = rt.find_tickets(make_model, total_timesteps=120, densities=(1.0, 0.5), rewind=rt.Rewind(at=60))
    ticket = list(levels)[-1].ticket
    planted = ticket.plant(make_model(seed=7))
    assert planted.log_ent_coef.item() != make_model(seed=7).log_ent_coef.item()
    assert planted.log_ent_coef.item() == ticket.state["tensors"]["log_ent_coef"].item()
