"""Pruning at initialisation as a plan: no dense level, one training a density, its steps counted, its controls."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from agents_matrix import BY_NAME, Case
from tiny import PPO_EXPERIMENT, assert_same, counted, forked, make_ppo, trained_steps

import rl_tickets as rt
from rl_tickets.report.tables import read_levels
from rl_tickets.tickets.mask import Mask

SNIP = rt.AtInit(rt.Snip(timesteps=40))
EXPERIMENT = replace(
    PPO_EXPERIMENT,
    searches={
        "imp": rt.IMP(),
        "synflow": rt.AtInit(rt.SynFlow(rounds=10)),
        "snip": SNIP,
        "grasp": rt.AtInit(rt.Grasp(timesteps=40)),
        "magnitude": rt.AtInit(rt.magnitude),
        "uniform": rt.AtInit(rt.random_scores, scope="layer"),
        "erk": rt.AtInit(rt.random_scores, scope=rt.erk),
        "its_reinit": rt.Control(rt.random_reinit, of="synflow"),
        "its_permuted": rt.Control(rt.permuted_mask, of="snip"),
    },
    callback=None,
    trainer=rt.Plain(),
)
AT_INIT = [name for name, plan in EXPERIMENT.searches.items() if isinstance(plan, rt.AtInit)]


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("at_init")
    assert forked(partial(rt.run, EXPERIMENT, jobs=1, out=out)) == 0
    return out / "tiny"


def requests(plan: rt.Plan, make_model: Any = make_ppo, **changes: Any) -> list[rt.Training]:
    """All that a plan asks for: what comes of one training changes nothing about the next."""
    settings = {"seed": 0, "total_timesteps": 96, "densities": (1.0, 0.5, 0.2), **changes}
    return list(plan.search(rt.Setup(make_model, **settings)))  # type: ignore[arg-type]


def test_one_training_a_density_and_no_dense_level(out: Path) -> None:
    rows = [row for row in read_levels(out) if row.run.search in AT_INIT]
    found = {(row.run.search, row.run.seed, row.run.level) for row in rows}
    assert found == {(name, seed, level) for name in AT_INIT for seed in range(2) for level in (1, 2)}
    for row in rows:
        assert row.density == pytest.approx(EXPERIMENT.densities[row.run.level], abs=2e-3)
        assert (row.start, row.timesteps) == (0, EXPERIMENT.total_timesteps)


def test_every_step_is_counted(out: Path) -> None:
    """IMP's levels all count; a criterion's data is whole rollouts of 32 steps."""
    total = EXPERIMENT.total_timesteps
    expected = {"imp": [total, 2 * total], "snip": [64, 64], "grasp": [64, 64], "its_permuted": [64, 64]}
    for row in read_levels(out):
        if row.run.search != "dense":
            assert row.spent == expected.get(row.run.search, [0, 0])[row.run.level - 1], row.run


def test_the_report_tells_what_each_search_costs(out: Path) -> None:
    report = (out / "report.md").read_text()
    assert "| density | imp | synflow | snip | grasp | magnitude | uniform | erk |" in report
    assert "| 0.199 | 480 | 160 | 224 | 224 | 160 | 160 | 160 |" in report
    assert "Environment steps that a policy of each search costs in all" in report
    assert "- `snip`: AtInit(criterion=Snip(timesteps=40, rounds=1), scope=network" in report


def test_tickets_tell_what_data_they_saw_and_have_the_dense_agents_weights(out: Path) -> None:
    for row in read_levels(out):
        if row.run.search not in AT_INIT:
            continue
        ticket = rt.Ticket.load(out / row.ticket)
        model = make_ppo(row.run.seed)
        assert all(torch.equal(ticket.weights[name], p) for name, p in model.policy.state_dict().items())
        data = {"timesteps": 64, "policy": "untrained", "seed": row.run.seed}
        assert ticket.provenance["data"] == (data if row.run.search in ("snip", "grasp") else None)
        ticket.plant(model).learn(32)


def test_controls_work_on_them(out: Path) -> None:
    tickets = {
        (request.level, plan): request.ticket
        for plan in ("synflow", "snip")
        for request in requests(EXPERIMENT.searches[plan], densities=EXPERIMENT.densities)
    }
    rows = {row.run: row for row in read_levels(out)}
    for run, row in rows.items():
        if run.search == "its_reinit":
            twin = rows[run._replace(search="synflow")]
            assert (row.density, row.spent, row.timesteps) == (twin.density, twin.spent, twin.timesteps)
    synflow = tickets[1, "synflow"]
    assert synflow is not None
    control = rt.random_reinit(synflow, make_ppo, seed=3)
    assert control.mask == synflow.mask
    assert any(not torch.equal(control.weights[name], synflow.weights[name]) for name in synflow.mask)


def test_the_experiment_needs_no_imp_and_says_its_settings(out: Path) -> None:
    settings = json.loads((out / "experiment.json").read_text())["settings"]["searches"]["synflow"]
    assert settings["settings"]["criterion"] == {"type": "SynFlow", "rounds": 10}
    assert rt.AtInit(rt.synflow).needs == ()
    assert rt.AtInit(rt.synflow).rewind_points == ()


def test_killed_and_resumed_it_ends_with_the_same_bytes(out: Path, tmp_path: Path) -> None:
    experiment = replace(EXPERIMENT, callback=PPO_EXPERIMENT.callback, searches={"snip": SNIP}, seeds=1)
    assert forked(partial(rt.run, experiment, jobs=1, out=tmp_path / "whole")) == 0
    with counted(tmp_path / "steps"):
        steps = 0.6 * trained_steps(tmp_path / "whole" / "tiny")
        act = partial(rt.run, experiment, jobs=1, out=tmp_path)
        assert forked(act, kill_when=lambda: (tmp_path / "steps").stat().st_size > steps) == -signal.SIGKILL
        assert forked(act) == 0
    assert_same(tmp_path / "tiny", tmp_path / "whole" / "tiny")


@pytest.mark.parametrize("criterion", [rt.SynFlow(rounds=5), rt.Snip(timesteps=24), rt.Grasp(timesteps=24)])
@pytest.mark.parametrize(
    "name", ["ppo", "dqn", "sac", "td3", "crossq", "trpo", "recurrent_ppo", "ppo_images", "ppo_dict"]
)
def test_every_kind_of_agent(name: str, criterion: rt.AgentCriterion) -> None:
    case: Case = BY_NAME[name]
    plan = rt.AtInit(criterion)
    ours, again = (requests(plan, case.make, total_timesteps=case.total) for _ in range(2))
    dense = Mask.dense(case.make(0))
    for request, same in zip(ours, again, strict=True):
        assert request.ticket is not None
        assert same.ticket is not None
        assert request.ticket.digest == same.ticket.digest
        assert request.ticket.mask.kept == round((1.0, 0.5, 0.2)[request.level] * dense.total)
        assert all(count.kept for count in request.ticket.mask.layers.values())
        request.ticket.plant(case.make(1)).learn(case.at)


def test_masks_at_initialisation_over_whole_neurons() -> None:
    for request in requests(rt.AtInit(rt.synflow, units=rt.neurons), densities=(1.0, 0.5)):
        assert request.ticket is not None
        kept = request.ticket.mask["mlp_extractor.policy_net.0.weight"]
        assert torch.equal(kept.any(1), kept.all(1))
        assert int(kept.any(1).sum()) == 8


def test_actor_and_critic_together_and_apart() -> None:
    together, apart = (
        requests(rt.AtInit(rt.synflow, scope=scope), densities=(1.0, 0.2))[0].ticket for scope in ("global", "network")
    )
    assert together is not None
    assert apart is not None
    assert together.mask != apart.mask
    layers = apart.mask.layers
    actor = [count for name, count in layers.items() if "policy" in name or "action" in name]
    share = sum(count.kept for count in actor) / sum(count.total for count in actor)
    assert share == pytest.approx(0.2, abs=0.01)


# Bad input


def test_what_is_no_criterion_is_refused() -> None:
    with pytest.raises(TypeError, match=r"criterion must be a function `\(weights, start\) -> scores`"):
        rt.AtInit("synflow")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="criterion must be a function"):
        rt.IMP(criterion="synflow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="scope must be"):
        rt.AtInit(rt.synflow, scope="everything")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"units must be a function such as rt\.neurons"):
        rt.AtInit(rt.synflow, units="neurons")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"densities": (1.0, 0.01)}, r"density 0\.01 keeps \d weights, fewer than the 4 layers; the lowest"),
        ({"densities": (0.5, 0.1)}, r"densities must start at 1\.0"),
    ],
)
def test_impossible_densities_are_told_at_once(changes: Any, sentence: str, tmp_path: Path) -> None:
    plan = rt.AtInit(rt.synflow, densities=changes["densities"])
    with pytest.raises(ValueError, match=sentence):
        rt.run(replace(EXPERIMENT, searches={"synflow": plan}, seeds=1), jobs=1, out=tmp_path)


def test_a_policy_that_cannot_be_made_linear_is_told_before_anything_trains(tmp_path: Path) -> None:
    experiment = replace(EXPERIMENT, make_model=make_curious, searches={"synflow": rt.AtInit(rt.synflow)}, seeds=1)
    with pytest.raises(ValueError, match=r"'forward_head\.weight' \(of a Linear\) is no weight of a linear"):
        rt.run(experiment, jobs=1, out=tmp_path)
    assert not list(tmp_path.rglob("levels.csv"))


def make_curious(seed: int) -> Any:
    return BY_NAME["own_heads"].make(seed)
