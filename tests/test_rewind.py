"""Rewinding: each part goes back, or stays, as its flag says."""

from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from agents_matrix import (
    BY_NAME,
    OFF,
    LearningRates,
    Watch,
    cartpole,
    differing,
    pendulum,
    small,
    sparse_mask,
    train,
    trained,
)
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

import rl_tickets as rt
from rl_tickets.agents.state import TrainingState
from rl_tickets.search.plan import Setup
from rl_tickets.tickets.identity import describe, text_of
from rl_tickets.training.requests import Trained, Training
from rl_tickets.training.runs import Setting
from rl_tickets.training.ticketing import make_ticket
from rl_tickets.training.trainers import Trainer

SAC = BY_NAME["sac"]
"""Has every part: entropy coefficient, moments, VecNormalize, replay buffer."""


@cache
def dense() -> Trained:
    return trained(SAC, Training(0, keep_at=(SAC.at,)))[1]


@cache
def begun(rewind: rt.Rewind) -> tuple[rt.Mask, TrainingState, Trained]:
    """What a sparse level of SAC starts from."""
    start = rewind.start(dense().kept[SAC.at], dense().end)
    mask = sparse_mask(SAC.make(0))
    seen: list[TrainingState] = []
    ticket = make_ticket(mask, start, dense(), rewind, {})
    until, schedule_end = rewind.budget(SAC.total, dense().kept[SAC.at], start)
    rate = rewind.held_exploration_rate(dense().end)
    request = Training(1, ticket=ticket, start=start, until=until, schedule_end=schedule_end, exploration_rate=rate)
    _, result, _ = trained(SAC, request, callback=lambda: Watch(seen))
    return mask, seen[0], result


def moments(state: TrainingState) -> list[torch.Tensor]:
    assert state.optimizers is not None
    return [s["exp_avg"] for o in state.optimizers.values() for s in o["state"].values()]


def only(**flags: bool) -> rt.Rewind:
    parts = ("weights", "optimizer", "normalizer", "replay_buffer", "schedule", "counters")
    return rt.Rewind(at=SAC.at, **{part: flags.get(part, False) for part in parts})


def test_rewound_weights_are_start_times_mask() -> None:
    mask, seen, _ = begun(only(weights=True))
    point = dense().kept[SAC.at]
    expected = mask.apply(point.policy)
    twins = {"critic_target" + name.removeprefix("critic"): name for name in mask if name.startswith("critic.")}
    expected |= {copy: expected[copy] * mask[name] for copy, name in twins.items()}
    assert differing(seen.policy, expected) == []
    assert point.weights is not None
    assert seen.weights is not None
    assert torch.equal(seen.weights["tensors"]["log_ent_coef"], point.weights["tensors"]["log_ent_coef"])


def test_weights_that_stay_are_the_trained_ones() -> None:
    mask, seen, _ = begun(only())
    name = "actor.mu.weight"
    assert torch.equal(seen.policy[name], dense().end.policy[name] * mask[name])
    assert not torch.equal(dense().end.policy[name], dense().kept[SAC.at].policy[name])


def test_rewound_moments_are_those_of_the_point_times_the_mask() -> None:
    mask, seen, _ = begun(only(optimizer=True))
    point = dense().kept[SAC.at]
    assert seen.optimizers is not None
    assert point.optimizers is not None
    ours, theirs = (s.optimizers["policy.actor.optimizer"]["state"] for s in (seen, point))  # type: ignore[index]
    model = SAC.make(0)
    named = {id(p): name for name, p in model.policy.named_parameters()}
    order = [named[id(p)] for p in model.policy.actor.parameters()]  # type: ignore[union-attr]
    for index, name in enumerate(order):
        expected = theirs[index]["exp_avg"] * mask.get(name, 1)
        assert torch.equal(ours[index]["exp_avg"], expected)
    assert any(m.any() for m in moments(seen))


def test_moments_that_do_not_rewind_start_empty() -> None:
    assert moments(begun(only())[1]) == []


def test_the_normalizer_rewinds_or_stays() -> None:
    def mean(state: TrainingState) -> Any:
        assert state.normalizer is not None
        return state.normalizer["observations"][""]["mean"]

    point, end = mean(dense().kept[SAC.at]), mean(dense().end)
    assert not np.array_equal(point, end)
    assert np.array_equal(mean(begun(only(normalizer=True))[1]), point)
    assert np.array_equal(mean(begun(only())[1]), end)


def test_the_replay_buffer_rewinds_or_starts_empty() -> None:
    def filled(state: TrainingState) -> Any:
        assert state.replay_buffer is not None
        return state.replay_buffer["pos"], state.replay_buffer["observations"][: state.replay_buffer["pos"]]

    ours, theirs = filled(begun(only(replay_buffer=True))[1]), filled(dense().kept[SAC.at])
    assert ours[0] == theirs[0] == SAC.at
    assert np.array_equal(ours[1], theirs[1])
    assert filled(begun(only())[1])[0] == 0


