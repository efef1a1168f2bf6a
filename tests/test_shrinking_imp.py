"""Trimmed agents make the updates of the whole ones, and a search that trains them tells of the whole ones."""

from __future__ import annotations

import signal
import warnings
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case, differing, tensors, train
from stable_baselines3.common.base_class import BaseAlgorithm
from tiny import PPO_EXPERIMENT, assert_same, counted, forked, make_ppo, trained_steps

import rl_tickets as rt
from rl_tickets.agents.trimmed import Trimmed
from rl_tickets.lab.store import Store
from rl_tickets.report.rows import Run
from rl_tickets.report.tables import read_levels, read_series
from rl_tickets.training.runs import Setting, TrainingRun

TRIMMED = [case for case in CASES if case.name not in ("own_heads", "crossq", "trpo")]
by_case = pytest.mark.parametrize("case", TRIMMED, ids=lambda case: case.name)


def ticket_of(model: BaseAlgorithm, density: float = 0.5) -> rt.Ticket:
    """Half of the neurons, those with the largest weights, other ones in twin critics."""
    weights = {name: model.policy.state_dict()[name].clone() for name in rt.Mask.dense(model)}
    mask = rt.prune(weights, density, criterion=rt.magnitude, units=rt.neurons(model)).mask
    state = rt.TrainingState.capture(model, replay_buffer=False)
    return rt.Ticket(mask, state.policy, {}, {})


def heard(make_model: Any, state: rt.TrainingState, mask: rt.Mask) -> dict[str, torch.Tensor]:
    """What is heard of a state: biases of the rest may move, by old moments or by an algorithm of one's own."""
    model = make_model(0)
    state.restore(model)
    return Trimmed(model, mask).model.policy.state_dict()


def assert_near(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor], within: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, atol=within, rtol=within, msg=lambda m, n=name: f"{n}: {m}")


def widths_of(model: BaseAlgorithm) -> list[int]:
    return [layer.outputs for layer in rt.wiring(model).hidden]


# One update of the trimmed agent, and one of the whole


@by_case
def test_it_makes_the_same_updates_as_the_whole_agent_under_its_mask(case: Case) -> None:
    ticket = ticket_of(case.make(0))
    setting = Setting(case.make, 0, 32)
    start = rt.TrainingState.capture(case.make(0)).with_policy(ticket.weights)
    request = rt.Training(1, ticket=ticket, start=start)
    ours, theirs = TrainingRun(setting, replace(request, trim=Trimmed)), TrainingRun(setting, request)
    assert sum(widths_of(ours.model)) < sum(widths_of(theirs.model))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for run in (ours, theirs):
            rt.Plain().start()([run])
    small, whole = ours.finish(), theirs.finish()
    assert small.end.policy.keys() == whole.end.policy.keys()
    assert small.mask == whole.mask == ticket.mask
    assert small.timesteps == whole.timesteps
    assert small.copies == whole.copies
    assert small.provenance == whole.provenance
    assert_near(*(heard(case.make, each.end, ticket.mask) for each in (small, whole)), within=1e-5)
    assert any((whole.end.policy[name] - start.policy[name]).abs().max() > 1e-4 for name in ticket.mask), "it learned"


@pytest.mark.parametrize("name", ["ppo", "sac", "recurrent_ppo"])
def test_moments_of_the_rewind_point_are_cut_and_used(name: str) -> None:
    """From step 32 on with Adam's moments; without them the first update would be another."""
    case = BY_NAME[name]
    dense, _ = train(Setting(case.make, 0, 32), rt.Training(0))
    start, ticket = rt.TrainingState.capture(dense), ticket_of(dense)
    request = rt.Training(1, ticket=ticket, start=start)
    setting = Setting(case.make, 0, 64)
    bare = replace(request, start=replace(start, optimizers=None))
    small, whole, other = (train(setting, each)[1].end for each in (replace(request, trim=Trimmed), request, bare))
    assert_near(*(heard(case.make, each, ticket.mask) for each in (small, whole)), within=1e-4)
    assert any((other.policy[name] - whole.policy[name]).abs().max() > 1e-3 for name in ticket.mask)


