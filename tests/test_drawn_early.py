"""When masks settle: known answers, distances by hand, and tickets that are drawn before dense training has ended."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, cartpole, differing, tensors, trained
from stable_baselines3 import DQN, PPO
from test_report import NOISE, SEEDS, level, runs, save
from tiny import PPO_EXPERIMENT, make_dqn

import rl_tickets as rt
from rl_tickets.lab.store import Store
from rl_tickets.report.apart import apart_maps
from rl_tickets.report.bargains import Bargain, bargain_plot, bargain_table, harmless_in, largest_harmless, pooled
from rl_tickets.report.drawn import NETWORKS, Drawn, drawn_plot, drawn_table, stops_table
from rl_tickets.report.rows import Run
from rl_tickets.report.tables import read_levels, read_series
from rl_tickets.training.requests import Training
from rl_tickets.training.runs import Setting, TrainingRun

DENSITIES = (0.5, 0.2)


def make(seed: int, learning_rate: float = 1e-2) -> PPO:
    kwargs: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [32, 32]}}
    return PPO("MlpPolicy", cartpole(), learning_rate=learning_rate, seed=seed, device="cpu", **kwargs)


def frozen(seed: int) -> PPO:
    return make(seed, learning_rate=0.0)


def watched(make_model: Any, distances: rt.MaskDistances, ticket: rt.Ticket | None = None, total: int = 256) -> Any:
    """Rows as columns, after a training by plain SB3."""
    run = TrainingRun(Setting(make_model, 0, total), Training(0, during=(distances,), ticket=ticket))
    rt.Plain().start()([run])
    rows = run.finish().observed["mask_distances"]
    return dict(zip(distances.columns, map(list, zip(*rows, strict=True)), strict=True))


def test_a_frozen_agent_settles_at_once() -> None:
    columns = watched(frozen, rt.MaskDistances(every=32, densities=DENSITIES))
    for density in DENSITIES:
        for network in ("whole", "actor", "critic"):
            settling = rt.Settling.of(columns, density, network)
            assert settling.steps == tuple(range(0, 257, 32)), "the last is the end of the run"
            assert not settling.apart.any()
            assert settling.stop(0.01, window=3) == 96
            assert settling.stop(0.01, window=3, after=40) == 160
            assert settling.false_stop(0.01, window=3) is False


def test_random_scores_never_settle_and_differ_by_chance() -> None:
    columns = watched(make, rt.MaskDistances(every=32, densities=DENSITIES, criterion=rt.random_scores))
    for density in DENSITIES:
        for network in ("whole", "actor", "critic"):
            settling = rt.Settling.of(columns, density, network)
            pairs = settling.apart[np.triu_indices(len(settling.steps), 1)]
            assert pairs.mean() == pytest.approx(1, abs=0.03)
            assert settling.stop(0.5, window=1) is None
            assert settling.false_stop(0.5, window=1) is None


@pytest.mark.parametrize("held", [False, True])
def test_distances_are_those_of_what_pruning_would_give_within_what_is_held(held: bool) -> None:
    model = make(0)
    weights = {name: model.policy.state_dict()[name] for name in rt.Mask.dense(model)}
    ticket = rt.Ticket(rt.prune(weights, 0.6).mask, dict(model.policy.state_dict()), {"tensors": {}, "copies": {}})
    columns = watched(make, rt.MaskDistances(every=64, densities=(0.3,)), ticket if held else None)
    run = TrainingRun(Setting(make, 0, 256), Training(0, ticket=ticket if held else None, keep_at=(64, 192)))
    rt.Plain().start()([run])
    kept, within = run.finish().kept, ticket.mask if held else rt.Mask.full(weights)
    drawn = [rt.prune({n: kept[at].policy[n] for n in weights}, 0.3, within=within).mask for at in (192, 64)]
    actor = [rt.Mask({n: mask[n] for n in mask if "policy" in n or "action" in n}) for mask in (*drawn, within)]
    place = list(zip(columns["step"], columns["other_step"], strict=True)).index((192, 64))
    assert columns["whole"][place] == drawn[0].kept_distance(drawn[1]) / drawn[0].chance_kept_distance(drawn[1], within)
    assert columns["actor"][place] == actor[0].kept_distance(actor[1]) / actor[0].chance_kept_distance(*actor[1:])
    assert 0 < columns["whole"][place] < 1


def test_an_agent_without_an_actor_of_its_own_tells_of_the_whole_alone() -> None:
    columns = watched(make_dqn, rt.MaskDistances(every=50, densities=(0.5,)), total=200)
    assert all(map(math.isnan, columns["actor"]))
    assert not any(map(math.isnan, columns["whole"]))
    assert isinstance(make_dqn(0), DQN)


def test_it_stops_where_early_bird_stops() -> None:
    columns = watched(make, rt.MaskDistances(every=32, densities=(0.5,), criterion=rt.magnitude), total=640)
    settling = rt.Settling.of(columns, 0.5)
    found = set()
    for threshold in (0.02, 0.05, 0.1, 0.2, 0.4):
        for window, after in ((1, 0), (3, 0), (3, 100)):
            settings = {"threshold": threshold, "window": window}
            bird = rt.EarlyBird(every=32, density=0.5, criterion=rt.magnitude, after=after, **settings)
            run = TrainingRun(Setting(make, 0, 640), Training(0, during=(bird,)))
            rt.Plain().start()([run])
            timesteps, stop = run.finish().timesteps, settling.stop(after=after, **settings)
            assert timesteps == (640 if stop is None else stop + 1)
            found.add(stop)
    assert len(found) > 3
    assert None in found


def test_observing_changes_nothing_and_goes_on_after_a_kill() -> None:
    case = replace(BY_NAME["ppo"], make=make, total=256)
    distances = rt.MaskDistances(every=32, densities=DENSITIES)
    model, result, saved = trained(case, Training(0, during=(distances,)), boundaries=(0, 96, 192))
    plain, _, _ = trained(case, Training(0), boundaries=(0, 96, 192))
    assert differing(tensors(model), tensors(plain)) == []
    for progress in saved:
        _, other, _ = trained(case, Training(0, during=(distances,)), resume=progress, boundaries=(0, 96, 192))
        assert other.observed["mask_distances"] == result.observed["mask_distances"]


def test_a_false_stop_is_one_whose_mask_still_moves_farther() -> None:
    apart = np.array([[0, 0.1, 0.9, 0.9], [0.1, 0, 0.8, 0.8], [0.9, 0.8, 0, 0.05], [0.9, 0.8, 0.05, 0]])
    settling = rt.Settling((0, 10, 20, 30), apart)
    assert (settling.stop(0.1, window=1), settling.off(10), settling.false_stop(0.1, window=1)) == (10, 0.8, True)
    assert (settling.stop(0.9, window=2), settling.false_stop(0.9, window=2)) == (20, False)
    assert settling.stop(0.05, window=1) is None, "the final mask is not among those that early-bird sees"


EXPERIMENT = replace(
    PPO_EXPERIMENT,
    searches={"drawn": rt.DrawnEarly(at=(32, 96), every=32), "imp": rt.IMP(densities=(1.0, 0.2))},
    callback=None,
    trainer=rt.Plain(),
    keep="all",
    segment=None,
)


def test_every_ticket_trains_as_the_final_one_and_only_its_mask_is_older(tmp_path: Path) -> None:
    summary = rt.run(EXPERIMENT, jobs=1, out=tmp_path)
    rows = {row.run: row for row in read_levels(summary.folder)}
    store = Store(summary.folder)
    variants = ("step32", "step96", "", "again")
    for place, density in ((1, 0.5), (2, 0.2)):
        tickets = {v: rt.Ticket.load(summary.folder / rows[Run("drawn", 0, place, v)].ticket) for v in variants}
        for variant, spent in zip(variants, (32, 96, 160, 160), strict=True):
            row = rows[Run("drawn", 0, place, variant)]
            assert (row.spent, row.timesteps) == (spent, 160)
            assert row.density == pytest.approx(density, abs=2e-3)
        assert tickets["again"].mask == tickets[""].mask
        first = tickets["step32"].weights
        assert all(torch.equal(first[name], weight) for name, weight in tickets[""].weights.items()), "rewound alike"
        ends = [store.trained(Run("drawn", 0, place, variant)) for variant in ("", "again")]
        assert all(end is not None for end in ends)
        assert any(not torch.equal(ends[0].end.policy[n], w) for n, w in ends[1].end.policy.items())  # type: ignore[union-attr]
    (one,) = (row for run, row in rows.items() if run[:3] == ("imp", 0, 1))
    final = rows[Run("drawn", 0, 2)]
    assert one.mean_return == final.mean_return, "the final ticket is one-shot IMP's"
    assert rt.Ticket.load(summary.folder / one.ticket).mask == rt.Ticket.load(summary.folder / final.ticket).mask
    (series,) = (each for each in read_series(summary.folder, "mask_distances") if each.run.seed == 0)
    assert rt.Settling.of(series.columns, 0.2).steps == (0, 32, 64, 96, 128, 160)


def test_impossible_settings_are_refused() -> None:
    for settings, message in (
        ({}, r"must be ascending, from the rewind point 0 on, got \(\)"),
        ({"at": (64, 32)}, "must be ascending"),
        ({"at": (32,), "rewind": rt.Rewind(at=64)}, "from the rewind point 64 on"),
        ({"at": (32,), "early_bird": rt.EarlyBird(every=5)}, "no early-bird may end"),
    ):
        with pytest.raises(ValueError, match=message):
            rt.DrawnEarly(**settings)
    with pytest.raises(ValueError, match="step 160 is beyond the budget of 160"):
        replace(EXPERIMENT, searches={"drawn": rt.DrawnEarly(at=(32, 160))})
    with pytest.raises(ValueError, match="step 150 is beyond the last rollout"):
        rt.DrawnEarly(at=(150,)).check_agent(make(0), EXPERIMENT.setup(0))
    for settings, message in (
        ({"every": 0, "densities": (0.5,)}, "`every` must be at least 1"),
        ({"every": 5, "densities": ()}, "there must be one"),
        ({"every": 5, "densities": (1.0,)}, r"lie in \(0, 1\)"),
    ):
        with pytest.raises(ValueError, match=message):
            rt.MaskDistances(**settings)
    with pytest.raises(ValueError, match=r"no masks were drawn at density 0\.3, only at 0\.5"):
        rt.Settling.of({"density": [0.5], "step": [1], "other_step": [0], "whole": [0.1]}, 0.3)
    assert rt.DrawnEarly(at=(640, 1_280)).scaled(0.1, 64).at == (64, 128)


def drawn(final: dict[int, float], apart: np.ndarray) -> Drawn:
    settling = {network: dict.fromkeys(final, rt.Settling((0, 10, 20, 30, 40), apart)) for network in NETWORKS}
    early = {
        10: {seed: score - 0.5 for seed, score in final.items()},
        20: {seed: s - 0.01 for seed, s in final.items()},
    }
    again = {seed: score + (-0.2 if seed == 0 else 0.1) for seed, score in final.items()}
    return Drawn("imp", 0.4, settling, early, final, 2, again, trained=40, margin=0.05)


SETTLED = 1 - np.eye(5)
"""Far apart, but for two neighbours early in training, and the last two."""
SETTLED[1, 2] = SETTLED[2, 1] = 0.15
SETTLED[3, 4] = SETTLED[4, 3] = 0.05


def test_a_stop_is_charged_with_the_last_ticket_drawn_by_then_and_all_its_steps() -> None:
    found = drawn(dict.fromkeys(range(5), 1.0), SETTLED)
    none, soon = found.stopped(0.1, 1, 0), found.stopped(0.2, 1, 0)
    assert (none.count, none.saved, none.step, set(none.scores.values())) == (0, 0, 40, {1.0})
    assert (soon.count, soon.step, soon.false) == (5, 20, 5)
    assert soon.saved == pytest.approx(20 / 80), "of the dense run and of its ticket's own training"
    assert set(soon.scores.values()) == {0.99}
    assert soon.worse(soon.scores) == 0
    assert soon.worse(found.again) == 1
    assert none.worse(found.again) == 0, "none of those that stopped"
    assert soon.cells(1.0)[3:7] == ("5 of 5", "20", "25 %", "5 of 5 [57 %, 100 %]")
    assert none.cells(1.0)[6] == "–"
    assert found.less_final(found.early[10]).difference == pytest.approx(-0.5)
    assert found.less_final(found.again).difference == pytest.approx(0.04)
    table = stops_table([found], (0.1, 0.2), 1, 0).splitlines()
    assert len(table) == 4
    assert "| 0.2 | 5 of 5 | 20 | 25 % |" in table[3]
    row = drawn_table([found]).splitlines()[2]
    assert row.startswith("| imp | 0.4 | 1.00 | 2 of 5 | -0.500 [-0.500, -0.500] | -0.010 [-0.010, -0.010] |")
    lines = [line for line in drawn_plot([found], "").axes[0].get_lines() if line.get_marker() == "o"]
    assert list(lines[0].get_ydata()) == pytest.approx([-0.5, -0.01])  # type: ignore[call-overload]
    maps = apart_maps([found], "")
    assert np.array_equal(maps.axes[0].images[0].get_array(), SETTLED)  # type: ignore[arg-type]
    assert [axes.get_title(loc="left") for axes in maps.axes[:3]] == list(NETWORKS)
    unknown = np.where(np.eye(5, dtype=bool), 0.0, np.nan)
    alone = {**found.settling, "actor": dict.fromkeys(found.final, rt.Settling((0, 10, 20, 30, 40), unknown))}
    titles = [axes.get_title(loc="left") for axes in apart_maps([replace(found, settling=alone)], "").axes]
    assert "actor" not in titles, "an agent without an actor has no map of it"


def test_the_largest_harmless_threshold_is_below_all_that_harm() -> None:
    steady = np.linspace(-0.01, 0.01, 20)
    wild = np.tile([-1.0, 1.0], 10)

    def bargain(family: str, threshold: float, lost: np.ndarray) -> Bargain:
        return Bargain(family, "", threshold, 1.0, 2.0, dict(enumerate(lost.tolist())), full=1.0)

    def both(**magnitude: np.ndarray) -> list[Bargain]:
        at = {"0.05": steady, "0.1": steady, "0.2": steady}
        searches = {"lamp": at, "magnitude": {**at, **magnitude}}
        return [bargain(family, float(t), lost) for family, found in searches.items() for t, lost in found.items()]

    fine = both()
    assert largest_harmless(fine, 0.05) == 0.2
    assert pooled(fine)[0.1] == rt.contrast(steady, np.zeros(20))
    less = both(**{"0.1": steady - 0.03})
    assert pooled(less)[0.1].difference == pytest.approx(-0.015)
    assert largest_harmless(less, 0.05) == 0.2, "less, and shown, but by no more than the margin"
    assert largest_harmless(less, 0.02) == 0.05, "more than the margin"
    assert largest_harmless(both(**{"0.2": wild}), 0.05) == 0.1, "not shown"
    assert largest_harmless(both(**{"0.05": wild}), 0.05) is None, "nor any above it"
    hidden = [replace(each, less=dict.fromkeys(each.less, 0.3)) if each.family == "lamp" else each for each in less]
    assert harmless_in(pooled(hidden), 0.02) == 0.2
    assert largest_harmless(hidden, 0.02) == 0.05, "what one gains hides nothing that the other loses"
    assert largest_harmless([bargain("lamp", 0.05, np.zeros(4))], 0.05) is None, "too few seeds"


def test_a_bargain_is_of_the_sparsest_ticket_and_all_that_led_to_it(tmp_path: Path) -> None:
    levels = [*runs("dense", [100.0]), *runs("imp", [100.0, 90.0])]
    cheap = [level("cheap", seed, 2, 80.0 + NOISE[seed % len(NOISE)]) for seed in range(SEEDS)]
    levels = [replace(row, spent=1_000 * row.run.level) for row in levels] + [replace(row, spent=500) for row in cheap]
    summary = rt.Summary.read(save(tmp_path, levels))
    bargain = Bargain.of(summary, "lamp", "cheap", "imp", 0.1)
    assert (bargain.taken, bargain.whole, bargain.saved) == (1_500, 3_000, 0.5)
    assert bargain.lost.difference == pytest.approx(-0.1, abs=0.001)
    assert (
        bargain_table([bargain]).splitlines()[2].startswith("| cheap | 0.1 | 48 | 1,500 | 3,000 | 50 % | 0.90 | -0.1")
    )
    points = [line for line in bargain_plot([bargain], "", 0.05).axes[0].get_lines() if line.get_label() == "lamp"]
    assert list(points[0].get_xdata()) == [50.0]  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="Toy has no search 'gone'; it has cheap, imp"):
        Bargain.of(summary, "lamp", "gone", "imp", 0.1)
