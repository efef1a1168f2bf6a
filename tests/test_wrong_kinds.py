"""Things of another kind than they should be: accepted where the meaning is plain, named with the way out elsewhere."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, sparse_mask
from stable_baselines3.common.callbacks import BaseCallback

import rl_tickets as rt
from rl_tickets.search.plan import Setup
from rl_tickets.tickets.densities import check_densities

WEIGHTS = {"w": torch.tensor([[3.0, -1.0], [0.5, 2.0]])}
make_ppo = BY_NAME["ppo"].make


def search(**choices: Any) -> Any:
    settings: dict[str, Any] = {"total_timesteps": 96, "densities": (1.0, 0.5), **choices}
    return rt.find_tickets(make_ppo, **settings)


# --- scores ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64, np.bool_])
def test_scores_may_be_arrays(dtype: Any) -> None:
    array = np.array([[1, 0], [0, 1]], dtype=dtype)
    for pruned in (rt.select({"w": array}, 0.5), rt.prune(WEIGHTS, 0.5, criterion=lambda weights, start: {"w": array})):  # type: ignore[dict-item]
        assert pruned.mask["w"].tolist() == [[True, False], [False, True]]


def test_arrays_and_tensors_score_alike_in_a_search() -> None:
    def as_arrays(weights: Any, start: Any) -> Any:
        return {name: score.numpy() for name, score in rt.lamp(weights, start).items()}

    masks = [[level.ticket.mask for level in search(criterion=criterion)] for criterion in (rt.lamp, as_arrays)]
    assert masks[0] == masks[1]


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        ({"w": 1.5}, "the criterion gave a float as the scores of 'w'; it must give a tensor or an array with a score"),
        ({"w": np.float64(1)}, "the criterion gave a float64 as the scores of 'w'"),
        ({"w": [[1, 2], [3, 4]]}, "the criterion gave a list as the scores of 'w'"),
        ({"w": None}, "the criterion gave a NoneType as the scores of 'w'"),
        (None, r"the criterion gave a NoneType; it must give scores for each layer: \{name: tensor\}"),
        (torch.ones(2, 2), "the criterion gave a Tensor; it must give scores for each layer"),
    ],
)
def test_scores_that_are_none(scores: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        rt.prune(WEIGHTS, 0.5, criterion=lambda weights, start: scores)
    with pytest.raises(TypeError, match=sentence):
        rt.select(scores, 0.5)


def test_arrays_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"the criterion gave no scores of shape \(2, 2\) for 'w'"):
        rt.prune(WEIGHTS, 0.5, criterion=lambda weights, start: {"w": np.ones(4)})  # type: ignore[dict-item]


# --- scopes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "sentence"),
    [
        ({"w": 2}, ValueError, r"the scope gave 'w' the density 2, more than all of it; .* in \[0, 1\]"),
        ({"w": 1.001}, ValueError, "the scope gave 'w' the density 1.001, more than all of it"),
        ({"w": "0.5"}, ValueError, "the scope gave 'w' the density '0.5', which is none"),
        ({"w": None}, ValueError, "the scope gave 'w' the density None, which is none"),
        (0.5, TypeError, r"the scope gave 0.5; it must give a density for each layer: \{name: density\}"),
        (None, TypeError, "the scope gave None; it must give a density for each layer"),
    ],
)
def test_scopes_that_give_no_densities(answer: Any, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        rt.prune(WEIGHTS, 0.5, scope=lambda shapes, density: answer)


@pytest.mark.parametrize("one", [1, 1.0, np.float32(1), 1 + 1e-12])
def test_a_layer_may_stay_whole(one: Any) -> None:
    weights = {**WEIGHTS, "v": torch.ones(4)}
    mask = rt.prune(weights, 0.75, scope=lambda shapes, density: {"w": one, "v": np.float64(0.5)}).mask
    assert [count.kept for count in mask.layers.values()] == [4, 2]


# --- a search's settings, before anything trains ---------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "error", "sentence"),
    [
        ({"rewind": 64}, TypeError, r"rewind must be an rt.Rewind, not 64; to rewind to a step: rt.Rewind\(at=...\)"),
        ({"criterion": "lamp"}, TypeError, r"criterion must be a function .* such as rt.lamp, not 'lamp'"),
        ({"scope": "globl"}, ValueError, r'scope must be "global", "network", "layer" or a function such as erk, got'),
        ({"scope": 0.5}, ValueError, r"scope must be .*, got 0.5"),
        ({"early_bird": 1_000}, TypeError, "early_bird must be an rt.EarlyBird or None, not 1000"),
        ({"densities": 0.5}, TypeError, r"densities must be a sequence of numbers such as \(1.0, 0.5, 0.2\), not 0.5"),
        ({"densities": (1.0, "half")}, TypeError, r"densities must be a sequence of numbers .*, not \(1.0, 'half'\)"),
        (
            {"prunable": "actor"},
            TypeError,
            r"prunable must be a function `\(name, parameter\) -> bool`, or None, not 'a",
        ),
    ],
)
def test_settings_of_another_kind(choice: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        search(**choice)
    if "prunable" in choice:
        with pytest.raises(error, match=sentence):
            rt.Mask.dense(make_ppo(0), **choice)
    else:
        with pytest.raises(error, match=sentence):
            rt.IMP(**choice)


AGENT = "make_model must be a function `(seed) -> agent`, not a PPO: give a function that makes one"
ENVIRONMENT = "make_env must be a function `() -> environment`, not a TimeLimit: give a function that makes one"
CALLBACK = "callback must be a function `() -> callback`, not a Quiet: give a function that makes one"


class Quiet(BaseCallback):
    def _on_step(self) -> bool:
        return True


def make_env() -> gym.Env[Any, Any]:
    return gym.make("CartPole-v1")


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        ({"make_model": lambda: make_ppo(0)}, AGENT),
        ({"make_env": make_env}, ENVIRONMENT),
        ({"callback": Quiet}, CALLBACK),
        (
            {"searches": lambda: {"imp": rt.random_reinit}},
            "search 'imp' must be a plan, such as rt.IMP() or rt.Control",
        ),
        ({"searches": lambda: [rt.IMP()]}, 'searches are plans by name, as in {"imp": rt.IMP()}, got [IMP('),
        ({"trainer": lambda: "plain"}, "a trainer is an object such as rt.Plain() or rt.Cohorts(), got 'plain'"),
        ({"trainer": lambda: rt.Plain}, "a trainer is an object such as rt.Plain() or rt.Cohorts(), got <class"),
    ],
)
def test_what_is_no_function_and_no_plan_is_told_when_the_experiment_is_made(
    choice: dict[str, Any], sentence: str
) -> None:
    given = {name: make() for name, make in choice.items()}
    with pytest.raises(TypeError, match=re.escape(sentence)):
        rt.Experiment(**{"name": "a", "make_model": make_ppo, "make_env": make_env, "total_timesteps": 96, **given})


def test_nor_does_a_search_begin_with_them() -> None:
    with pytest.raises(TypeError, match=re.escape(AGENT)):
        rt.find_tickets(make_ppo(0), total_timesteps=96, densities=(1.0, 0.5))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=re.escape(AGENT)):
        rt.transfer(rt.Ticket(sparse_mask(make_ppo(0)), make_ppo(0).policy.state_dict()), make_ppo(0))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=re.escape(CALLBACK)):
        search(callback=Quiet())
    with pytest.raises(TypeError, match="a trainer is an object such as"):
        search(trainer="plain")
    with pytest.raises(TypeError, match="make_env must be a function `"):
        rt.evaluate(make_ppo(0), "CartPole-v1", episodes=1)  # type: ignore[arg-type]


def test_a_criterion_by_name_is_no_criterion_for_prune_either() -> None:
    with pytest.raises(TypeError, match=r"criterion must be a function .*, not 'lamp': give the function itself"):
        rt.prune(WEIGHTS, 0.5, criterion="lamp")  # type: ignore[arg-type]


def test_densities_may_be_an_array() -> None:
    densities = np.geomspace(1, 0.25, 3)
    assert check_densities(densities) == pytest.approx((1.0, 0.5, 0.25))  # type: ignore[arg-type]
    plan = rt.IMP(densities=densities)  # type: ignore[arg-type]
    assert plan == rt.IMP(densities=tuple(densities.tolist()))
    assert plan.settings() == rt.IMP(densities=tuple(densities.tolist())).settings()
    assert [round(level.density, 2) for level in search(densities=densities)] == [1.0, 0.5, 0.25]


def test_step_0_needs_no_rewind() -> None:
    levels = [list(search(rewind=rewind)) for rewind in (None, rt.Rewind(at=0))]
    assert [level.ticket.digest for level in levels[0]] == [level.ticket.digest for level in levels[1]]


# --- controls --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("made", "kind"), [(None, "None"), (rt.Mask.full(WEIGHTS), "a Mask")])
def test_a_control_that_is_no_ticket(made: Any, kind: str) -> None:
    def forgetful(ticket: rt.Ticket, make_model: Any, *, seed: int) -> Any:
        return made

    levels = search()
    next(levels)
    level = next(levels)
    start = rt.TrainingState.from_ticket(level.ticket)
    request = rt.Training(1, ticket=level.ticket, start=start)
    setup = Setup(make_ppo, 0, 96, (1.0, 0.5), outcomes_of=lambda name: [(request, level.trained)])
    with pytest.raises(
        TypeError, match=rf"the control \S*forgetful gave {kind} instead of a Ticket; return the changed"
    ):
        next(rt.Control(forgetful).search(setup))
    (control,) = rt.Control(rt.permuted_mask).search(setup)
    assert isinstance(control, rt.Training)
    assert control == replace(request, ticket=control.ticket, start=control.start)


@pytest.mark.parametrize("control", [rt.connected_permuted_mask, rt.connected_random_mask])
def test_a_control_that_cannot_be_made_of_this_agent_is_told_before_anything_trains(
    control: Any, tmp_path: Path
) -> None:
    own = BY_NAME["own_heads"]
    searches = {"imp": rt.IMP(), "connected": rt.Control(control)}
    experiment = rt.Experiment(
        name="own_heads",
        make_model=own.make,
        make_env=lambda: gym.make("CartPole-v1"),
        total_timesteps=own.total,
        densities=(1.0, 0.5),
        seeds=1,
        searches=searches,
    )
    with pytest.raises(ValueError, match=r"search 'connected': .*never calls 'forward_head'"):
        rt.run(experiment, jobs=1, out=tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"]


@pytest.mark.parametrize("network", ["actor", "critic"])
def test_a_control_is_tried_on_tickets_of_the_kind_that_will_be_found_alone(network: Any) -> None:
    """Of one network, whose other parts need not be understood; a control of one's own may read where it comes from."""
    own = BY_NAME["own_heads"]
    setup = Setup(own.make, 0, own.total, (1.0, 0.5), plans={"imp": rt.IMP(network=network), "all": rt.IMP()})
    rt.Control(rt.connected_permuted_mask).check_agent(own.make(0), setup)

    def reading(ticket: rt.Ticket, make_model: Any, *, seed: int) -> rt.Ticket:
        assert ticket.provenance["level"]
        return ticket

    rt.Control(reading, of="all").check_agent(own.make(0), setup)


def test_a_control_by_name() -> None:
    with pytest.raises(TypeError, match=r"a control is made by a function .* such as rt.random_mask, not by 'random_m"):
        rt.Control("random_mask")  # type: ignore[arg-type]


# --- holding ---------------------------------------------------------------------------------------------


def test_what_is_no_mask_is_not_held() -> None:
    model = make_ppo(0)
    mask = sparse_mask(model)
    ticket = rt.Ticket(mask, model.policy.state_dict())
    with pytest.raises(TypeError, match=r"not a whole ticket: hold `ticket.mask`, or plant the ticket"):
        rt.hold(model, ticket)  # type: ignore[arg-type]
    with pytest.raises(
        TypeError, match=r"a mask must be an rt.Mask, not a dict; make one with `rt.Mask\(\{name: bools"
    ):
        rt.hold(model, dict(mask))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=re.escape("read the file with `rt.Ticket.load('x.ticket')`")):
        rt.hold(model, "x.ticket")  # type: ignore[arg-type]
    assert rt.hold_of(model) is None
