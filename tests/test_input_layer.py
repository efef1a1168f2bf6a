"""What tickets read of the observation: counted along live paths, kept in a table, told and drawn in the report."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, CASES, Case
from matplotlib.figure import Figure
from scipy import stats
from stable_baselines3 import PPO
from test_neuron_tickets import Distracted, make_distracted
from tiny import PPO_EXPERIMENT, forked, make_env

import rl_tickets as rt
from rl_tickets.agents.networks import network_of
from rl_tickets.lab.preparing import begin
from rl_tickets.lab.store import Store
from rl_tickets.report.input_layer import MOST, input_layer
from rl_tickets.report.markdown import markdown
from rl_tickets.report.reading import Reading, readings, sparsest
from rl_tickets.report.results import Results
from rl_tickets.report.rows import LevelRow, Run, Series
from rl_tickets.report.tables import read_series

NAMES = ("hum", "hiss", "tell", "buzz", "drone", "click")
EXPERIMENT = rt.Experiment(
    name="distracted",
    make_model=make_distracted,
    make_env=Distracted,
    total_timesteps=1_536,
    densities=(1.0, 1 / 6),
    seeds=2,
    dense_seeds=2,
    searches={
        "inputs": rt.IMP(units=rt.inputs, criterion=rt.magnitude),
        "weights": rt.IMP(criterion=rt.magnitude, densities=(1.0, 0.1)),
        "permuted": rt.Control(rt.permuted_mask, of="weights"),
    },
    episodes=5,
    random_episodes=20,
    trainer=rt.Plain(),
    input_names=NAMES,
)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("inputs")
    assert forked(partial(rt.run, EXPERIMENT, jobs=1, out=out)) == 0
    return out / "distracted"


@pytest.fixture(scope="module")
def summary(out: Path) -> rt.Summary:
    return rt.Summary.read(out)


@pytest.fixture(scope="module")
def found(summary: rt.Summary) -> tuple[Reading, ...]:
    return summary.readings


# Counting


def test_reads_by_hand() -> None:
    """The actor's second unit is heard by nobody, so that what it reads is not read."""
    model = PPO("MlpPolicy", make_env(), policy_kwargs={"net_arch": [2]}, device="cpu")
    kept = {name: torch.zeros_like(bits) for name, bits in rt.Mask.dense(model).items()}
    kept["mlp_extractor.policy_net.0.weight"] = torch.tensor([[True, False, True, False], [True, True, True, True]])
    kept["action_net.weight"][0, 0] = True
    kept["mlp_extractor.value_net.0.weight"][:, 3] = True
    kept["value_net.weight"][0] = True
    reads = {name: counts.tolist() for name, counts in rt.paths(model, rt.Mask(kept)).reads.items()}
    actor, critic = "mlp_extractor.policy_net.0.weight", "mlp_extractor.value_net.0.weight"
    assert reads == {actor: [1, 0, 1, 0], critic: [0, 0, 0, 2]}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_dense_agent_reads_with_all_weights_that_see_the_observation(case: Case) -> None:
    if case.name == "own_heads":
        return
    model = case.make(0)
    mask, units = rt.Mask.dense(model), rt.inputs(model)
    counted = rt.paths(model, mask).reads
    expected = {name: torch.zeros(len(units), dtype=torch.long) for name in counted}
    for place, unit in enumerate(units):
        for name, weights in unit.weights.items():
            expected[name][place] = len(weights)
    assert {name: counts.tolist() for name, counts in counted.items()} == {n: c.tolist() for n, c in expected.items()}
    assert sum(int(counts.sum()) for counts in counted.values()) > 0


def test_parts_of_a_dict_stand_in_a_row() -> None:
    model = BY_NAME["ppo_dict"].make(0)
    kept = dict(rt.Mask.dense(model))
    for unit in rt.inputs(model):
        if (unit.layer, unit.index) != ("observation.pole", 1):
            for name, weights in unit.weights.items():
                kept[name].view(-1)[weights] = False
    assert all(counts[:3].sum() == 0 < counts[3] for counts in rt.paths(model, rt.Mask(kept)).reads.values())


