"""Early-bird at every level: what looks for a mask ends once it has settled, and tickets train as IMP's do."""

import itertools
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from agents_matrix import BY_NAME, cartpole, small
from stable_baselines3 import PPO
from tiny import PPO_EXPERIMENT, Count, assert_same, counted, forked, make_ppo, trained_steps

import rl_tickets as rt
from rl_tickets.lab.store import Store
from rl_tickets.report.rows import Run
from rl_tickets.report.tables import read_levels
from rl_tickets.search.driving import side_by_side
from rl_tickets.training.requests import Name, Trained, Training
from rl_tickets.training.runs import Setting, TrainingRun

DENSITIES = (1.0, 0.5, 0.2, 0.1)
BIRD = rt.EarlyBird(every=32, window=1, threshold=0.9)
NEVER = replace(BIRD, window=1_000)


def frozen(seed: int) -> PPO:
    """Never changes, so that its masks are settled from the start."""
    kwargs: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": small()}
    return PPO("MlpPolicy", cartpole(), learning_rate=0.0, seed=seed, **kwargs)


def learning(seed: int) -> PPO:
    """Enough weights for chance to even out."""
    return PPO(
        "MlpPolicy", cartpole(), n_steps=32, batch_size=32, n_epochs=1, policy_kwargs={"net_arch": [32, 32]}, seed=seed
    )


def searched(plan: rt.Plan, make: Any, total: int = 320) -> dict[Name, tuple[Training, Trained]]:
    """All trainings of a plan with one seed, by plain SB3."""
    setup = rt.Setup(make, 0, total, DENSITIES)
    train, found = rt.Plain().start(), {}
    plan.check(setup)
    rounds = side_by_side({0: plan.search(setup)})
    requests = next(rounds)[0]
    while True:
        runs = [TrainingRun(Setting(make, 0, total), request) for request in requests]
        train(runs)
        answers = tuple(run.finish() for run in runs)
        found |= {request.name: pair for request, *pair in zip(requests, requests, answers, strict=True)}
        try:
            requests = rounds.send({0: answers})[0]
        except StopIteration:
            assert set(found) == set(plan.trainings(setup))
            return {name: (request, trained) for name, (request, trained) in found.items()}


def test_a_frozen_agent_settles_as_soon_as_the_window_is_full_at_every_level() -> None:
    bird = rt.EarlyBird(every=32, window=3)
    found = searched(rt.EarlyBirdIMP(rewind=rt.Rewind(at=64), early_bird=bird), frozen)
    # From the rewind point: a window of three, the fourth stops, which SB3 asks for one step later.
    assert found[Name(0)][1].timesteps == 64 + 3 * 32 + 1
    for level in (1, 2):
        assert found[Name(level, "search")][1].timesteps == 3 * 32 + 1
        assert all(seen.distance == 0 for seen in found[Name(level, "search")][1].sightings)
    spent = [found[Name(level)][0].spent for level in (1, 2, 3)]
    assert spent == [161, 161 + 97, 161 + 2 * 97], "what looked for the masks, and nothing else"
    assert all(found[Name(level)][1].timesteps == 320 - 64 for level in (1, 2, 3))


def test_random_scores_never_settle_at_any_level_and_differ_by_chance() -> None:
    plan = rt.EarlyBirdIMP(criterion=rt.random_scores, early_bird=replace(BIRD, threshold=0.5), at=(0.1,))
    found = searched(plan, learning)
    looking = [found[name][1] for name in (Name(0), Name(1, "search"), Name(2, "search"))]
    assert [each.timesteps for each in looking] == [320] * 3
    for each in looking:
        ratios = [seen.distance / seen.chance for seen in each.sightings]
        assert sum(ratios) / len(ratios) == pytest.approx(1, abs=0.1), "within the mask that is held"
    assert found[Name(3)][0].spent == 3 * 320
    assert set(found) == {Name(0), Name(1, "search"), Name(2, "search"), Name(3)}, "none but the last is evaluated"


def test_where_masks_never_settle_it_is_imp() -> None:
    make = BY_NAME["ppo"].make
    ours = searched(rt.EarlyBirdIMP(early_bird=NEVER, criterion=rt.magnitude), make)
    theirs = searched(rt.IMP(criterion=rt.magnitude, early_bird=NEVER), make)
    for level in (1, 2, 3):
        (request, trained), (other, reference) = ours[Name(level)], theirs[Name(level)]
        assert request.ticket is not None
        assert other.ticket is not None
        assert request.ticket.mask == other.ticket.mask
        assert request.spent == other.spent
        for name, weight in trained.end.policy.items():
            assert torch.equal(weight, reference.end.policy[name])