def test_the_schedule_goes_on_at_the_point_or_runs_from_its_start_over_as_many_steps() -> None:
    for rewind, position in ((only(schedule=True), SAC.at), (only(), 0)):
        _, seen, result = begun(rewind)
        assert seen.timesteps == position
        assert result.timesteps == SAC.total - SAC.at


def test_counters_go_back_only_where_asked() -> None:
    point = dense().kept[SAC.at]
    counters = begun(only(counters=True))[1].counters
    assert counters is not None
    assert point.counters is not None
    assert counters["_n_updates"] == point.counters["_n_updates"] > 0
    counters = begun(only())[1].counters
    assert counters is not None
    assert counters["_n_updates"] == 0


def test_the_entropy_coefficient_goes_back_with_the_weights_or_stays_alone() -> None:
    point, end = (state.tensors["log_ent_coef"] for state in (dense().kept[SAC.at], dense().end))
    assert not torch.equal(point, end)
    _, seen, _ = begun(replace(only(weights=True), exploration=False))
    assert torch.equal(seen.tensors["log_ent_coef"], end)
    assert differing(begun(only(weights=True))[1].policy, seen.policy) == []
    assert torch.equal(begun(only(weights=True))[1].tensors["log_ent_coef"], point)


def gaussian(seed: int) -> PPO:
    kwargs = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": small()}
    return PPO("MlpPolicy", pendulum(), learning_rate=1e-2, seed=seed, **kwargs)  # type: ignore[arg-type]


@pytest.mark.parametrize("exploration", [True, False])
def test_a_gaussian_policys_spread_goes_back_with_the_weights_or_stays_alone(exploration: bool) -> None:
    seen: list[TrainingState] = []
    rewind = rt.Rewind(at=32, exploration=exploration)
    levels = list(
        rt.find_tickets(gaussian, total_timesteps=80, densities=(1.0, 0.6), rewind=rewind, callback=lambda: Watch(seen))
    )
    dense, ticket = levels[0].trained, levels[1].ticket
    point = dense.kept[32].policy
    came_from = point if exploration else dense.end.policy
    assert not torch.equal(point["log_std"], dense.end.policy["log_std"])
    assert torch.equal(seen[1].policy["log_std"], came_from["log_std"])
    assert torch.equal(ticket.weights["log_std"], came_from["log_std"])
    assert differing({**ticket.mask.apply(point), "log_std": came_from["log_std"]}, seen[1].policy) == []
    assert ("exploration" in ticket.provenance["rewind"]["parts"]) is exploration


def test_the_exploration_of_what_diverged_is_not_carried_on() -> None:
    point = TrainingState.capture(gaussian(0))
    lost = point.with_policy({name: torch.full_like(weight, torch.nan) for name, weight in point.policy.items()})
    start = rt.Rewind(at=0, exploration=False).start(point, lost)
    assert differing(start.policy, point.policy) == []


def test_re_initialised_controls_explore_as_their_tickets_do() -> None:
    model = gaussian(0)
    weights = {**model.policy.state_dict(), "log_std": torch.full((1,), -1.5)}
    ticket = rt.Ticket(sparse_mask(model), weights, {"tensors": {}, "copies": {}})
    for control in (rt.random_reinit, rt.rescaled_reinit):
        made = control(ticket, gaussian, seed=0)
        assert torch.equal(made.weights["log_std"], weights["log_std"])
        assert not torch.equal(made.weights["action_net.weight"], weights["action_net.weight"])


class Epsilons(BaseCallback):
    """Remembers epsilon at every step."""

    def __init__(self, seen: list[list[float]]) -> None:
        super().__init__()
        self._seen: list[float] = []
        seen.append(self._seen)

    def _on_step(self) -> bool:
        self._seen.append(self.model.exploration_rate)  # type: ignore[attr-defined]
        return True


def explorer(seed: int) -> DQN:
    return DQN("MlpPolicy", cartpole(), exploration_fraction=1.0, seed=seed, policy_kwargs=small(), **OFF)


@pytest.mark.parametrize("trainer", [rt.Plain(), rt.Cohorts()], ids=["plain", "cohort"])
def test_epsilon_goes_back_with_the_schedule_or_stays_where_training_left_it(trainer: Trainer) -> None:
    falling = [1 - 0.95 * step / 96 for step in range(97)]
    for rewind, expected in (
        (rt.Rewind(at=32), falling[32:96]),
        (rt.Rewind(at=32, exploration=False), [falling[96]] * 64),
        (rt.Rewind(at=32, exploration=False, schedule=False), [falling[96]] * 64),
        (rt.Rewind(at=32, exploration=False, weights=False), [falling[96]] * 64),
    ):
        seen: list[list[float]] = []
        levels = rt.find_tickets(
            explorer,
            total_timesteps=96,
            densities=(1.0, 0.6),
            rewind=rewind,
            callback=partial(Epsilons, seen),
            trainer=trainer,
        )
        assert [level.timesteps for level in levels] == [96, 64]
        assert seen[0][1:] == pytest.approx(falling[1:96])
        assert seen[1] == pytest.approx(expected)


