"""Controls: each differs from its ticket in exactly what it claims, and in nothing else."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from agents_matrix import BY_NAME, cartpole
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from test_archive import same

import rl_tickets as rt
from rl_tickets.search.controls import MakeControl

CONTROLS: list[MakeControl] = [
    rt.random_reinit,
    rt.rescaled_reinit,
    rt.connected_random_mask,
    rt.connected_permuted_mask,
    rt.random_mask,
    rt.permuted_mask,
    rt.permuted_weights,
]
PERMUTED: list[MakeControl] = [rt.permuted_mask, rt.connected_permuted_mask]
RANDOM: list[MakeControl] = [rt.random_mask, rt.connected_random_mask]
AGENTS = ["ppo", "dqn", "ppo_images", "sac_images_shared"]
ALIASES = {"ppo": 0, "dqn": 3, "ppo_images": 8, "sac_images_shared": 14}
"""Names in the policy's state_dict that repeat a prunable weight or are its target twin."""


@cache
def tickets(agent: str) -> tuple[rt.Ticket, ...]:
    """Tickets of densities 1, 0.5 and 0.2, found by training, with the state of a rewind point after initialisation."""
    case = BY_NAME[agent]
    levels = rt.find_tickets(
        case.make,
        total_timesteps=case.total,
        densities=(1.0, 0.5, 0.2) if agent == "ppo" else (1.0, 0.5),
        criterion=rt.lamp,  # leaves every layer several weights, which can then change places
        rewind=rt.Rewind(at=case.at, replay_buffer=agent.startswith("ppo")),
        seed=3,
    )
    return tuple(level.ticket for level in levels)


def control_of(make: MakeControl, agent: str, *, seed: int = 0, level: int = 1) -> rt.Ticket:
    return make(tickets(agent)[level], BY_NAME[agent].make, seed=seed)


def by_hand(mask: torch.Tensor, weights: torch.Tensor) -> rt.Ticket:
    return rt.Ticket(rt.Mask({"w": mask}), {"w": weights})


def moved(one: rt.Ticket, two: rt.Ticket) -> set[str]:
    """Names of the weights that differ."""
    assert list(one.weights) == list(two.weights)
    assert all(one.weights[name].shape == two.weights[name].shape for name in one.weights)
    return {name for name in one.weights if not torch.equal(one.weights[name], two.weights[name])}


# --- what all of them owe --------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("control", CONTROLS)
def test_a_control_says_what_it_is_and_keeps_all_state_but_the_moments(control: MakeControl, agent: str) -> None:
    ticket = tickets(agent)[1]
    before = ticket.digest
    changed = control_of(control, agent, seed=11)
    assert ticket.digest == before, "the ticket itself stays as it is"
    assert "control" not in ticket.provenance
    assert ticket.state["optimizers"] is not None
    assert same(dict(changed.state), {**ticket.state, "optimizers": None})
    said = {"control": control.__name__, "control_seed": 11, "of": before}
    assert same(dict(changed.provenance), {**ticket.provenance, **said})
    assert changed.digest != before
    assert changed.mask.kept == ticket.mask.kept


@pytest.mark.parametrize("control", CONTROLS)
def test_the_same_seed_changes_alike_and_another_otherwise(control: MakeControl) -> None:
    digests = [control_of(control, "ppo", seed=seed).digest for seed in (5, 5, 6)]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize("control", CONTROLS[4:])
def test_controls_that_make_no_agent_leave_the_global_generators_alone(control: MakeControl) -> None:
    ticket = tickets("ppo")[1]
    before = torch.get_rng_state()
    control(ticket, seed=0)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("control", CONTROLS)
def test_a_planted_control_starts_at_its_weights_under_its_mask(control: MakeControl, agent: str) -> None:
    changed = control_of(control, agent)
    model = changed.plant(BY_NAME[agent].make(8))
    copies = changed.state["copies"]
    for name, weight in model.policy.state_dict().items():
        origin = copies.get(name, name)
        kept = changed.mask[origin] if origin in changed.mask else torch.ones(weight.shape, dtype=torch.bool)
        assert torch.equal(weight, changed.weights[name] * kept), name