def test_masks_are_drawn_within_the_held_one_and_nest() -> None:
    found = searched(rt.EarlyBirdIMP(early_bird=BIRD), BY_NAME["ppo"].make)
    masks = [request.ticket.mask for name, (request, _) in sorted(found.items()) if request.ticket is not None]
    assert all(later.is_within(earlier) for earlier, later in itertools.pairwise(masks))
    assert sum(found[Name(level, "search")][1].timesteps for level in (1, 2)) < 2 * 320


def test_units_settle_as_units() -> None:
    plan = rt.EarlyBirdIMP(early_bird=rt.EarlyBird(every=32, window=1), units=rt.neurons, densities=(1.0, 0.5, 0.25))
    setup = rt.Setup(frozen, 0, 320, DENSITIES)
    (bird,) = plan._dense(setup).during
    assert isinstance(bird, rt.EarlyBird)
    model = frozen(0)
    kept = bird.drawing().mask(model, None)
    pruned = rt.prune(
        dict(model.policy.named_parameters()) | {}, 0.5, within=rt.Mask.dense(model), units=rt.neurons(model)
    )
    assert kept == pruned.mask
    assert kept.density != pytest.approx(0.5, abs=0.02), "half of the neurons is not half of the weights"


EXPERIMENT = replace(
    PPO_EXPERIMENT,
    searches={
        "imp": rt.IMP(criterion=rt.lamp),
        "cheap": rt.EarlyBirdIMP(criterion=rt.lamp, early_bird=BIRD),
        "cheap_reinit": rt.Control(rt.random_reinit, of="cheap"),
    },
    callback=None,
    trainer=rt.Plain(),
)


def test_an_experiment_judges_tickets_and_tells_what_looking_for_them_took(tmp_path: Path) -> None:
    summary = rt.run(EXPERIMENT, jobs=1, out=tmp_path)
    rows = {row.run: row for row in read_levels(summary.folder)}
    names = {(run.level, run.variant) for run in rows if run.search == "cheap"}
    assert names == {(0, ""), (1, "search"), (1, ""), (2, "")}
    assert {(run.level, run.variant) for run in rows if run.search == "cheap_reinit"} == {(1, ""), (2, "")}
    assert [search.name for search in summary.searches] == ["imp", "cheap", "cheap_reinit"]
    (savings,) = summary.savings
    looked = [rows[Run("cheap", seed, *name)].timesteps for seed in (0, 1) for name in ((0, ""), (1, "search"))]
    assert savings.taken == sum(looked) / 2 + 160
    assert savings.whole == 3 * 160
    assert savings.saved_in_all == pytest.approx(1 - savings.taken / savings.whole)
    text = (summary.folder / "report.md").read_text()
    assert "`cheap` ended the 2 runs that look for the mask of its sparsest ticket after" in text
    assert "| cheap:search" not in text, "what looks for masks is no ticket"
    assert rows[Run("cheap", 0, 2)].spent == looked[0] + looked[1]
    assert Store(summary.folder).trained(Run("cheap", 0, 1, "search")) is not None


def test_killed_and_resumed_it_ends_with_the_same_bytes(tmp_path: Path) -> None:
    experiment = replace(EXPERIMENT, callback=Count, seeds=1, dense_seeds=1)
    reference, out = tmp_path / "reference", tmp_path / "killed"
    assert forked(partial(rt.run, experiment, jobs=1, out=reference)) == 0
    whole, killed = trained_steps(reference / "tiny"), 0
    with counted(tmp_path / "steps"):
        for share in (0.3, 0.7):
            reached = partial(_beyond, tmp_path / "steps", share * whole)
            killed += forked(partial(rt.run, experiment, jobs=1, out=out), kill_when=reached) == -signal.SIGKILL
        assert killed >= 2
        assert forked(partial(rt.run, experiment, jobs=1, out=out)) == 0
    assert_same(out / "tiny", reference / "tiny")


def _beyond(path: Path, steps: float) -> bool:
    return path.stat().st_size > steps


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(TypeError, match=r"needs to know when: EarlyBirdIMP\(early_bird=rt.EarlyBird"):
        rt.EarlyBirdIMP()
    with pytest.raises(ValueError, match=r"no ticket at density 0\.3 to train to the end: the search has 0\.5, 0\.2"):
        replace(EXPERIMENT, searches={"cheap": rt.EarlyBirdIMP(early_bird=BIRD, at=(0.3,))})
    with pytest.raises(ValueError, match="early-bird needs the density of its masks"):
        replace(EXPERIMENT, searches={"cheap": rt.EarlyBirdIMP(early_bird=BIRD, densities=(1.0,))})
    with pytest.raises(TypeError, match="units must be a function"):
        rt.EarlyBird(every=5, units="neurons")  # type: ignore[arg-type]
    assert make_ppo(0).seed == 0
