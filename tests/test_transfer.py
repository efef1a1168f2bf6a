"""Transfer: what corresponds to what, what is carried; a ticket carried to its own agent is the same ticket."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from sb3_contrib import QRDQN, TQC, TRPO, CrossQ
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from tiny import PPO_EXPERIMENT, ROOT, make_dqn, make_ppo

import rl_tickets as rt
from rl_tickets.agents.state import TrainingState
from rl_tickets.lab.run import unfinished
from rl_tickets.lab.store import Store
from rl_tickets.report.matrix import Matrix, heat_maps, judged_together, matrix_table
from rl_tickets.report.rows import Run


def make(kind: type[Any], env: str, seed: int, **settings: Any) -> BaseAlgorithm:
    settings = {"policy_kwargs": {"net_arch": [32, 32]}, **settings}
    agent: BaseAlgorithm = kind("MlpPolicy", env, seed=seed, device="cpu", **settings)
    return agent


CARTPOLE = {kind.__name__: partial(make, kind, "CartPole-v1") for kind in (PPO, A2C, TRPO, DQN, QRDQN)}
PENDULUM = {kind.__name__: partial(make, kind, "Pendulum-v1") for kind in (PPO, SAC, TD3, DDPG, TQC, CrossQ)}
AGENTS: dict[str, Any] = {**CARTPOLE, **{f"{name}-pendulum": make for name, make in PENDULUM.items()}}


def ticket_of(model: BaseAlgorithm, density: float = 0.5, seed: int = 3) -> rt.Ticket:
    """A random mask over an agent's weights, with all that a ticket of a search carries."""
    weights = {name: dict(model.policy.named_parameters())[name] for name in rt.Mask.dense(model)}
    mask = rt.prune(weights, density, criterion=partial(rt.random_scores, seed=seed)).mask
    state = TrainingState.capture(model, replay_buffer=False)
    from rl_tickets.agents.anatomy import copies

    carried = {"tensors": state.tensors, "normalizer": state.normalizer, "copies": copies(model)}
    return rt.Ticket(mask, state.policy, carried, {"algorithm": type(model).__name__, "level": 1})


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        ("PPO", "A2C", {"action_net": "action_net", "value_net": "value_net"}),
        ("PPO", "TRPO", {"mlp_extractor.value_net.2": "mlp_extractor.value_net.2"}),
        ("DQN", "PPO", {"mlp_extractor.policy_net.0": "q_net.q_net.0", "mlp_extractor.policy_net.2": "q_net.q_net.2"}),
        ("SAC-pendulum", "TD3-pendulum", {"actor.mu.2": "actor.latent_pi.2", "actor.mu.4": "actor.mu"}),
        ("TD3-pendulum", "SAC-pendulum", {"actor.mu": "actor.mu.4", "critic.qf1.4": "critic.qf1.4"}),
        ("TD3-pendulum", "DDPG-pendulum", {"critic.qf0.0": "critic.qf0.0", "actor.mu.4": "actor.mu.4"}),
        ("SAC-pendulum", "TQC-pendulum", {"actor.log_std": "actor.log_std", "actor.mu": "actor.mu"}),
        ("CrossQ-pendulum", "SAC-pendulum", {"actor.latent_pi.2": "actor.latent_pi.4", "critic.qf0.2": "critic.qf0.4"}),
        ("DQN", "QRDQN", {"quantile_net.quantile_net.4": "q_net.q_net.4"}),
    ],
)
def test_what_does_the_same_work_corresponds(source: str, target: str, expected: dict[str, str]) -> None:
    found = rt.correspondence(AGENTS[source](0), AGENTS[target](1))
    assert {name: found.get(name) for name in expected} == expected
    assert len(set(found.values())) == len(found), "no layer is carried twice"


def test_logits_are_no_q_values_and_judges_of_states_none_of_actions() -> None:
    to_dqn = rt.correspondence(AGENTS["PPO"](0), AGENTS["DQN"](0))
    assert to_dqn == {"q_net.q_net.0": "mlp_extractor.policy_net.0", "q_net.q_net.2": "mlp_extractor.policy_net.2"}
    to_sac = rt.correspondence(AGENTS["PPO-pendulum"](0), AGENTS["SAC-pendulum"](0))
    assert not any(name.startswith("critic") for name in to_sac)
    assert to_sac["actor.mu"] == "action_net"