def test_parts_are_named() -> None:
    assert rt.Rewind.exact(5).parts == (
        "weights",
        "optimizer",
        "normalizer",
        "replay_buffer",
        "schedule",
        "counters",
        "exploration",
    )
    assert rt.Rewind.learning_rate(5).parts == ("schedule", "exploration")


def test_a_negative_point_is_refused() -> None:
    with pytest.raises(ValueError, match="an environment step from 0 on, got -1"):
        rt.Rewind(at=-1)


def falling(seed: int) -> PPO:
    schedule = LinearSchedule(1e-2, 1e-3, 1.0)
    kwargs = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": small()}
    return PPO("MlpPolicy", cartpole(), learning_rate=schedule, seed=seed, **kwargs)  # type: ignore[arg-type]


def rates(rewind: rt.Rewind, total: int = 80) -> list[tuple[int, int, list[float]]]:
    """First step, steps and learning rates of three levels."""
    loggers: list[LearningRates] = []
    seen: list[TrainingState] = []

    def make(seed: int) -> PPO:
        model = falling(seed)
        loggers.append(LearningRates())
        model.set_logger(loggers[-1])
        return model

    levels = rt.find_tickets(
        make, total_timesteps=total, densities=(1.0, 0.7, 0.4), rewind=rewind, callback=lambda: Watch(seen), seed=0
    )
    steps = [level.timesteps for level in levels]
    return [(s.timesteps, n, log.seen) for s, n, log in zip(seen, steps, loggers, strict=True)]


def rate_at(step: int, total: int = 80) -> float:
    return 1e-2 + (1e-3 - 1e-2) * step / total


def test_learning_rate_rewinding_keeps_trained_weights_and_rewinds_the_schedule() -> None:
    levels = rates(rt.Rewind.learning_rate(at=32))
    assert levels[0][2] == pytest.approx([rate_at(step) for step in (16, 32, 48, 64, 80)])
    for begin, steps, seen in levels[1:]:
        assert (begin, steps) == (32, 48)
        assert seen == pytest.approx([rate_at(step) for step in (48, 64, 80)])
    mask, first, _ = begun(rt.Rewind.learning_rate(at=SAC.at))
    assert differing(mask.apply(first.policy), first.policy) == []
    assert torch.equal(first.policy["actor.mu.weight"], dense().end.policy["actor.mu.weight"] * mask["actor.mu.weight"])


def test_fine_tuning_stays_at_the_end_of_the_schedule_for_every_level() -> None:
    levels = rates(rt.FineTuning(at=32))
    assert [(begin, steps) for begin, steps, _ in levels] == [(0, 80), (80, 48), (128, 48)]
    for _, _, seen in levels[1:]:
        assert seen == pytest.approx([1e-3] * 3)


def test_fine_tuning_refuses_a_schedule_that_ends_at_zero_at_once() -> None:
    def make(seed: int) -> PPO:
        return PPO("MlpPolicy", cartpole(), learning_rate=lambda left: 1e-3 * left, seed=seed, policy_kwargs=small())

    with pytest.raises(ValueError, match=r"last learning rate, which is 0 here: nothing would be trained"):
        rt.find_tickets(make, total_timesteps=100, densities=(1.0, 0.5), rewind=rt.FineTuning(at=0))


def test_a_point_inside_a_rollout_is_rounded_up_and_says_so() -> None:
    model, request = falling, Training(0, keep_at=(20,))
    with pytest.warns(rt.RewindWarning, match="rewind point 20 lies inside a rollout; the rollout's end at step 32"):
        _, result = train(Setting(model, 0, 80, (0, 20)), request)
    assert result.kept[20].timesteps == 32
    start = rt.Rewind.exact(20).start(result.kept[20], result.end)
    full = make_ticket(result.mask, start, result, rt.Rewind.exact(20), {})
    _, again = train(Setting(model, 0, 80, (0, 20)), Training(1, ticket=full, start=start))
    assert differing(again.end.policy, result.end.policy) == []


@pytest.mark.parametrize("at", [80, 100])
def test_a_point_beyond_the_budget_is_refused_before_any_training(at: int) -> None:
    message = rf"rewind point {at} is beyond the budget of 80"
    with pytest.raises(ValueError, match=message):
        rt.find_tickets(falling, total_timesteps=80, densities=(1.0, 0.5), rewind=rt.Rewind(at=at))
    checkpoints: list[object] = []
    with pytest.raises(ValueError, match=message):
        train(Setting(falling, 0, 80, (0, 32), checkpoint=checkpoints.append), Training(0, keep_at=(at,)))
    assert checkpoints == []