def test_trimmed_agents_train_in_lock_step() -> None:
    make_model = partial(make_ppo, policy_kwargs={"net_arch": [8]})
    ticket = ticket_of(make_model(0))
    start = rt.TrainingState.capture(make_model(0)).with_policy(ticket.weights)
    request = rt.Training(1, ticket=ticket, start=start, trim=Trimmed)
    runs = [TrainingRun(Setting(make_model, seed, 64), request) for seed in range(2)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", rt.PlainTrainingWarning)
        rt.Cohorts(seeds=2).start()(runs)
    _, alone = train(Setting(make_model, 0, 64), request)
    assert_near(runs[0].finish().end.policy, alone.end.policy, within=1e-4)


def test_any_mask_is_trimmed_of_what_is_not_heard() -> None:
    """Permuted weights give most units a voice again; those without inputs keep their trained biases."""
    model = make_ppo(0, policy_kwargs={"net_arch": [6]})
    kept = dict(rt.Mask.dense(model))
    kept["mlp_extractor.policy_net.0.weight"][:4] = False
    kept["action_net.weight"][:, 2:5] = False
    trimmed = Trimmed(model, rt.Mask(kept))
    assert trimmed.model.policy_kwargs["net_arch"] == {"pi": [3], "vf": [6]}
    assert trimmed.mask["mlp_extractor.policy_net.0.weight"].any(1).tolist() == [False, False, True]
    assert trimmed.mask["action_net.weight"].all()
    assert trimmed.whole_mask(trimmed.mask) == rt.Mask(kept)


def test_a_layer_that_nobody_hears_keeps_one_silent_unit() -> None:
    model = make_ppo(0, policy_kwargs={"net_arch": [6]})
    kept = dict(rt.Mask.dense(model))
    kept["action_net.weight"][:] = False
    trimmed = Trimmed(model, rt.Mask(kept))
    assert trimmed.model.policy_kwargs["net_arch"] == {"pi": [1], "vf": [6]}
    assert not trimmed.mask["action_net.weight"].any()
    trimmed.model.learn(32)


def test_the_way_back_is_the_agent_that_was() -> None:
    """What is cut and written back is the state under the mask, of twins of unlike widths as well."""
    model = BY_NAME["td3"].make(0)
    ticket = ticket_of(model)
    state = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    trimmed = Trimmed(model, ticket.mask)
    back = trimmed.whole(trimmed.model.policy.state_dict())
    for name, tensor in state.items():
        origin = name.replace("_target", "")
        assert torch.equal(back[name], tensor * ticket.mask[origin] if origin in ticket.mask else tensor), name
    assert trimmed.whole_mask(trimmed.mask) == ticket.mask


# The search

SEARCHES: dict[str, rt.Plan] = {
    "small": rt.ShrinkingIMP(criterion=rt.outgoing_magnitude, scope="layer", rewind=rt.Rewind(at=32)),
    "masked": rt.IMP(units=rt.neurons, criterion=rt.outgoing_magnitude, scope="layer", rewind=rt.Rewind(at=32)),
    "small_others": rt.Control(rt.permuted_neurons, of="small"),
    "masked_others": rt.Control(rt.permuted_neurons, of="masked"),
}
EXPERIMENT = replace(
    PPO_EXPERIMENT,
    make_model=partial(make_ppo, policy_kwargs={"net_arch": [16]}),
    searches=SEARCHES,
    densities=(1.0, 0.5, 0.25),
    total_timesteps=96,
    seeds=1,
    dense_seeds=1,
    segment=32,
    keep="all",
    trainer=rt.Plain(),
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shrinking")
    assert forked(partial(rt.run, EXPERIMENT, jobs=1, out=out)) == 0
    return out / "tiny"


def ticket(out: Path, search: str, level: int) -> rt.Ticket:
    return rt.Ticket.load(out / "tickets" / search / "seed-0" / f"level-{level:02d}.ticket")


def test_it_finds_the_tickets_of_the_search_that_masks(out: Path) -> None:
    for level in (1, 2):
        ours, theirs = ticket(out, "small", level), ticket(out, "masked", level)
        assert ours.mask == theirs.mask
        assert all(torch.equal(ours.weights[name], theirs.weights[name]) for name in theirs.weights)


def test_tickets_are_the_dense_agents_and_nest(out: Path) -> None:
    tickets = [ticket(out, "small", level) for level in (1, 2)]
    for sparser, denser in pairwise(reversed(tickets)):
        assert all(bool((denser.mask[name] | ~sparser.mask[name]).all()) for name in denser.mask)
    model = EXPERIMENT.make_model(0)
    assert [sum(rt.neurons(model).alive(each.mask)) for each in tickets] == [16, 8]
    tickets[1].plant(model).learn(32)


def test_it_returns_what_the_search_that_masks_returns(out: Path) -> None:
    """Two rollouts on, the two are still the same but for rounding; so are their controls."""
    rows = {row.run: row for row in read_levels(out)}
    for search, twin in (("small", "masked"), ("small_others", "masked_others")):
        for level in (1, 2):
            ours, theirs = rows[Run(search, 0, level)], rows[Run(twin, 0, level)]
            assert ours.mean_return == pytest.approx(theirs.mean_return, abs=1.0)
            same = ("density", "overall_density", "effective_density", "live_units", "spent", "timesteps", "start")
            assert [getattr(ours, name) for name in same] == [getattr(theirs, name) for name in same]
    reads = {row.run: row.columns for row in read_series(out, "inputs")}
    assert reads[Run("small", 0, 2)] == reads[Run("masked", 0, 2)]


def test_final_weights_are_the_dense_agents(out: Path) -> None:
    ours, theirs = (Store(out).trained(Run(search, 0, 2)) for search in ("small", "masked"))
    assert ours is not None
    assert theirs is not None
    shapes = {name: weight.shape for name, weight in EXPERIMENT.make_model(0).policy.state_dict().items()}
    assert {name: weight.shape for name, weight in ours.end.policy.items()} == shapes
    mask = ticket(out, "small", 2).mask
    assert_near(*(heard(EXPERIMENT.make_model, each.end, mask) for each in (ours, theirs)), within=1e-4)


def test_killed_and_resumed_it_ends_with_the_same_bytes(out: Path, tmp_path: Path) -> None:
    killed = partial(rt.run, EXPERIMENT, jobs=1, out=tmp_path)
    with counted(tmp_path / "steps"):
        steps = 0.4 * trained_steps(out)
        assert forked(killed, lambda: (tmp_path / "steps").stat().st_size > steps) == -signal.SIGKILL
    assert forked(killed) == 0
    assert_same(tmp_path / "tiny", out)


def test_a_checkpoint_of_a_trimmed_agent_goes_on_as_if_it_had_never_ended() -> None:
    case = BY_NAME["sac"]
    ticket, saved = ticket_of(case.make(0)), []
    start = rt.TrainingState.capture(case.make(0)).with_policy(ticket.weights)
    request = rt.Training(1, ticket=ticket, start=start, trim=Trimmed)
    setting = Setting(case.make, 0, 64, boundaries=(0, 32), checkpoint=saved.append)
    model, _ = train(setting, request)
    assert len(saved) == 1
    again, _ = train(setting, request, saved[0])
    assert not differing(tensors(model), tensors(again))


# Bad input


def test_single_weights_leave_no_smaller_agent() -> None:
    with pytest.raises(ValueError, match=r"prune whole units, such as units=rt\.neurons"):
        rt.ShrinkingIMP(units=None)


@pytest.mark.parametrize(("name", "told"), [("crossq", "state of its own"), ("trpo", "search with rt.IMP")])
def test_agents_that_cannot_be_trimmed_are_refused_at_once(name: str, told: str) -> None:
    case = BY_NAME[name]
    setup = rt.Setup(case.make, 0, 96, (1.0, 0.5))
    with pytest.raises(rt.WiringError, match=told):
        rt.ShrinkingIMP(keep_last=False).check_agent(case.make(0), setup)


def test_what_is_trimmed_needs_a_ticket_and_keeps_no_states() -> None:
    with pytest.raises(ValueError, match="an agent with a ticket's mask"):
        rt.Training(1, trim=Trimmed)
    with pytest.raises(ValueError, match="no state in between is kept"):
        rt.Training(1, ticket=ticket_of(make_ppo(0)), keep_at=(0,), trim=Trimmed)
