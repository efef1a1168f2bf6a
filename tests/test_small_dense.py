"""Small dense agents: with as many weights as a ticket, trained as that agent alone, told in shares of ours."""

from __future__ import annotations

import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from agents_matrix import train
from stable_baselines3 import PPO
from tiny import PPO_EXPERIMENT, assert_same, counted, forked, make_dqn, make_ppo, trained_steps

import rl_tickets as rt
from rl_tickets.lab.evaluating import evaluate_over
from rl_tickets.lab.store import Store
from rl_tickets.report.rows import Run
from rl_tickets.report.summary import Summary
from rl_tickets.report.tables import read_levels, read_series
from rl_tickets.search.widths import Widths
from rl_tickets.training.requests import Training
from rl_tickets.training.runs import Setting


def small(seed: int, width: int, **changes: Any) -> PPO:
    return make_ppo(seed, **{"policy_kwargs": {"net_arch": [width]}, **changes})


EXPERIMENT = replace(
    PPO_EXPERIMENT,
    seeds=2,
    dense_seeds=2,
    searches={"imp": rt.IMP(), "small": rt.SmallDense(small), "small_at": rt.SmallDense(small, at=(0.2,))},
    trainer=rt.Cohorts(seeds=2),
    keep="all",
)


def weights_of(width: int) -> int:
    """CartPole has 4 observations; one hidden layer in the actor, of two actions, and one in the critic."""
    return (4 + 2) * width + (4 + 1) * width


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    rt.run(EXPERIMENT, jobs=1, out=folder)
    return folder / "tiny"


def test_a_width_is_the_one_with_the_nearest_number_of_weights() -> None:
    widths = Widths(small)
    counts = [weights_of(width) for width in range(1, 40)]
    for weights in (1, 11, 16, 17, 100, 176, 258, 259, 300):
        nearest = min(counts, key=lambda count: (abs(count - weights), count))
        assert widths.weights(widths.nearest(weights)) == nearest, weights


def test_it_is_told_beside_the_ticket_in_shares_of_the_experiments_agent(out: Path) -> None:
    rows = {row.run: row for row in read_levels(out)}
    total = weights_of(16)
    sizes = {row.run: row.columns for row in read_series(out, table="sizes")}
    assert {(run.search, run.level) for run in sizes} == {("small", 1), ("small", 2), ("small_at", 2)}
    for run, columns in sizes.items():
        ticket = rows[Run("imp", run.seed, run.level)]
        (width,), (weights,), (kept,) = (columns[name] for name in ("width", "weights", "ticket_weights"))
        assert weights == weights_of(int(width))
        assert kept == round(ticket.density * total)
        assert abs(weights - kept) <= weights_of(1) / 2
        assert rows[run].density == pytest.approx(weights / total)


def test_it_trains_as_that_agent_alone_does(out: Path) -> None:
    sizes = {row.run: int(row.columns["width"][0]) for row in read_series(out, table="sizes")}
    boundaries = EXPERIMENT.boundaries
    for run, width in sizes.items():
        setting = Setting(partial(small, width=width), run.seed, EXPERIMENT.total_timesteps, boundaries)
        _, alone = train(setting, Training(0))
        kept = Store(out).trained(run)
        assert kept is not None
        for name, weight in alone.end.policy.items():
            torch.testing.assert_close(kept.end.policy[name], weight, rtol=0, atol=1e-5)


def test_its_final_policy_plays_again_in_an_agent_of_its_size(out: Path, tmp_path: Path) -> None:
    evaluate_over(out, EXPERIMENT, episodes=EXPERIMENT.episodes, out=tmp_path / "again")
    assert (tmp_path / "again" / "returns.csv").read_bytes() == (out / "returns.csv").read_bytes()


def test_the_report_tells_its_sizes(out: Path) -> None:
    told = Summary.read(out).sizes
    assert [sentence.split(" of ")[0] for sentence in told] == [
        f"`{n}` trained dense agents" for n in ("small", "small_at")
    ]
    (size,) = {row.columns["weights"][0] for row in read_series(out, "sizes") if row.run.search == "small_at"}
    assert f"width 3 ({size:.0f} weights, 35 in the ticket)" in told[1]
    assert all(sentence in (out / "report.md").read_text() for sentence in told)


def test_killed_and_resumed_it_ends_with_the_same_bytes(out: Path, tmp_path: Path) -> None:
    act = partial(rt.run, EXPERIMENT, jobs=1, out=tmp_path)
    with counted(tmp_path / "steps"):
        half = trained_steps(out) / 2
        assert forked(act, kill_when=lambda: (tmp_path / "steps").stat().st_size > half) == -signal.SIGKILL
        assert forked(act) == 0
    assert_same(tmp_path / "tiny", out)


def of_one_size(seed: int, width: int) -> PPO:
    return small(seed, 8)


def slower(seed: int, width: int) -> PPO:
    return small(seed, width, learning_rate=1e-4)


def relu(seed: int, width: int) -> PPO:
    return small(seed, width, policy_kwargs={"net_arch": [width], "activation_fn": torch.nn.ReLU})


def another(seed: int, width: int) -> Any:
    return make_dqn(seed)


@pytest.mark.parametrize(
    ("plan", "sentence"),
    [
        (rt.SmallDense(of_one_size), "gives agents of width 1 and 2 with 88 and 88 prunable weights: the wider one"),
        (
            rt.SmallDense(slower),
            r"in hyperparameters learning_rate: 0\.0001 in place of 0\.0003; let `make` change the size",
        ),
        (rt.SmallDense(relu), "differs from the experiment's in policy_kwargs activation_fn: "),
        (rt.SmallDense(another), "prunable weights: the wider one must have more"),
    ],
    ids=["one size", "learning rate", "activation", "algorithm"],
)
def test_an_agent_that_differs_in_more_than_its_size_is_refused(plan: Any, sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        rt.run(replace(EXPERIMENT, searches={"imp": rt.IMP(), "small": plan}), jobs=1, out=tmp_path)
    assert not [*tmp_path.rglob("levels.csv")]


def test_a_ticket_smaller_than_any_dense_agent_is_refused_before_anything_trains(tmp_path: Path) -> None:
    sparse = replace(EXPERIMENT, densities=(1.0, 0.5, 0.04), searches={"imp": rt.IMP()})
    with pytest.raises(ValueError, match=r"search 'small': .*density 0.04 keeps 7 weights, fewer than the 11 .*`at`"):
        rt.run(replace(sparse, searches={"imp": rt.IMP(), "small": rt.SmallDense(small)}), jobs=1, out=tmp_path)
    assert not [*tmp_path.rglob("levels.csv")]
    fitting = rt.SmallDense(small, at=(0.5,))
    rt.run(replace(sparse, searches={"imp": rt.IMP(), "small": fitting}, total_timesteps=32), jobs=1, out=tmp_path)


def test_it_is_made_by_a_function() -> None:
    with pytest.raises(TypeError, match=r"made by a function `\(seed, width\) -> model`, not by 64"):
        rt.SmallDense(64)  # type: ignore[arg-type]