def test_a_correspondence_leaves_agents_as_they_were() -> None:
    model = AGENTS["CrossQ-pendulum"](0)
    model.policy.set_training_mode(True)
    before, drawn = {n: t.clone() for n, t in model.policy.state_dict().items()}, torch.get_rng_state()
    rt.correspondence(model, model)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.policy.state_dict().items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(module.training for module in model.policy.modules())


@pytest.mark.parametrize("name", list(AGENTS))
@pytest.mark.parametrize("derived", [False, True])
def test_into_its_own_agent_it_is_the_same_ticket(name: str, derived: bool) -> None:
    ticket = ticket_of(AGENTS[name](5))
    found = rt.transfer(ticket, AGENTS[name], source=AGENTS[name] if derived else None, seed=1)
    assert found.ticket.digest == ticket.digest
    assert found.ticket.mask == ticket.mask
    assert not found.left
    assert all(layer.source == layer.target for layer in found.layers)


def test_a_lagging_target_network_lags_on() -> None:
    """At a late rewind point a target network is no copy of the online one."""
    model = AGENTS["TD3-pendulum"](0)
    with torch.no_grad():
        for parameter in model.policy.critic_target.parameters():
            parameter.mul_(0.5)
    found = rt.transfer(
        ticket_of(model), AGENTS["SAC-pendulum"], source=AGENTS["TD3-pendulum"], otherwise=rt.dense_layer
    )
    half = found.ticket.weights["critic_target.qf1.2.weight"]
    assert torch.equal(half, 0.5 * model.policy.state_dict()["critic.qf1.2.weight"])


def test_from_ppo_into_dqn() -> None:
    model = AGENTS["PPO"](5)
    ticket = ticket_of(model)
    found = rt.transfer(ticket, AGENTS["DQN"], source=AGENTS["PPO"], otherwise=rt.dense_layer, seed=2)
    fresh = AGENTS["DQN"](2).policy.state_dict()
    ours = found.ticket.weights
    assert found.carried == rt.correspondence(model, AGENTS["DQN"](0))
    for target, source in found.carried.items():
        for net in ("q_net.", "q_net_target."):
            for key in ("weight", "bias"):
                moved = ours[f"{net}{target.removeprefix('q_net.')}.{key}"]
                assert torch.equal(moved, ticket.weights[f"{source}.{key}"])
        assert torch.equal(found.ticket.mask[f"{target}.weight"], ticket.mask[f"{source}.weight"])
    assert torch.equal(ours["q_net.q_net.4.weight"], fresh["q_net.q_net.4.weight"])
    assert bool(found.ticket.mask["q_net.q_net.4.weight"].all())
    assert set(found.left) == {"action_net", "mlp_extractor.value_net.0", "mlp_extractor.value_net.2", "value_net"}
    told = repr(found)
    assert "from PPO on" in told
    assert "to DQN on CartPole-v1" in told
    assert "q_net.q_net.0 <- mlp_extractor.policy_net.0" in told
    assert "q_net.q_net.4 is new, the ticket has no layer that corresponds (density 1)" in told
    held = found.plant(AGENTS["DQN"](4)).learn(200)
    kept = found.ticket.mask["q_net.q_net.0.weight"]
    assert not held.policy.state_dict()["q_net.q_net.0.weight"][~kept].any()


def test_layers_of_other_shapes_follow_the_choice() -> None:
    """CartPole has 4 observations and 2 actions, Acrobot 6 and 3: hidden layers alone fit."""
    ticket, target = ticket_of(AGENTS["PPO"](5), density=0.3), partial(make, PPO, "Acrobot-v1")
    with pytest.raises(ValueError, match=r"policy_net.0.weight' does not fit: weight of .* \(32, 4\) in the ticket"):
        rt.transfer(ticket, target)
    found = rt.transfer(ticket, target, otherwise=rt.random_layer, seed=1)
    masks = found.ticket.mask
    fresh = target(1).policy.state_dict()
    for name, kept in masks.items():
        if ".2." in name or name == "value_net.weight":
            assert torch.equal(kept, ticket.mask[name])
        else:
            assert torch.equal(found.ticket.weights[name], fresh[name])
            assert int(kept.sum()) == max(1, round(ticket.mask.layers[name].density * kept.numel()))
    assert torch.equal(
        found.ticket.weights["mlp_extractor.policy_net.0.bias"], fresh["mlp_extractor.policy_net.0.bias"]
    )
    again, other = (rt.transfer(ticket, target, otherwise=rt.random_layer, seed=seed) for seed in (1, 2))
    assert again.ticket.digest == found.ticket.digest
    assert other.ticket.mask != found.ticket.mask