def test_a_point_in_the_last_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match="rewind point 70 is beyond the last rollout"):
        train(Setting(falling, 0, 80, (0, 70)), Training(0, keep_at=(70,)))


@pytest.mark.parametrize("at", [32.0, np.int64(32)])
def test_a_whole_number_of_any_kind_is_a_step(at: Any) -> None:
    for found in (rt.Rewind(at=at).at, *rt.DrawnEarly(at=(at,)).at, *rt.Instability(at=(at,)).at):
        assert (found, type(found)) == (32, int)
    parts: list[Any] = [lambda: rt.Rewind(0.1), lambda: rt.DrawnEarly(at=(0.1,)), lambda: rt.Instability(at=(0.1,))]  # type: ignore[arg-type]
    for part in parts:
        with pytest.raises(ValueError, match=r"an environment step is a whole number, got 0\.1"):
            part()


@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("normalizer", "VecNormalize"),
        ("replay_buffer", "a replay buffer"),
        ("exploration", "exploration that training changes"),
    ],
)
def test_a_part_that_the_agent_does_not_have_cannot_stay_behind(part: str, name: str) -> None:
    """Such a search would be the usual one under another name."""
    without = rt.Rewind(at=32, **{part: False})
    with pytest.raises(
        ValueError, match=rf"Rewind\({part}=False\) is Rewind\(\) to an agent without {name}, as this PPO"
    ):
        rt.find_tickets(falling, total_timesteps=80, densities=(1.0, 0.5), rewind=without)
    for rewind in (rt.Rewind.learning_rate(32), rt.FineTuning(32), rt.Rewind(at=32, optimizer=False)):
        rewind.check_agent(falling(0))
    without.check_agent(SAC.make(0))


def test_the_noise_that_an_agent_was_given_is_none_that_training_changes() -> None:
    without = rt.Rewind(at=32, exploration=False)
    for name in ("td3", "ddpg"):
        with pytest.raises(ValueError, match=r"Rewind\(exploration=False\) is Rewind\(\) to an agent without"):
            without.check_agent(BY_NAME[name].make(0))
    for make in (explorer, gaussian):
        without.check_agent(make(0))


@pytest.mark.parametrize(
    "plan",
    [
        rt.IMP(rewind=rt.Rewind(at=32, exploration=False), early_bird=rt.EarlyBird(every=8)),
        rt.EarlyBirdIMP(rewind=rt.Rewind(at=32, exploration=False), early_bird=rt.EarlyBird(every=8)),
        rt.DrawnEarly(rewind=rt.Rewind(at=32, exploration=False), at=(48,), every=8),
    ],
    ids=lambda plan: type(plan).__name__,
)
def test_an_epsilon_that_is_hardly_trained_is_not_held(plan: rt.IMP) -> None:
    setup = Setup(explorer, 0, 96, (1.0, 0.5))
    with pytest.raises(ValueError, match="holds the epsilon at which training ended, and this DQN would still explore"):
        plan.check_agent(explorer(0), setup)
    plan.check_agent(gaussian(0), replace(setup, make_model=gaussian))


@pytest.mark.parametrize("part", ["weights", "optimizer", "normalizer", "replay_buffer", "schedule", "exploration"])
def test_fine_tuning_rewinds_no_part(part: str) -> None:
    assert rt.FineTuning(at=32).parts == ()
    with pytest.raises(ValueError, match=f"FineTuning rewinds nothing.*: leave {part}=False out"):
        rt.FineTuning(at=32, **{part: False})
    with pytest.raises(ValueError, match="leave counters=True out"):
        rt.FineTuning.exact(32)


def test_a_choice_that_older_versions_did_not_have_is_told_where_it_is_made() -> None:
    assert "exploration" not in text_of(describe(rt.Rewind(at=32)))
    assert "exploration=False" in text_of(describe(rt.Rewind(at=32, exploration=False)))


@pytest.mark.parametrize("schedule", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_levels_of_a_search_start_from_start_times_mask(weights: bool, schedule: bool) -> None:
    seen: list[TrainingState] = []
    rewind = rt.Rewind(at=32, weights=weights, schedule=schedule)
    levels = list(
        rt.find_tickets(
            falling, total_timesteps=80, densities=(1.0, 0.6, 0.3), rewind=rewind, callback=lambda: Watch(seen)
        )
    )
    for level, before, state in zip(levels[1:], levels, seen[1:], strict=False):
        source = levels[0].ticket.weights if rewind.weights else before.trained.end.policy
        assert differing(state.policy, level.ticket.mask.apply(source)) == []
        assert differing(dict(level.ticket.weights), dict(source)) == []
