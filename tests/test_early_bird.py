"""Early-bird: training stops when, and only when, the mask has stopped changing."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from agents_matrix import BY_NAME, cartpole, differing, small, tensors, trained
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import BaseCallback

import rl_tickets as rt
from rl_tickets.tickets.selecting import prune
from rl_tickets.training.requests import Training

CASE = replace(BY_NAME["ppo"], total=384)


def frozen(seed: int) -> PPO:
    """Never changes, so that its mask is settled from the start."""
    kwargs: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": small()}
    return PPO("MlpPolicy", cartpole(), learning_rate=0.0, seed=seed, **kwargs)


class Weights(BaseCallback):
    """The weights at the start of every rollout."""

    def __init__(self) -> None:
        super().__init__()
        self.at: dict[int, dict[str, torch.Tensor]] = {}

    def _on_rollout_start(self) -> None:
        self.at[self.num_timesteps] = tensors(self.model)

    def _on_step(self) -> bool:
        return True


def test_a_settled_mask_stops_training_as_soon_as_the_window_is_full() -> None:
    bird = rt.EarlyBirdCallback(rt.EarlyBird(density=0.5, every=32, window=3, after=64))
    model = frozen(0).learn(400, callback=bird)
    assert bird.stopped_at == 64 + 3 * 32
    assert model.num_timesteps == 64 + 3 * 32 + 1
    assert [(s.step, s.other_step) for s in bird.sightings] == [
        (96, 64),
        (128, 64),
        (128, 96),
        (160, 64),
        (160, 96),
        (160, 128),
    ]
    assert all(s.distance == 0 and s.chance == pytest.approx(0.5, abs=0.01) for s in bird.sightings)
    assert bird.mask is not None
    assert bird.mask.density == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("over_kept", [True, False])
def test_sightings_are_the_masks_distances_and_stopping_follows_from_them(over_kept: bool) -> None:
    settings = rt.EarlyBird(density=0.3, every=48, window=2, threshold=0.2, over_kept=over_kept, criterion=rt.lamp)
    bird, weights = rt.EarlyBirdCallback(settings), Weights()
    model = CASE.make(0)
    model.learn(CASE.total, callback=[weights, bird])
    layers = list(rt.Mask.dense(model))
    steps = sorted({s.step for s in bird.sightings} | {s.other_step for s in bird.sightings})
    assert steps == list(range(0, steps[-1] + 1, 48))
    masks = {
        step: prune({name: weights.at[step][name] for name in layers}, 0.3, criterion=rt.lamp).mask for step in steps
    }
    for sighting in bird.sightings:
        ours, theirs = masks[sighting.step], masks[sighting.other_step]
        if over_kept:
            assert sighting.distance == ours.kept_distance(theirs)
            assert sighting.chance == ours.chance_kept_distance(theirs)
        else:
            assert sighting.distance == ours.distance(theirs)
            assert sighting.chance == ours.chance_distance(theirs)
    settled = [
        step
        for index, step in enumerate(steps)
        if index >= 2 and all(s.distance <= 0.2 * s.chance for s in bird.sightings if s.step == step)
    ]
    assert bird.stopped_at == (settled[0] if settled else None)
    assert bird.stopped_at is None or bird.stopped_at == steps[-1]


def test_a_mask_that_goes_on_changing_never_stops_training() -> None:
    bird = rt.EarlyBirdCallback(rt.EarlyBird(density=0.5, every=16, window=1, criterion=rt.random_scores))
    model = CASE.make(0).learn(160, callback=bird)
    assert bird.stopped_at is None
    assert model.num_timesteps == 160
    assert min(s.distance / s.chance for s in bird.sightings) > 0.5


def test_a_search_never_stops_before_its_rewind_point() -> None:
    bird = rt.EarlyBird(every=16, window=2)
    dense, sparse = rt.find_tickets(
        frozen, total_timesteps=320, densities=(1.0, 0.5), rewind=rt.Rewind(at=96), early_bird=bird
    )
    assert next(s.other_step for s in dense.trained.sightings) == 96
    assert dense.timesteps == 96 + 2 * 16 + 1
    assert sparse.timesteps == 320 - 96
    assert sparse.trained.sightings == ()
    assert dense.ticket.provenance["rewind"]["step"] == 96


def test_fine_tuning_after_an_early_bird_trains_as_long_as_rewinding_would() -> None:
    levels = rt.find_tickets(
        lambda seed: PPO("MlpPolicy", cartpole(), n_steps=16, batch_size=16, n_epochs=1, policy_kwargs=small()),
        total_timesteps=160,
        densities=(1.0, 0.5, 0.3),
        rewind=rt.FineTuning(at=16),
        early_bird=rt.EarlyBird(every=16, window=1, threshold=0.9),
    )
    dense, *tuned = levels
    assert dense.timesteps == 33
    assert [level.timesteps for level in tuned] == [144, 144]


@pytest.mark.parametrize(("threshold", "timesteps"), [(0.03, 97), (0.01, 384)])
def test_a_resumed_early_bird_level_equals_an_uninterrupted_one(threshold: float, timesteps: int) -> None:
    bird = rt.EarlyBird(density=0.3, every=32, window=2, threshold=threshold, criterion=rt.magnitude)
    request = Training(0, during=(bird,), keep_at=(32,))
    model, result, saved = trained(CASE, request, boundaries=(0, 32, 96))
    assert len(saved) == 2
    assert result.timesteps == timesteps
    for progress in saved:
        again, other, _ = trained(CASE, request, resume=progress, boundaries=(0, 32, 96))
        assert differing(tensors(again), tensors(model)) == []
        assert other.sightings == result.sightings
        assert other.timesteps == result.timesteps


def test_a_criterion_of_its_own_wins_and_none_is_the_searchs() -> None:
    seen: list[str] = []

    def told(name: str) -> Any:
        def criterion(weights: Any, start: Any) -> Any:
            seen.append(name)
            return rt.magnitude(weights, start)

        return criterion

    for own, expected in ((told("bird's"), {"bird's"}), (None, {"search's"})):
        bird = rt.EarlyBird(every=32, window=1, threshold=0.01, criterion=own)
        levels = rt.find_tickets(
            CASE.make, total_timesteps=96, densities=(1.0, 0.5), criterion=told("search's"), early_bird=bird
        )
        next(levels)
        assert set(seen) == expected, "of the dense level, before anything is pruned"
        seen.clear()
        levels.close()
    completed = rt.EarlyBird(every=1, scope="layer").completed(density=0.5, criterion=rt.magnitude, scope="network")
    assert (completed.scope, completed.criterion, completed.density) == ("layer", rt.magnitude, 0.5)


def test_impossible_settings_are_refused() -> None:
    for settings, message in (
        ({"every": 0}, "`every` must be at least 1"),
        ({"every": 5, "window": 0}, "`window` must be at least 1"),
        ({"every": 5, "threshold": 1.0}, "`threshold` is a fraction of chance"),
        ({"every": 5, "scope": "galaxy"}, 'scope must be "global"'),
    ):
        with pytest.raises(ValueError, match=message):
            rt.EarlyBird(**settings)
    with pytest.raises(TypeError, match=r"criterion must be a function .* not 'lamp'"):
        rt.EarlyBird(every=5, criterion="lamp")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs the density"):
        rt.EarlyBirdCallback(rt.EarlyBird(every=5))
    with pytest.raises(ValueError, match="needs the density"):
        rt.find_tickets(frozen, total_timesteps=100, densities=(1.0,), early_bird=rt.EarlyBird(every=5))