# The table


def test_each_network_has_a_column(out: Path) -> None:
    rows = {row.run: row for row in read_series(out, "inputs")}
    dense = rows[Run("dense", 0, 0)]
    assert {network: list(counts) for network, counts in dense.columns.items()} == {
        "actor": [16] * 6,
        "critic": [16] * 6,
    }
    assert {run.search for run in rows} == {"dense", *EXPERIMENT.searches}


def test_the_table_counts_what_the_ticket_reads(out: Path) -> None:
    for row in read_series(out, "inputs"):
        path = out / "tickets" / row.run.search / f"seed-{row.run.seed}" / f"level-{row.run.level:02d}.ticket"
        if path.exists():
            model = make_distracted(row.run.seed)
            counts = rt.paths(model, rt.Ticket.load(path).mask).reads
            for network, kept in row.columns.items():
                parts = [each for name, each in counts.items() if network_of(name) == network]
                assert list(kept) == sum(parts[1:], parts[0]).tolist()


# The numbers of the picture, where the answer is known


def test_the_telling_dimension_is_what_tickets_of_inputs_read(found: tuple[Reading, ...]) -> None:
    ours = [reading for reading in found if reading.search == "inputs"]
    assert [reading.network for reading in ours] == ["actor", "critic"]
    for reading in ours:
        assert reading.dimensions == NAMES
        assert reading.shares.tolist() == [[float(name == "tell") for name in NAMES]] * 2
        assert reading.even.tolist() == [1 / 6] * 6
        assert "tell 1.00 [1.00, 1.00]" in reading.cells()


def test_single_weights_of_the_actor_read_the_telling_dimension_most(found: tuple[Reading, ...]) -> None:
    (reading,) = (each for each in sparsest(found) if (each.search, each.network) == ("weights", "actor"))
    assert NAMES[int(reading.mean.argmax())] == "tell"
    assert reading.mean[2] > 2 / 6


def test_controls_are_not_told(found: tuple[Reading, ...]) -> None:
    assert {reading.search for reading in found} == {"inputs", "weights"}


def test_the_report_tells_and_draws_it(out: Path) -> None:
    report = (out / "report.md").read_text()
    assert "| inputs | actor | " in report
    assert "| 1 of 6 | tell 1.00 [1.00, 1.00] |" in report
    assert "![What tickets read of the observation](input_layer.png)" in report
    assert (out / "input_layer.png").read_bytes()[:4] == b"\x89PNG"


def test_older_folders_are_reported_without_it(summary: rt.Summary, out: Path, tmp_path: Path) -> None:
    for path in out.iterdir():
        if path.suffix in (".csv", ".json") and path.name != "inputs.csv":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    results = Results.read(tmp_path)
    assert readings(results.inputs, results.levels, results.searches.proper, results.settings) == ()
    assert "What tickets read" in markdown(summary, [])
    assert "What tickets read" not in markdown(replace(summary, readings=()), [])


def row(seed: int, level: int, *, search: str = "imp", **counts: list[int]) -> Series:
    return Series("inputs", Run(search, seed, level), counts)


def level(seed: int, index: int, density: float) -> LevelRow:
    return LevelRow(Run("imp", seed, index), density, 0.0, 0, 0, 0.0, False, "", "", "")


