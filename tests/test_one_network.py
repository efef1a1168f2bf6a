"""One network pruned, the other dense: actor and critic alone, and what stands beside such tickets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from agents_matrix import CASES, Case
from stable_baselines3 import PPO
from tiny import PPO_EXPERIMENT, make_dqn, make_ppo

import rl_tickets as rt
from rl_tickets.agents.anatomy import prunable_weights
from rl_tickets.agents.networks import Network, prunable_in
from rl_tickets.lab.store import Store
from rl_tickets.report.rows import Run
from rl_tickets.report.tables import read_levels, read_series
from rl_tickets.training.requests import Trained

ACTOR = ["mlp_extractor.policy_net.0.weight", "action_net.weight"]
CRITIC = ["mlp_extractor.value_net.0.weight", "value_net.weight"]
BIRD = rt.EarlyBird(every=32, window=1, threshold=0.9)


def small(seed: int, width: int) -> PPO:
    return make_ppo(seed, policy_kwargs={"net_arch": [width]})


EXPERIMENT = replace(
    PPO_EXPERIMENT,
    seeds=1,
    dense_seeds=1,
    searches={
        "imp": rt.IMP(),
        "actor": rt.IMP(network="actor"),
        "critic": rt.IMP(network="critic", criterion=rt.magnitude),
        "neurons": rt.IMP(network="actor", units=rt.neurons),
        "early": rt.IMP(network="critic", early_bird=BIRD),
        "early_levels": rt.EarlyBirdIMP(network="actor", early_bird=BIRD),
        "reinit": rt.Control(rt.random_reinit, of="actor"),
        "small": rt.SmallDense(small, of="critic"),
    },
    trainer=rt.Plain(),
    keep="all",
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    rt.run(EXPERIMENT, jobs=1, out=folder)
    return folder / "tiny"


@pytest.fixture(scope="module")
def trained(out: Path) -> dict[Run, Trained]:
    store = Store(out)
    runs = [row.run for row in read_levels(out)]
    return {run: found for run in runs if (found := store.trained(run)) is not None}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_prunable_weight_is_one_networks(case: Case) -> None:
    model = case.make(0)
    parts: dict[Network, tuple[str, ...]] = {"actor": case.actor, "critic": case.critic, "shared": case.shared}
    for network, names in parts.items():
        if names:
            assert set(prunable_weights(model, prunable_in(network, model))) == set(names)
        else:
            with pytest.raises(ValueError, match=f"no prunable weights of this .* belong to network '{network}'"):
                prunable_in(network, model)


@pytest.mark.parametrize(
    ("search", "names"),
    [("actor", ACTOR), ("critic", CRITIC), ("early", CRITIC), ("early_levels", ACTOR), ("reinit", ACTOR)],
)
def test_only_the_networks_weights_are_pruned(
    search: str, names: list[str], trained: dict[Run, Trained], out: Path
) -> None:
    levels = [row for row in read_levels(out) if row.run.search == search and row.run.level and not row.run.variant]
    assert len(levels) == 2
    for row in levels:
        found = trained[row.run]
        assert list(found.mask) == names
        assert row.density == found.mask.density == pytest.approx(EXPERIMENT.densities[row.run.level], abs=0.01)
        for name, weight in found.end.policy.items():
            if name in names:
                assert torch.equal(weight != 0, found.mask[name])
            elif name in (*ACTOR, *CRITIC):
                assert weight.all()


def test_a_level_prunes_that_network_by_what_the_level_before_trained(trained: dict[Run, Trained]) -> None:
    before = trained[Run("dense", 0, 0)]
    within = before.mask.part(CRITIC)
    for level in (1, 2):
        weights = {name: before.end.policy[name] for name in CRITIC}
        found = rt.prune(weights, EXPERIMENT.densities[level], criterion=rt.magnitude, within=within)
        before = trained[Run("critic", 0, level)]
        within = before.mask
        assert within == found.mask


def test_units_are_the_networks(trained: dict[Run, Trained]) -> None:
    mask = trained[Run("neurons", 0, 1)].mask
    assert list(mask) == ACTOR
    assert int(mask[ACTOR[0]].any(1).sum()) == 8


def test_mask_distances_are_of_what_is_pruned(out: Path) -> None:
    (row,) = (row for row in read_levels(out) if row.run == Run("actor", 0, 1))
    # A mask within the full one differs from it where it drops.
    assert row.mask_distance == pytest.approx((1 - row.density) / (1 + row.density))


def test_a_small_dense_agent_has_what_both_networks_keep(out: Path) -> None:
    whole, critic = (4 + 2 + 4 + 1) * 16, (4 + 1) * 16
    for row in read_series(out, table="sizes"):
        assert row.columns["ticket_weights"] == (whole - critic + round(critic * EXPERIMENT.densities[row.run.level]),)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "policy"}, 'network must be "actor", "critic" or "shared", got \'policy\''),
        ({"network": True}, 'network must be "actor", "critic" or "shared", got True'),
    ],
)
def test_an_unknown_network_is_refused_at_once(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rt.IMP(**changes)


def test_a_network_that_the_agent_lacks_is_refused_before_anything_trains(tmp_path: Path) -> None:
    experiment = replace(EXPERIMENT, make_model=make_dqn, searches={"actor": rt.IMP(network="actor")})
    with pytest.raises(ValueError, match="of this DQN belong to network 'actor'; choose"):
        rt.run(experiment, jobs=1, out=tmp_path)
    assert not list(tmp_path.rglob("levels.csv"))


BIRD = rt.EarlyBird(every=32, window=1, threshold=0.9)
FOUND = {
    "early-bird": rt.EarlyBirdIMP(early_bird=BIRD, units=rt.neurons, network="actor"),
    "drawn early": rt.DrawnEarly(at=(64,), every=32, units=rt.neurons, network="actor"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_watches_sparse_levels_is_told_of_that_network_alone(name: str, tmp_path: Path) -> None:
    plan = FOUND[name]
    rt.run(replace(PPO_EXPERIMENT, searches={"found": plan}, callback=None), jobs=1, out=tmp_path)
    store = Store(tmp_path / PPO_EXPERIMENT.name)
    for row in read_levels(store.folder):
        if row.run.search == "found":
            assert {name.split(".")[1] for name in store.trained(row.run).mask} <= {"policy_net", "weight"}


@pytest.mark.filterwarnings("ignore:effective densities stay blank")
def test_biases_are_pruned_with_early_bird_too(tmp_path: Path) -> None:
    everything = replace(PPO_EXPERIMENT, prunable=lambda name, _: not name.startswith("value"), callback=None)
    plan = rt.EarlyBirdIMP(early_bird=BIRD, criterion=rt.magnitude)
    assert rt.run(replace(everything, searches={"found": plan}), jobs=1, out=tmp_path).searches