def test_names_can_be_given_by_hand() -> None:
    ticket = ticket_of(AGENTS["PPO"](5))
    names = {"q_net.q_net.2": "mlp_extractor.value_net.2"}
    found = rt.transfer(ticket, AGENTS["DQN"], names=names, otherwise=rt.dense_layer)
    assert found.carried == names
    whole = {
        "mlp_extractor.policy_net": "mlp_extractor.value_net",
        "mlp_extractor.value_net": "mlp_extractor.policy_net",
    }
    swapped = rt.transfer(ticket, AGENTS["A2C"], names=whole, otherwise=rt.dense_layer)
    assert swapped.carried["mlp_extractor.policy_net.2"] == "mlp_extractor.value_net.2"
    assert len(swapped.carried) == 4


def test_statistics_are_carried_where_they_fit() -> None:
    def normalised(env: str, seed: int) -> BaseAlgorithm:
        vec = VecNormalize(DummyVecEnv([lambda: Monitor(gym.make(env))]))
        return PPO("MlpPolicy", vec, seed=seed, n_steps=64, policy_kwargs={"net_arch": [32, 32]}, device="cpu")

    model = normalised("CartPole-v1", 0).learn(64)
    ticket = ticket_of(model)
    same = rt.transfer(ticket, partial(normalised, "CartPole-v1"))
    np.testing.assert_array_equal(
        same.ticket.state["normalizer"]["observations"][""]["mean"],
        ticket.state["normalizer"]["observations"][""]["mean"],
    )
    assert "normalizer" in same.beside
    other = rt.transfer(ticket, partial(normalised, "Acrobot-v1"), otherwise=rt.dense_layer)
    assert other.ticket.state["normalizer"] is None
    plain = rt.transfer(ticket, AGENTS["PPO"])
    assert plain.ticket.state["normalizer"] is None
    assert "normalizer" not in plain.beside


def test_a_weight_that_one_side_never_prunes_is_dense() -> None:
    def no_heads(name: str, parameter: Any) -> bool:
        return "weight" in name and "extractor" in name

    model = AGENTS["PPO"](0)
    ticket = ticket_of(model)
    hidden = replace(ticket, mask=rt.Mask({name: kept for name, kept in ticket.mask.items() if no_heads(name, kept)}))
    found = rt.transfer(hidden, AGENTS["PPO"])
    assert bool(found.ticket.mask["action_net.weight"].all())
    assert torch.equal(found.ticket.weights["action_net.weight"], ticket.weights["action_net.weight"])
    back = rt.transfer(ticket, AGENTS["PPO"], prunable=no_heads)
    assert back.ticket.mask == hidden.mask


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        (
            {"otherwise": rt.dense_layer},
            ValueError,
            "nothing of this ticket fits the target, as for .* corresponds: give `source`",
        ),
        ({"source": AGENTS["DQN"]}, ValueError, "`source` lacks: it makes another agent than its own"),
        ({"names": {"q_net.q_net.0": "nowhere"}}, ValueError, "the ticket has no module 'nowhere'"),
        ({"names": {"nowhere": "action_net"}}, ValueError, "the target has no module 'nowhere'"),
        (
            {"names": {"q_net.q_net.2": "mlp_extractor.policy_net.2"}, "otherwise": lambda misfit, rng: torch.ones(1)},
            TypeError,
            "must give a bool tensor of shape",
        ),
    ],
)
def test_what_does_not_fit_is_told(settings: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        rt.transfer(ticket_of(AGENTS["PPO"](0)), AGENTS["DQN"], **settings)


def test_what_is_no_ticket_is_told() -> None:
    with pytest.raises(TypeError, match=r"not a str; load one by rt.Ticket.load\(path\)"):
        rt.transfer("cartpole.ticket", make_ppo)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"rt.SavedTickets\(folder\) or a plan's name, not 3"):
        rt.Transfer(of=3)  # type: ignore[arg-type]