# --- permuted weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("agent", AGENTS)
def test_permuted_weights_move_kept_weights_within_layers_and_copies_follow(agent: str) -> None:
    ticket, changed = tickets(agent)[1], control_of(rt.permuted_weights, agent, seed=2)
    copies = ticket.state["copies"]
    followers = {copy: origin for copy, origin in copies.items() if origin in ticket.mask}
    assert len(followers) == ALIASES[agent], sorted(copies)
    assert changed.mask == ticket.mask
    # A layer that keeps one weight has nothing to permute.
    several = {name for name, count in ticket.mask.layers.items() if count.kept > 1}
    assert moved(ticket, changed) == several | {copy for copy, origin in followers.items() if origin in several}
    for name, kept in ticket.mask.items():
        group = [name, *(follower for follower, origin in followers.items() if origin == name)]
        # Values that stood in one place before stand in one place after, whichever that is.
        before, after = (torch.stack([each.weights[n][kept] for n in group]) for each in (ticket, changed))
        pairs = (torch.unique(values, dim=1, return_counts=True) for values in (before, after))
        assert all(map(torch.equal, *pairs))
        for member in group:
            assert torch.equal(ticket.weights[member][~kept], changed.weights[member][~kept])


def test_the_case_has_target_twins_that_lag_behind_their_origins() -> None:
    ticket = tickets("dqn")[1]
    twins = ticket.state["copies"].items()
    assert not any(torch.equal(ticket.weights[twin], ticket.weights[origin]) for twin, origin in twins)


def test_permuted_weights_of_a_dense_ticket_permute_whole_layers() -> None:
    ticket = tickets("ppo")[0]
    assert moved(ticket, rt.permuted_weights(ticket, seed=0)) == set(ticket.mask)


def test_permuted_weights_need_two_different_weights_in_a_layer() -> None:
    sentence = "permuted_weights changed nothing: no layer of this ticket keeps two different weights"
    alone = by_hand(torch.tensor([True, False]), torch.tensor([1.0, 2.0]))
    alike = by_hand(torch.tensor([True, True, False]), torch.tensor([1.0, 1.0, 2.0]))
    for ticket in (alone, alike):
        with pytest.raises(ValueError, match=sentence):
            rt.permuted_weights(ticket, seed=0)


# --- permuted and random masks ---------------------------------------------------------------------------


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("control", PERMUTED)
def test_a_permuted_mask_keeps_weights_and_layer_densities(control: MakeControl, agent: str) -> None:
    ticket, changed = tickets(agent)[1], control_of(control, agent)
    assert moved(ticket, changed) == set()
    assert changed.mask.layers == ticket.mask.layers
    assert list(changed.mask) == list(ticket.mask)
    chance = sum(2 * c.kept * (1 - c.density) for c in ticket.mask.layers.values()) / ticket.mask.total
    assert changed.mask.distance(ticket.mask) == pytest.approx(chance, abs=3 / ticket.mask.total**0.5)


@pytest.mark.parametrize("agent", AGENTS)
@pytest.mark.parametrize("control", RANDOM)
def test_a_random_mask_keeps_weights_and_count_but_spreads_them_evenly(control: MakeControl, agent: str) -> None:
    ticket, changed = tickets(agent)[1], control_of(control, agent)
    assert moved(ticket, changed) == set()
    assert changed.mask.kept == ticket.mask.kept
    assert changed.mask.layers != ticket.mask.layers
    for count in changed.mask.layers.values():
        assert count.density == pytest.approx(ticket.density, abs=3 * 0.5 / count.total**0.5)
    assert changed.mask.distance(ticket.mask) == pytest.approx(
        changed.mask.chance_distance(ticket.mask), abs=3 / ticket.mask.total**0.5
    )


def test_a_layer_of_a_random_mask_keeps_as_many_as_chance_gives_it() -> None:
    """Hypergeometric counts, in mean and in spread: no layer has a budget of its own."""
    ticket = tickets("ppo")[1]
    masks = [rt.random_mask(ticket, seed=seed).mask for seed in range(60)]
    total, density = ticket.mask.total, ticket.density
    for name, count in ticket.mask.layers.items():
        kept = torch.tensor([float(mask.layers[name].kept) for mask in masks])
        spread = (count.total * density * (1 - density) * (total - count.total) / (total - 1)) ** 0.5
        assert float(kept.mean()) == pytest.approx(count.total * density, abs=4 * spread / 60**0.5)
        assert float(kept.std()) == pytest.approx(spread, rel=0.4)