def test_shares_and_intervals_by_hand() -> None:
    """Of 4 and of 5 weights; a third run reads nothing, and has no share."""
    rows = [row(0, 0, search="dense", actor=[10, 30]), row(0, 1, actor=[3, 1]), row(1, 1, actor=[1, 4])]
    rows += [row(2, 1, actor=[0, 0])]
    (reading,) = readings(rows, [level(0, 1, 0.1), level(1, 1, 0.2), level(2, 1, 0.3)], ["imp"], {})
    assert reading.shares.tolist() == [[0.75, 0.25], [0.2, 0.8]]
    assert (reading.blind, reading.dimensions) == (1, ("0", "1"))
    assert reading.density == pytest.approx(0.2)
    assert reading.even.tolist() == [0.25, 0.75]
    assert reading.mean == pytest.approx([0.475, 0.525])
    students = stats.t.interval(0.95, 1, loc=0.475, scale=stats.sem([0.75, 0.2]))
    assert reading.mean[0] - reading.half[0] == pytest.approx(students[0])
    assert reading.cells()[3:] == ("2 of 3", "2 of 2", "1 0.53 [0.00, 1.00], 0 0.47 [0.00, 1.00]")


def test_the_sparsest_level_that_reads_anything_is_told() -> None:
    rows = [row(0, 0, search="dense", actor=[1, 1]), row(0, 1, actor=[1, 0]), row(0, 2, actor=[0, 0])]
    found = readings(rows, [level(0, 1, 0.5), level(0, 2, 0.1)], ["imp"], {})
    assert [reading.level for reading in sparsest(found)] == [1]
    assert sparsest(found)[0].cells()[-1] == "0 1.00"


def test_nothing_is_told_of_what_was_not_counted() -> None:
    assert readings([], [level(0, 1, 0.5)], ["imp"], {}) == ()
    assert readings([row(0, 1, actor=[1, 0])], [level(0, 1, 0.5)], ["imp"], {}) == ()
    assert input_layer(()) is None


# The picture


def drawn_dimensions(figure: Figure) -> list[str]:
    figure.canvas.draw()
    return [label.get_text() for label in figure.axes[0].get_yticklabels()]


def test_a_row_for_each_search_and_a_column_for_each_network(found: tuple[Reading, ...]) -> None:
    figure = input_layer(found)
    assert figure is not None
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["inputs: actor", "inputs: critic", "weights: actor", "weights: critic"]
    assert drawn_dimensions(figure) == list(NAMES)


def test_what_reads_all_alike_is_not_drawn() -> None:
    rows = [row(0, 0, search="dense", actor=[8, 8]), row(0, 1, actor=[3, 3])]
    assert input_layer(readings(rows, [level(0, 1, 0.5)], ["imp"], {})) is None


def test_of_many_dimensions_those_are_drawn_that_are_read_most() -> None:
    counts = np.zeros(100, dtype=int)
    counts[::4] = np.arange(1, 26)
    rows = [row(0, 0, search="dense", actor=[8] * 100), row(0, 1, actor=counts.tolist())]
    figure = input_layer(readings(rows, [level(0, 1, 0.5)], ["imp"], {}))
    assert figure is not None
    drawn = drawn_dimensions(figure)
    assert drawn == [str(place) for place in range(4, 100, 4)]
    assert len(drawn) == MOST


# Names


@pytest.mark.parametrize(
    ("names", "error", "told"),
    [
        ("position", TypeError, "input_names must name each dimension"),
        (("position", ""), TypeError, "input_names must name each dimension"),
        (("position", "position"), ValueError, "input_names must be different names"),
    ],
)
def test_names_are_refused_at_once(names: Any, error: Any, told: str) -> None:
    with pytest.raises(error, match=told):
        replace(PPO_EXPERIMENT, input_names=names)


def test_names_that_are_too_few_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    experiment = replace(PPO_EXPERIMENT, input_names=("position", "velocity"))
    with pytest.raises(ValueError, match="input_names has 2 names, and the networks see 4 dimensions"):
        rt.run(experiment, jobs=1, out=tmp_path)


def test_names_may_change_under_an_existing_folder(out: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(out, tmp_path / "distracted"))
    begin(replace(EXPERIMENT, input_names=("a", "b", "c", "d", "e", "f")), Store(folder))
    results = Results.read(folder)
    found = readings(results.inputs, results.levels, ["inputs"], results.settings)
    assert found[0].dimensions == ("a", "b", "c", "d", "e", "f")