SOURCE = replace(
    PPO_EXPERIMENT,
    callback=None,
    trainer=rt.Plain(),
    searches={"imp": rt.IMP(criterion=rt.lamp), "own": rt.Transfer(of="imp")},
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    rt.run(SOURCE, jobs=1, out=folder)
    return folder


def test_a_plan_of_tickets_for_their_own_agent_trains_the_same(out: Path) -> None:
    store = Store(out / "tiny")
    for seed in (0, 1):
        for level in (1, 2):
            own, imp = (store.trained(Run(name, seed, level)) for name in ("own", "imp"))
            assert own is not None
            assert imp is not None
            assert all(torch.equal(weight, imp.end.policy[name]) for name, weight in own.end.policy.items())
            ticket = rt.Ticket.load(out / "tiny" / "tickets" / "own" / f"seed-{seed}" / f"level-0{level}.ticket")
            assert ticket.provenance["transferred"]["from"]["seed"] == ticket.provenance["seed"] == seed


def test_saved_tickets_train_another_algorithm_and_have_controls(out: Path, tmp_path: Path) -> None:
    saved = rt.SavedTickets(out / "tiny" / "tickets" / "imp")
    given = rt.Transfer(of=saved, source=make_ppo, otherwise=rt.dense_layer)
    target = replace(
        SOURCE,
        name="target",
        make_model=make_dqn,
        searches={"from_ppo": given, "random_reinit": rt.Control(rt.random_reinit, of="from_ppo")},
    )
    summary = rt.run(target, jobs=1, out=tmp_path)
    assert {level.search for level in summary.levels} == {"dense", "from_ppo", "random_reinit"}
    ticket = rt.Ticket.load(tmp_path / "target" / "tickets" / "from_ppo" / "seed-1" / "level-02.ticket")
    origin = saved.load(seed=1, level=2)
    moved = ticket.mask["q_net.q_net.0.weight"]
    assert torch.equal(moved, origin.mask["mlp_extractor.policy_net.0.weight"])
    trained = Store(tmp_path / "target").trained(Run("from_ppo", 1, 2))
    assert trained is not None
    assert not trained.end.policy["q_net.q_net.0.weight"][~moved].any()
    described = given.settings()
    assert isinstance(described, dict)
    assert str(described["of"]).startswith("tiny/imp, first ")
    assert str(out) not in str(described), "a results folder may move"


def test_tickets_are_trained_at_chosen_densities_alone(out: Path, tmp_path: Path) -> None:
    saved = rt.SavedTickets(out / "tiny" / "tickets" / "imp")
    searches = {
        "imp": rt.IMP(criterion=rt.lamp),
        "saved": rt.Transfer(of=saved, at=SOURCE.densities[2:]),
        "own": rt.Transfer(of="imp", at=SOURCE.densities[1:2]),
        "reinit": rt.Control(rt.random_reinit, of="saved"),
    }
    summary = rt.run(replace(SOURCE, searches=searches), jobs=1, out=tmp_path)
    levels = {each.name: [level.level for level in each.levels] for each in summary.searches}
    assert levels == {"imp": [1, 2], "saved": [2], "own": [1], "reinit": [2]}
    store = Store(tmp_path / "tiny")
    chosen, whole = store.trained(Run("saved", 1, 2)), Store(out / "tiny").trained(Run("own", 1, 2))
    assert chosen is not None
    assert whole is not None
    assert all(torch.equal(weight, whole.end.policy[name]) for name, weight in chosen.end.policy.items())
    more: dict[str, rt.Plan] = {
        "more": rt.Transfer(of=saved, at=SOURCE.densities[1:2]),
        "more_reinit": rt.Control(rt.random_reinit, of="more"),
    }
    later = replace(SOURCE, searches={**searches, **more})
    assert {task.plan for task in unfinished(later, store, later.groups)} == {*more}, "no dense run is needed for them"
    later = replace(SOURCE, searches={**searches, "late": rt.Control(rt.permuted_mask)})
    assert {task.plan for task in unfinished(later, store, later.groups)} == {"late", "dense"}, "its states are gone"
    with pytest.raises(ValueError, match=r"density 0\.3, none of this experiment's: "):
        replace(SOURCE, searches={"t": rt.Transfer(of=saved, at=(0.3,))})


def test_saved_tickets_that_are_missing_or_of_other_densities_are_told_before_training(
    out: Path, tmp_path: Path
) -> None:
    saved = rt.SavedTickets(out / "tiny" / "tickets" / "imp")
    with pytest.raises(ValueError, match="give both experiments the same densities"):
        rt.run(
            replace(SOURCE, densities=(1.0, 0.4), searches={"t": rt.Transfer(of=saved)}), jobs=1, out=tmp_path / "other"
        )
    with pytest.raises(ValueError, match=r"there is no ticket .*seed-7/level-01.ticket; finish the experiment"):
        rt.run(replace(SOURCE, seeds=(7,), searches={"t": rt.Transfer(of=saved)}), jobs=1, out=tmp_path / "seed")
    with pytest.raises(ValueError, match="there are no tickets in nowhere"):
        rt.Transfer(of=rt.SavedTickets("nowhere")).settings()
    with pytest.raises(ValueError, match="'gone', which is not in this experiment"):
        replace(SOURCE, searches={"t": rt.Transfer(of="gone")})


def test_a_matrix_holds_the_contrasts_of_its_experiments() -> None:
    summary = rt.Summary.read(ROOT / "results" / "cartpole_ppo")
    reinit = next(each for each in summary.contrasts if each.other == "random_reinit")
    at = {("imp", "cartpole"): ("imp", "random_reinit"), ("late", "cartpole"): ("imp_late", "dense")}
    matrix = Matrix.of("imp less others", {"other": summary, "cartpole": summary}, at)
    assert matrix.cells["imp", "cartpole"] == reinit.mean
    late = next(each for each in summary.searches if each.name == "imp_late")
    seeds = sorted(late.levels[0].normalised_scores)
    ours = np.array([[level.normalised_scores[seed] for level in late.levels] for seed in seeds])
    dense = np.array([summary.dense.normalised_scores[seed] for seed in seeds])
    imp, control = (
        np.array([np.mean([level.normalised_scores[seed] for level in each.levels]) for seed in seeds])
        for each in summary.searches
        if each.name in ("imp", "random_reinit")
    )
    cell = matrix.cells["late", "cartpole"]
    assert cell.difference == pytest.approx(float((ours - dense[:, None]).mean()))
    assert list(matrix.p.values()) == rt.holm([each.p for each in matrix.cells.values()]).tolist()
    assert (matrix.sources, matrix.targets) == (("imp", "late"), ("other", "cartpole"))
    ordered = Matrix.of(
        "imp less others", {"other": summary, "cartpole": summary}, at, sources=("gone", *matrix.sources[::-1])
    )
    assert ordered.sources == matrix.sources[::-1], "in the order that is asked for, those with a cell"
    assert ordered.cells == matrix.cells
    single = Matrix.of("a cell", {"cartpole": summary}, {("imp", "cartpole"): ("imp", "dense")})
    assert matrix.mean is not None
    one, lone, other = judged_together([matrix, single, matrix])
    assert lone == single
    assert one.mean == other.mean == replace(matrix.mean, p=min(1.0, 2 * matrix.mean.p))
    together = np.mean([imp - control, ours.mean(axis=1) - dense], axis=0)
    assert matrix.mean == rt.contrast(together, np.zeros(len(seeds)))
    lines = list(matrix_table(matrix))
    assert len(lines) == 2
    assert len(lines[0].splitlines()) == 2 + len(at)
    assert lines[-1].startswith(f"Mean over the map, seed by seed: {together.mean():+.3f} [")
    values = heat_maps([matrix], "A matrix").axes[0].images[0].get_array()
    assert values is not None
    assert np.ma.getmaskarray(values).tolist() == [[True, False], [True, False]]
    assert values[0, 1] == pytest.approx(reinit.mean.difference)
    with pytest.raises(ValueError, match="cartpole_ppo has no search 'gone'; it has imp"):
        Matrix.of("", {"cartpole": summary}, {("a", "cartpole"): ("gone", "dense")})
    sparsest = Matrix.of("", {"cartpole": summary}, {("imp", "cartpole"): ("imp", "random_reinit")}, levels=[4])
    assert sparsest.cells["imp", "cartpole"] == reinit.levels[-1].contrast
    with pytest.raises(ValueError, match="'imp' was trained at none of the levels"):
        Matrix.of("", {"cartpole": summary}, {("imp", "cartpole"): ("imp", "dense")}, levels=[9])


def test_a_target_without_a_scale_loses_its_own_cells_alone() -> None:
    summary = rt.Summary.read(ROOT / "results" / "cartpole_ppo")
    why = "the dense agents are no better than a random policy"
    lost = replace(summary, problem=why)
    at = {("imp", target): ("imp", "random_reinit") for target in ("bad", "good")}
    matrix = Matrix.of("imp", {"bad": lost, "good": summary}, at)
    assert set(matrix.cells) == {("imp", "good")}
    assert list(matrix_table(matrix))[-1] == f"bad is left out, since {why}."
    values = heat_maps([matrix], "A matrix").axes[0].images[0].get_array()
    assert values is not None
    assert np.ma.getmaskarray(values).tolist() == [[True, False]]
    assert not Matrix.of("imp", {"bad": lost}, {("imp", "bad"): ("imp", "dense")}).cells