def test_random_masks_of_one_search_nest() -> None:
    masks = [control_of(rt.random_mask, "ppo", level=level).mask for level in (1, 2)]
    assert all(later.is_within(earlier) for earlier, later in pairwise(masks))
    assert masks[1].density == pytest.approx(0.2, abs=0.01)


def test_a_connected_random_mask_has_the_layer_counts_of_the_plain_one_where_they_leave_a_path() -> None:
    ticket = tickets("ppo")[1]
    plain, connected = rt.random_mask(ticket, seed=4), rt.connected_random_mask(ticket, BY_NAME["ppo"].make, seed=4)
    assert connected.mask.layers == plain.mask.layers
    assert connected.mask != plain.mask


def test_a_connected_random_mask_gives_a_head_one_weight_for_each_output() -> None:
    """A plain mask of so few weights often leaves the actor's head, of two outputs, but one."""
    ticket = tickets("ppo")[0]
    kept = {name: torch.zeros_like(bits) for name, bits in ticket.mask.items()}
    for name in kept:
        kept[name][:2, 0] = True
    kept["value_net.weight"][0, 1] = True
    kept["mlp_extractor.value_net.2.weight"][0, 1] = True
    thin = replace(ticket, mask=rt.Mask(kept))
    head = "action_net.weight"
    plain, connected = ([make(thin, BY_NAME["ppo"].make, seed=s).mask for s in range(12)] for make in RANDOM)
    assert min(mask.layers[head].kept for mask in plain) == 1
    assert min(mask.layers[head].kept for mask in connected) >= 2
    assert {mask.kept for mask in connected} == {thin.mask.kept}
    model = BY_NAME["ppo"].make(0)
    assert all(rt.paths(model, mask).live_outputs == 1 for mask in connected)
    assert max(rt.paths(model, mask).live_outputs for mask in plain) < 1, "and no plain one leaves all paths"


@pytest.mark.parametrize("draw", range(20))
def test_a_mask_of_two_weights_becomes_the_only_other_one(draw: int) -> None:
    ticket = by_hand(torch.tensor([True, False]), torch.tensor([1.0, 2.0]))
    for control in (rt.permuted_mask, rt.random_mask):
        assert control(ticket, seed=draw).mask["w"].tolist() == [False, True]


def test_dense_tickets_have_no_other_mask() -> None:
    ticket = tickets("ppo")[0]
    with pytest.raises(ValueError, match="permuted_mask changed nothing: every layer of this ticket is full or empty"):
        rt.permuted_mask(ticket, seed=0)
    with pytest.raises(ValueError, match="random_mask changed nothing: a dense ticket has only one mask"):
        rt.random_mask(ticket, seed=0)
    make = BY_NAME["ppo"].make
    with pytest.raises(ValueError, match="connected_permuted_mask changed nothing: no other mask with this ticket's"):
        rt.connected_permuted_mask(ticket, make, seed=0)
    with pytest.raises(ValueError, match="connected_random_mask changed nothing: a dense ticket has only one mask"):
        rt.connected_random_mask(ticket, make, seed=0)


def test_connected_masks_need_an_agent_whose_wiring_is_understood() -> None:
    for control in (rt.connected_permuted_mask, rt.connected_random_mask):
        with pytest.raises(TypeError, match=f"{control.__name__} needs make_model, whose agent tells what feeds what"):
            control(tickets("ppo")[1], seed=0)
    make = BY_NAME["own_heads"].make
    model = make(0)
    kept = {name: torch.rand(bits.shape) < 0.5 for name, bits in rt.Mask.dense(model).items()}
    with pytest.raises(rt.WiringError, match="never calls 'forward_head'"):
        rt.connected_permuted_mask(rt.Ticket(rt.Mask(kept), model.policy.state_dict()), make, seed=0)


# --- random re-initialisation ----------------------------------------------------------------------------


@pytest.mark.parametrize("agent", AGENTS)
def test_random_reinit_has_the_mask_and_the_weights_of_a_fresh_agent(agent: str) -> None:
    ticket = tickets(agent)[1]
    made: list[int] = []

    def make(seed: int) -> BaseAlgorithm:
        made.append(seed)
        return BY_NAME[agent].make(seed)

    changed = rt.random_reinit(ticket, make, seed=2)
    assert changed.mask == ticket.mask
    assert set(ticket.mask) <= moved(ticket, changed)
    assert len(made) == 1
    fresh = BY_NAME[agent].make(made[0]).policy.state_dict()
    assert all(torch.equal(changed.weights[name], fresh[name]) for name in fresh)
    assert made[0] not in (2, ticket.provenance["seed"])


@pytest.mark.parametrize("agent", AGENTS)
def test_rescaled_reinit_has_the_directions_of_the_fresh_agent_and_the_norms_of_the_ticket(agent: str) -> None:
    ticket = tickets(agent)[1]
    plain, scaled = (control_of(make, agent, seed=2) for make in (rt.random_reinit, rt.rescaled_reinit))
    copies = ticket.state["copies"]
    followers = {copy for copy, origin in copies.items() if origin in ticket.mask}
    assert scaled.mask == ticket.mask
    assert moved(plain, scaled) <= {*ticket.mask, *followers}
    assert moved(plain, scaled), "weights that training made larger are not of a fresh agent's norm"
    for name, kept in ticket.mask.items():
        one, two, own = (each.weights[name][kept].double() for each in (plain, scaled, ticket))
        assert float(two.norm()) == pytest.approx(float(own.norm()), rel=1e-6)
        assert float(one @ two) == pytest.approx(float(one.norm() * two.norm()), rel=1e-6), "the same direction"
        assert torch.equal(plain.weights[name][~kept], scaled.weights[name][~kept])
        for copy in (copy for copy, origin in copies.items() if origin == name):
            assert torch.equal(scaled.weights[copy], scaled.weights[name]), "a fresh agent's target equals its origin"


def test_rescaled_reinit_scales_by_a_number_known_beforehand() -> None:
    """Kept weights of norm 5 become those of norm 1; what is dropped stays as it was drawn, and biases do."""

    def make(seed: int, head: tuple[float, ...] = (0.6, -0.8, 2.0, 2.0), bias: float = 0.0) -> PPO:
        model = PPO("MlpPolicy", cartpole(), seed=seed, policy_kwargs={"net_arch": []})
        with torch.no_grad():
            model.policy.value_net.weight[0] = torch.tensor(head)
            model.policy.value_net.bias.fill_(bias)
        return model

    weights = make(0, (3.0, 4.0, 9.0, 9.0), bias=7.0).policy.state_dict()
    kept = {"action_net.weight": torch.zeros(2, 4, dtype=torch.bool)}
    kept["value_net.weight"] = torch.tensor([[True, True, False, False]])
    ticket = rt.Ticket(rt.Mask(kept), weights)
    changed = rt.rescaled_reinit(ticket, make, seed=0).weights
    assert changed["value_net.weight"].tolist() == [pytest.approx([3.0, -4.0, 2.0, 2.0])]
    assert changed["value_net.bias"].tolist() == [0.0]
    assert torch.isfinite(changed["action_net.weight"]).all(), "a layer that keeps nothing has no norm"
    told = "rescaled_reinit cannot scale 'value_net.weight': a fresh agent's kept weights are all zero"
    with pytest.raises(ValueError, match=told):
        rt.rescaled_reinit(ticket, lambda seed: make(seed, (0.0, 0.0, 1.0, 1.0)), seed=0)


def test_random_reinit_works_on_a_dense_ticket_and_closes_its_environment() -> None:
    closed: list[bool] = []

    def make(seed: int) -> BaseAlgorithm:
        model = BY_NAME["ppo"].make(seed)
        env: Any = model.get_env()
        close: Callable[[], None] = env.close

        def seen() -> None:
            closed.append(True)
            close()

        env.close = seen
        return model

    ticket = tickets("ppo")[0]
    assert set(ticket.mask) <= moved(ticket, rt.random_reinit(ticket, make, seed=0))
    assert closed == [True]


def test_random_reinit_needs_an_agent_that_heeds_its_seed() -> None:
    (dense,) = rt.find_tickets(BY_NAME["ppo"].make, total_timesteps=16, densities=(1.0,), seed=3)
    with pytest.raises(
        ValueError, match=r"random_reinit left all weights as they were: make_model\(seed\) ignores its seed"
    ):
        rt.random_reinit(dense.ticket, lambda seed: BY_NAME["ppo"].make(3), seed=0)
    for control in (rt.random_reinit, rt.rescaled_reinit):
        told = f"{control.__name__} needs make_model, whose fresh agent gives the new weights"
        with pytest.raises(TypeError, match=told):
            control(dense.ticket, seed=0)
