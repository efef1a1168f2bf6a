"""Off-policy agents in cohorts: transitions, minibatches, losses, steps and targets are SB3's, for every option."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, Image, cartpole, differing, pendulum, small, started, tensors, vec
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC
from stable_baselines3 import DDPG, DQN, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import NStepReplayBuffer, ReplayBuffer
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback
from stable_baselines3.common.envs import BitFlippingEnv
from stable_baselines3.common.noise import ActionNoise, NormalActionNoise, OrnsteinUhlenbeckActionNoise
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack, VecNormalize
from stable_baselines3.dqn.policies import DQNPolicy
from test_cohort import (
    COHORTS,
    PLAIN,
    Choices,
    Counts,
    Numbers,
    Sines,
    StopAt,
    Tags,
    largest_difference,
    setting,
    ticket_for,
)
from test_learn import tensor_bytes
from test_moving_masks import Rewire, check_zeros, hold_in
from test_rehearsal import Averaging, Noisy, untouched
from tiny import ROOT

import rl_tickets as rt
from rl_tickets.agents import anatomy
from rl_tickets.agents.state import TrainingState
from rl_tickets.training import trainers
from rl_tickets.training.cohorts import rehearsing
from rl_tickets.training.cohorts.cohort import Cohort
from rl_tickets.training.cohorts.joining import shape_of
from rl_tickets.training.cohorts.off_policy.dqn import DQNSteps
from rl_tickets.training.requests import Progress, Trained, Training
from rl_tickets.training.runs import TrainingRun
from rl_tickets.training.trainers import Train

Make = Callable[[int], BaseAlgorithm]
TOLERANCE = 1e-5
OFF: dict[str, Any] = {
    "learning_rate": 1e-2,
    "learning_starts": 16,
    "batch_size": 8,
    "buffer_size": 60,
    "train_freq": 4,
}


def dqn(seed: int, env: Callable[[], Any] = cartpole, policy: Any = "MlpPolicy", **changes: Any) -> DQN:
    settings = {"target_update_interval": 10, **little(), **OFF, **changes}
    return DQN(policy, env(), seed=seed, device="cpu", **settings)


def noise(cls: Any = NormalActionNoise, size: int = 1) -> ActionNoise:
    found: ActionNoise = cls(np.zeros(size), np.full(size, 0.3))
    return found


def td3(seed: int, env: Callable[[], Any] = pendulum, policy: Any = "MlpPolicy", cls: Any = TD3, **changes: Any) -> TD3:
    settings = {"action_noise": noise(), **little(), **OFF, "learning_rate": 2e-3, **changes}
    found: TD3 = cls(policy, env(), seed=seed, device="cpu", **settings)
    return found


def sac(seed: int, env: Callable[[], Any] = pendulum, policy: Any = "MlpPolicy", **changes: Any) -> SAC:
    settings = {**little(), **OFF, **changes}
    return SAC(policy, env(), seed=seed, device="cpu", **settings)


def qrdqn(seed: int, env: Callable[[], Any] = cartpole, **changes: Any) -> QRDQN:
    settings = {"target_update_interval": 10, **little(n_quantiles=5), **OFF, **changes}
    return QRDQN("MlpPolicy", env(), seed=seed, device="cpu", **settings)


def tqc(seed: int, env: Callable[[], Any] = pendulum, **changes: Any) -> TQC:
    settings = {**little(n_quantiles=5), **OFF, **changes}
    return TQC("MlpPolicy", env(), seed=seed, device="cpu", **settings)


def numbers(space: Any, count: int = 1) -> Any:
    """Class numbers."""
    return vec(partial(Numbers, space), count)


def steered(shape: tuple[int, ...], count: int = 1, normalize: bool = False) -> Any:
    """Bounds that are not symmetric."""
    return vec(partial(Choices, spaces.Box(-1, 3, shape)), count, normalize)


def little(**more: Any) -> dict[str, Any]:
    """One hidden layer: half as long to trace."""
    return {"policy_kwargs": small(net_arch=[8], **more)}


def optimizer(cls: type, **kwargs: Any) -> dict[str, Any]:
    return little(optimizer_class=cls, optimizer_kwargs=kwargs)


def choices(count: int = 1, normalize: bool = False) -> Any:
    """Truncated after 7 steps, and observed in double precision."""
    return vec(partial(Choices, spaces.Discrete(3)), count, normalize)


SMALL_MEMORY: dict[str, Any] = {
    "optimize_memory_usage": True,
    "replay_buffer_class": ReplayBuffer,
    "replay_buffer_kwargs": {"handle_timeout_termination": False},
}
# With a larger epsilon Adam does not make steps of the rounding of gradients that are zero.
IMAGES: dict[str, Any] = {"features_extractor_kwargs": {"features_dim": 16}, "optimizer_kwargs": {"eps": 1e-3}}
SCHEDULE = LinearSchedule(1e-2, 0, 1.0)
THREE = {"n_critics": 3}
OWN = {"features_extractor_class": Sines}
NO_TIME_LIMITS = {"replay_buffer_kwargs": {"handle_timeout_termination": False}}
OPTIONS: dict[str, Make] = {
    "dqn": dqn,
    "dqn: every step, tight norm": partial(dqn, train_freq=1, max_grad_norm=0.01),
    "dqn: several environments, more gradient steps": partial(dqn, env=partial(cartpole, 3), gradient_steps=3),
    "dqn: as many gradient steps as steps": partial(dqn, gradient_steps=-1, env=partial(choices, 2)),
    "dqn: no gradient steps": partial(dqn, gradient_steps=0),
    "dqn: schedule, all at random": partial(dqn, learning_rate=SCHEDULE, exploration_final_eps=1.0),
    "dqn: schedule of epsilon": partial(dqn, exploration_fraction=0.9, gamma=0.5),
    "dqn: never at random": partial(dqn, exploration_initial_eps=0.0, exploration_final_eps=0.0, learning_starts=0),
    "dqn: polyak, rmsprop": partial(
        dqn, tau=0.3, target_update_interval=3, **optimizer(torch.optim.RMSprop, alpha=0.9)
    ),
    "dqn: sgd": partial(dqn, **optimizer(torch.optim.SGD, momentum=0.9)),
    "td3: sgd without momentum": partial(td3, **optimizer(torch.optim.SGD)),
    "dqn: three steps": partial(dqn, n_steps=3, env=choices),
    "dqn: three steps, normalised": partial(dqn, n_steps=3, env=partial(choices, 2, True)),
    "dqn: small memory": partial(dqn, env=choices, **SMALL_MEMORY),
    "dqn: small memory, several environments": partial(dqn, env=partial(choices, 2), **SMALL_MEMORY),
    "dqn: time limits": partial(dqn, env=choices),
    "dqn: time limits as ends": partial(dqn, env=choices, **NO_TIME_LIMITS),
    "dqn: normalised": partial(dqn, env=partial(vec, "CartPole-v1", 2, True)),
    "dqn: normalised elsewhere": partial(dqn, env=lambda: VecNormalize(VecFrameStack(choices(2), 2))),
    "dqn: observations as they are": partial(dqn, env=lambda: VecNormalize(cartpole(2), norm_obs=False)),
    "dqn: whole numbers, normalised": partial(dqn, env=partial(vec, Counts, 2, True)),
    "dqn: images": partial(dqn, policy="CnnPolicy", env=partial(vec, Image), policy_kwargs=IMAGES),
    "dqn: own extractor, adamw": partial(
        dqn, **little(optimizer_class=torch.optim.AdamW, optimizer_kwargs={"weight_decay": 0.1}, **OWN)
    ),
    "dqn: class numbers": partial(dqn, env=partial(numbers, spaces.Discrete(3), 2)),
    "qrdqn": qrdqn,
    "qrdqn: tight norm, several class numbers": partial(
        qrdqn, max_grad_norm=0.01, tau=0.5, env=partial(numbers, spaces.MultiDiscrete([2, 3])), n_steps=3
    ),
    "td3": td3,
    "td3: Ornstein and Uhlenbeck, own extractor": partial(
        td3, env=partial(steered, (1,), 2), action_noise=noise(OrnsteinUhlenbeckActionNoise), **little(**OWN)
    ),
    "td3: several environments": partial(td3, env=partial(pendulum, 3), gradient_steps=-1),
    "td3: no delay, three critics": partial(td3, policy_delay=1, tau=0.3, **little(**THREE)),
    "td3: delay of three": partial(td3, policy_delay=3, gradient_steps=4),
    "td3: target noise, small memory": partial(td3, target_policy_noise=1.0, target_noise_clip=0.3, **SMALL_MEMORY),
    "td3: normalised": partial(td3, env=partial(pendulum, 2, True)),
    "td3: three steps": partial(td3, n_steps=3, env=partial(steered, (1,))),
    "td3: several dimensions, no noise": partial(td3, env=partial(steered, (2, 2)), action_noise=None),
    "ddpg": partial(td3, cls=DDPG),
    "sac": sac,
    "sac: fixed coefficient, noise": partial(sac, ent_coef=0.2, action_noise=noise()),
    "sac: coefficient from, schedule": partial(sac, ent_coef="auto_0.1", target_entropy=-3.0, learning_rate=SCHEDULE),
    "sac: targets seldom": partial(sac, target_update_interval=2, gradient_steps=5),
    "sac: several environments, normalised": partial(sac, env=partial(pendulum, 2, True), gradient_steps=2, gamma=0.5),
    "sac: three steps, adamw": partial(
        sac, n_steps=3, env=partial(steered, (1,)), **optimizer(torch.optim.AdamW, weight_decay=0.1)
    ),
    "sac: several dimensions, own extractor": partial(sac, env=partial(steered, (2,), 2), **little(**OWN)),
    "sac: every step, three critics": partial(sac, train_freq=1, **little(**THREE)),
    "tqc": tqc,
    "tqc: fixed coefficient, three critics, targets seldom": partial(
        tqc,
        ent_coef=0.2,
        top_quantiles_to_drop_per_net=0,
        target_update_interval=2,
        gradient_steps=3,
        env=partial(pendulum, 2, True),
        **little(n_quantiles=3, **THREE),
    ),
}


def train(runs: Sequence[TrainingRun | None]) -> None:
    started(COHORTS)(runs)


def together(*runs: TrainingRun | None) -> list[Trained | None]:
    train(runs)
    return [run and run.finish() for run in runs]


def ends(*runs: TrainingRun | None) -> list[dict[str, torch.Tensor]]:
    return [trained.end.policy for trained in together(*runs) if trained is not None]


def both_ways(runs: Callable[[], list[TrainingRun]], train: Train = train) -> list[tuple[TrainingRun, TrainingRun]]:
    """The same runs, trained in a cohort and by SB3."""
    ours, theirs = runs(), runs()
    train(ours)
    PLAIN.start()(theirs)
    return list(zip(ours, theirs, strict=True))


def total_of(make: Make) -> int:
    """Enough for a handful of updates after the warm-up, and for target networks to follow."""
    return 36 * int(make(0).n_envs)


def sampled(model: Any) -> dict[str, np.ndarray]:
    """What a replay buffer holds."""
    return {name: value for name, value in vars(model.replay_buffer).items() if isinstance(value, np.ndarray)}


def counts(state: TrainingState) -> dict[str, Any]:
    return {name: (state.counters or {}).get(name) for name in ("_n_updates", "_n_calls", "_total_timesteps")}


def demand_alike(one: Any, other: Any, tolerance: float = TOLERANCE) -> None:
    """Weights, moments, schedules, counters, statistics and transitions."""
    assert largest_difference(one.policy.state_dict(), other.policy.state_dict()) < tolerance
    mine, sb3s = TrainingState.capture(one), TrainingState.capture(other)
    assert sorted(mine.optimizers or {}) == sorted(sb3s.optimizers or {})
    for path, expected in (sb3s.optimizers or {}).items():
        moments = (mine.optimizers or {})[path]["state"]
        assert sorted(moments) == sorted(expected["state"])
        for index, state in expected["state"].items():
            for key, value in state.items():
                torch.testing.assert_close(
                    torch.as_tensor(moments[index][key]), torch.as_tensor(value), atol=tolerance, rtol=1e-3
                )
    for name, tensor in anatomy.loose_tensors(other).items():
        torch.testing.assert_close(getattr(one, name), tensor, atol=tolerance, rtol=0)
    assert mine.schedule == sb3s.schedule
    assert counts(mine) == counts(sb3s)
    for part, statistics in (sb3s.normalizer or {}).items():
        torch.testing.assert_close((mine.normalizer or {})[part], statistics, check_dtype=False)
    ours = sampled(one)
    for name, array in sampled(other).items():
        np.testing.assert_allclose(ours[name], array, atol=tolerance, rtol=10 * tolerance, err_msg=name)
    assert (one.replay_buffer.pos, one.replay_buffer.full) == (other.replay_buffer.pos, other.replay_buffer.full)


every_option = pytest.mark.parametrize("option", OPTIONS)
ignoring = pytest.mark.filterwarnings("ignore:The number of environments used is greater")


@ignoring
@every_option
def test_updates_are_sb3s_own_train(option: str) -> None:
    """A dense member and two held ones, from the warm-up on: transitions, minibatches, weights, moments, logs."""
    make = OPTIONS[option]
    assert COHORTS.obstacle(make(0)) is None
    logs: list[Tags] = []

    def log(model: BaseAlgorithm) -> None:
        logs.append(Tags())
        model.set_logger(logs[-1])

    def run(seed: int) -> TrainingRun:
        ticket = ticket_for(make, seed) if seed else None
        return TrainingRun(setting(make, seed, total_of(make), log=log), Training(0, ticket=ticket))

    for one, other in both_ways(lambda: [run(seed) for seed in range(3)]):
        updates = other.model._n_updates  # type: ignore[attr-defined]
        assert updates > 3 or "no gradient steps" in option
        demand_alike(one.model, other.model)
    for ours, theirs in zip(logs[:3], logs[3:], strict=True):
        assert ours.name_to_value == pytest.approx(dict(theirs.name_to_value), rel=1e-3, abs=1e-5)
        for seen, expected in zip(ours.seen, theirs.seen, strict=True):
            assert seen == pytest.approx(expected, rel=1e-3, abs=1e-5)


AGENTS: dict[str, Make] = {"dqn": dqn, "td3": td3, "sac": sac}
agents = pytest.mark.parametrize("make", AGENTS.values(), ids=AGENTS)
KINDS: dict[str, Make] = {**AGENTS, "ddpg": OPTIONS["ddpg"], "qrdqn": qrdqn, "tqc": tqc}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
CUT = (
    "dqn: three steps, normalised",
    "dqn: small memory, several environments",
    "dqn: time limits as ends",
    "td3: Ornstein and Uhlenbeck, own extractor",
    "sac: fixed coefficient, noise",
    "sac: targets seldom",
)
"""Options of which a cut in the middle of training has more to keep."""


WHOLE: dict[str, Make] = {
    "dqn": partial(dqn, env=partial(choices, 2, True), learning_rate=SCHEDULE, tau=0.5, policy_kwargs=small()),
    "td3": partial(td3, env=partial(pendulum, 2, True), learning_rate=SCHEDULE, policy_kwargs=small()),
    "sac": partial(sac, env=partial(pendulum, 2, True), learning_rate=SCHEDULE, policy_kwargs=small()),
    "dqn, three steps": partial(dqn, n_steps=3, env=partial(choices, 2, True)),
}
whole = pytest.mark.parametrize("make", WHOLE.values(), ids=WHOLE)


@whole
def test_whole_levels_are_trained_as_by_sb3(make: Make) -> None:
    """Segments that cut the replay buffer, rewind points with it, schedules, curve."""

    def run() -> TrainingRun:
        return TrainingRun(setting(make, 5, 160, boundaries=(0, 64), warmup=32), Training(0, keep_at=(0, 64)))

    ours, theirs = run(), run()
    (mine,) = together(ours)
    PLAIN.start()([theirs])
    sb3s = theirs.finish()
    assert mine is not None
    demand_alike(ours.model, theirs.model, 1e-4)
    for at in (0, 64):
        assert largest_difference(mine.kept[at].policy, sb3s.kept[at].policy) < 1e-4
        assert mine.kept[at].schedule == sb3s.kept[at].schedule
        assert counts(mine.kept[at]) == counts(sb3s.kept[at])
    assert [point[::2] for point in mine.curve] == [point[::2] for point in sb3s.curve]
    assert mine.timesteps == sb3s.timesteps == 160


@kinds
def test_in_double_precision_nothing_but_rounding_is_left(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single precision would hide whatever is smaller than its rounding and what that grows to."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    lockstep = importlib.import_module("measures.lockstep").lockstep
    pieces = lockstep(make, total_timesteps=512, piece=128)
    assert [piece.end for piece in pieces] == [128, 256, 384, 512]
    assert min(piece.moved for piece in pieces) > 1e-3
    assert max(piece.difference for piece in pieces) < 1e-10


def members(make: Make, count: int) -> list[TrainingRun]:
    """Runs at different levels, densities and budgets; one in two is held."""
    made: list[TrainingRun] = []
    for seed in range(count):
        request = Training(seed, ticket=ticket_for(make, seed) if seed % 2 else None, until=48 + 16 * seed)
        made.append(TrainingRun(setting(make, seed, 96), request))
    return made


@pytest.mark.parametrize("_how", [pytest.param("compiled", marks=pytest.mark.compiled), "uncompiled"])
@agents
def test_neighbours_do_not_change_one_bit_of_a_member(make: Make, _how: str) -> None:
    everyone = ends(*members(make, 3))
    alone = ends(None, members(make, 3)[1], None)
    assert differing(alone[0], everyone[1]) == []
    assert differing(ends(*reversed(members(make, 2)), members(make, 3)[2])[2], everyone[2]) == []


@agents
def test_a_cohort_of_one_and_of_many_train_the_same_member(make: Make) -> None:
    many, one = ends(*members(make, 3))[2], ends(members(make, 3)[2])[0]
    assert largest_difference(many, one) < TOLERANCE


@pytest.mark.compiled
@kinds
def test_compiled_trains_as_sb3(make: Make) -> None:
    for one, other in both_ways(lambda: members(make, 3)):
        demand_alike(one.model, other.model)


def continued(make: Make, count: int) -> list[TrainingRun]:
    """Members of which the odd ones begin where another has been: they learn at once, the others warm up first."""
    (dense,) = together(TrainingRun(setting(make, 0, 48, boundaries=(0, 36)), Training(0, keep_at=(36,))))
    assert dense is not None
    start = dense.kept[36]
    return [
        TrainingRun(setting(make, 0, 72), Training(1, start=start if place % 2 else None)) for place in range(count)
    ]


@agents
def test_members_that_warm_up_and_members_that_learn_share_a_cohort(make: Make) -> None:
    for one, other in both_ways(lambda: continued(make, 3)):
        demand_alike(one.model, other.model)


@pytest.mark.parametrize("make", [*KINDS.values(), *map(OPTIONS.get, CUT)], ids=[*KINDS, *CUT])
def test_resumed_and_uninterrupted_end_with_the_same_bytes(make: Make) -> None:
    kept: list[Progress] = []

    def run(resume: Progress | None = None, place: int = 0) -> list[TrainingRun | None]:
        level = TrainingRun(setting(make, 3, 96, boundaries=(0, 48), checkpoint=kept.append), Training(0), resume)
        return [*[None] * place, level, *[None] * (1 - place)]

    whole, again = run(), None
    together(*whole)
    (progress,) = kept
    assert 48 <= progress.state.timesteps < 96
    again = run(progress)
    together(*again)
    assert whole[0] is not None
    assert again[0] is not None
    assert differing(tensors(whole[0].model), tensors(again[0].model)) == []
    for name, array in sampled(whole[0].model).items():
        np.testing.assert_array_equal(sampled(again[0].model)[name], array)


@agents
def test_pruned_weights_and_copies_and_their_moments_are_zero_at_every_step(make: Make) -> None:
    class Look(BaseCallback):
        def _on_step(self) -> bool:
            check_zeros(self.model)
            named = dict(self.model.policy.named_parameters())
            for optimizer in anatomy.optimizers(self.model).values():
                for name, kept in hold_in(self.model).mask.items():
                    for key, moment in optimizer.state.get(named[name], {}).items():
                        if key != "step":
                            seen.add(name)
                            assert not moment[~kept].any()
            return True

    seen: set[str] = set()
    ticket = ticket_for(make, 1)
    together(TrainingRun(setting(make, 1, callback=Look), Training(1, ticket=ticket)), *members(make, 2))
    assert seen == set(ticket.mask)


@agents
def test_a_mask_that_moves_trains_the_same_weights_plain_and_in_a_cohort(make: Make) -> None:
    """RigL: the dense gradient of the last minibatch decides what grows."""

    class Seldom(Rewire):
        def _on_rollout_start(self) -> None:
            if self.num_timesteps in (48, 72):
                super()._on_rollout_start()

    def runs() -> list[TrainingRun]:
        tickets = [ticket_for(make, seed) for seed in range(3)]
        return [TrainingRun(setting(make, s, 96, callback=Seldom), Training(1, ticket=tickets[s])) for s in range(3)]

    start = [ticket_for(make, seed).mask for seed in range(3)]
    for seed, (one, other) in enumerate(both_ways(runs)):
        assert one.mask == other.mask
        assert one.mask.distance(start[seed]) > 0.02
        demand_alike(one.model, other.model, 1e-4)
        assert hold_in(one.model).gradient.keys() == hold_in(other.model).gradient.keys()
        for name, gradient in hold_in(other.model).gradient.items():
            torch.testing.assert_close(hold_in(one.model).gradient[name], gradient, atol=1e-4, rtol=1e-3)


@agents
def test_early_bird_stops_a_member_where_it_stops_sb3(make: Make) -> None:
    bird = rt.EarlyBird(density=0.5, every=16, window=2, threshold=0.9)

    def run(seed: int) -> TrainingRun:
        return TrainingRun(setting(make, seed, 160), Training(0, during=(bird,)))

    for one, other in both_ways(lambda: [run(0), run(1)]):
        trained, expected = one.finish(), other.finish()
        assert trained.sightings == expected.sightings != ()
        assert trained.timesteps == expected.timesteps < 160


@agents
def test_a_member_that_stops_early_leaves_alone(make: Make) -> None:
    def runs() -> list[TrainingRun]:
        return [TrainingRun(setting(make, s, callback=StopAt if s == 1 else None), Training(0)) for s in range(3)]

    pairs = both_ways(runs)
    assert [one.model.num_timesteps for one, _ in pairs] == [96, 41, 96]
    for one, other in pairs:
        demand_alike(one.model, other.model)


@kinds
def test_a_diverging_member_is_marked_and_does_not_touch_its_neighbours(make: Make) -> None:
    def exploding(seed: int) -> BaseAlgorithm:
        return make(seed, learning_rate=1e38 if seed == 1 else 1e-2)  # type: ignore[call-arg]

    def runs(*seeds: int) -> list[TrainingRun | None]:
        return [TrainingRun(setting(exploding, seed), Training(0)) if seed in seeds else None for seed in range(3)]

    found = together(*runs(0, 1, 2))
    assert [trained is not None and trained.diverged for trained in found] == [False, True, False]
    assert found[1] is not None
    assert found[1].timesteps < 96
    for one, other in zip(ends(*runs(0, 1, 2))[::2], ends(*runs(0, 2)), strict=True):
        assert differing(one, other) == []


@agents
def test_levels_that_share_a_cohort_train_as_if_each_had_its_own(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a level, not even of one that diverged, reaches the next; and it is traced once."""
    cohorts: list[Cohort] = []

    class Counted(Cohort):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            cohorts.append(self)

    def exploding(seed: int) -> BaseAlgorithm:
        return make(seed, learning_rate=1e38 if seed == 1 else 1e-2)  # type: ignore[call-arg]

    def level(place: int) -> list[TrainingRun]:
        return [TrainingRun(setting(exploding, seed), Training(0)) for seed in (*range(place, 3), *range(place))]

    monkeypatch.setattr(trainers, "Cohort", Counted)
    again, shared, apart = COHORTS.start(), level(1), level(1)
    again(level(0))
    again(shared)
    assert len(cohorts) == 1
    COHORTS.start()(apart)
    for one, other in zip(shared, apart, strict=True):
        assert one.finite == other.finite
        if one.finite:
            assert differing(tensors(one.model), tensors(other.model)) == []


@agents
def test_replay_buffers_stay_the_members_own(make: Make) -> None:
    runs = [TrainingRun(setting(make, seed), Training(0)) for seed in range(2)]
    before = [sampled(run.model) for run in runs]
    together(*runs)
    for run, arrays in zip(runs, before, strict=True):
        assert all(array is arrays[name] for name, array in sampled(run.model).items())
        assert arrays["observations"].any()


@agents
def test_afterwards_a_member_is_an_agent_like_any_other(make: Make, tmp_path: Path) -> None:
    ticket = ticket_for(make, 0)
    runs = [TrainingRun(setting(make, seed), Training(1, ticket=ticket)) for seed in range(2)]
    together(*runs)
    first, second = (run.model for run in runs)
    owners = {p.untyped_storage().data_ptr() for run in runs for p in run.model.policy.parameters()}
    assert len(owners) == 2 * len(list(first.policy.parameters()))
    before = {name: tensor.clone() for name, tensor in tensors(second).items()}
    first.learn(32, reset_num_timesteps=False)
    check_zeros(first)
    assert differing(tensors(second), before) == []
    second.save(tmp_path / "agent")
    cls: Any = type(make(0))
    again = cls.load(tmp_path / "agent", device="cpu")
    assert differing(dict(again.policy.state_dict()), dict(second.policy.state_dict())) == []


@agents
def test_a_checkpoint_holds_one_member_alone(make: Make, tmp_path: Path) -> None:
    def checkpoint(name: str, seed: int) -> CheckpointCallback:
        return CheckpointCallback(24, str(tmp_path / name / str(seed)), save_replay_buffer=True)

    rt.learn([make(seed) for seed in range(2)], 48, [checkpoint("ours", seed) for seed in range(2)])
    for seed in range(2):
        make(seed).learn(48, checkpoint("theirs", seed))
    written = sorted(path.relative_to(tmp_path / "theirs") for path in (tmp_path / "theirs").rglob("*.*"))
    assert len(written) == 2 * 2 * 2
    cls: Any = type(make(0))
    for name in (name for name in written if name.suffix == ".zip"):
        ours, theirs = tmp_path / "ours" / name, tmp_path / "theirs" / name
        assert tensor_bytes(ours) == tensor_bytes(theirs)
        one, other = (cls.load(path, device="cpu") for path in (ours, theirs))
        for agent, path in ((one, ours), (other, theirs)):
            agent.load_replay_buffer(path.with_name(path.stem.replace("model", "model_replay_buffer") + ".pkl"))
        demand_alike(one, other)


@agents
def test_callbacks_see_what_sb3_shows_them(make: Make) -> None:
    shown: list[Any] = []

    class Keys(BaseCallback):
        def _on_step(self) -> bool:
            names = ("actions", "buffer_actions", "new_obs", "rewards", "dones", "num_collected_steps")
            rows.append({name: np.copy(self.locals[name]) for name in names})
            keys.append(set(self.locals))
            rows.append({"training": self.model.policy.training})
            return True

    for trainer in (COHORTS, PLAIN):
        rows: list[dict[str, Any]] = []
        keys: list[set[str]] = []
        trainer.start()([TrainingRun(setting(make, 0, callback=Keys), Training(0))])
        shown.append((rows, keys[20]))
    (mine, my_keys), (sb3s, their_keys) = shown
    assert my_keys >= their_keys - {"idx", "done", "kwargs"}
    for row, expected in zip(mine, sb3s, strict=True):
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_allclose(row[name], value, atol=1e-4)
            assert np.asarray(row[name]).dtype == np.asarray(value).dtype


@agents
def test_many_agents_learn_in_one_call(make: Make) -> None:
    ours, theirs = [make(seed) for seed in range(3)], []
    rt.learn(ours, 48)
    for seed in range(3):
        theirs.append(make(seed).learn(48))
    for one, other in zip(ours, theirs, strict=True):
        demand_alike(one, other)


def test_agents_whose_environments_share_an_action_space_draw_from_their_own() -> None:
    """It is an attribute of the class: the second agent's constructor seeds the first one's too."""
    make = OPTIONS["dqn: images"]
    ours = [make(seed) for seed in range(2)]
    assert ours[0].action_space is ours[1].action_space
    rt.learn(ours, 40)
    for seed in range(2):
        demand_alike(ours[seed], make(seed).learn(40))


class Changing(BaseCallback):
    """Changes something between a rollout and its update, once."""

    def __init__(self, change: Callable[[Any], object] | None) -> None:
        super().__init__()
        self._change = change

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        if self._change is not None and self.num_timesteps >= 32:
            self._change(self.model)
            self._change = None


def put(name: str, value: Any) -> Callable[[Any], object]:
    return lambda model: setattr(model, name, value)


def shrink(model: Any) -> None:
    model.policy.load_state_dict({name: 0.9 * value for name, value in model.policy.state_dict().items()})


def replace(model: Any) -> None:
    for tensor in (*model.policy.parameters(), *anatomy.loose_tensors(model).values()):
        tensor.data = tensor.data * 0.9


def older_moments(model: Any) -> None:
    for optimizer in anatomy.optimizers(model).values():
        state = optimizer.state_dict()
        for moments in state["state"].values():
            moments.update({key: value + 0.1 for key, value in moments.items() if key != "step"})
        optimizer.load_state_dict(state)


def other_betas(model: Any) -> None:
    for optimizer in anatomy.optimizers(model).values():
        optimizer.param_groups[0]["betas"] = (0.5, 0.5)


def freeze(model: Any) -> None:
    next(model.policy.parameters()).requires_grad_(False)


def forget(model: Any) -> None:
    model.replay_buffer.rewards[:] = 0.5


COMPILED_IN = {
    "batch_size": put("batch_size", 4),
    "optimizer": other_betas,
    "requires_grad": freeze,
    "algorithm's settings": put("target_update_interval", 2),
}
LIVE = {
    "discount": put("gamma", 0.2),
    "gradient steps": put("gradient_steps", 2),
    "learning rate": put("lr_schedule", lambda _: 1e-3),
    "weights": shrink,
    "tensors": replace,
    "moments": older_moments,
    "rewards": forget,
}
DQN_LIVE = {"norm": put("max_grad_norm", 0.01), "targets": put("tau", 0.1)}


def changed(make: Make, change: Callable[[Any], object], train: Train = train) -> list[BaseAlgorithm]:
    """The second of two, trained with its neighbour and by SB3."""

    def run(seed: int, change: Callable[[Any], object] | None = None) -> TrainingRun:
        return TrainingRun(setting(make, seed, 64, callback=partial(Changing, change)), Training(0))

    (first, by_sb3), (second, theirs) = both_ways(lambda: [run(0), run(1, change)], train)
    demand_alike(first.model, by_sb3.model)
    unchanged = run(1)
    PLAIN.start()([unchanged])
    assert largest_difference(theirs.model.policy.state_dict(), unchanged.model.policy.state_dict()) > 1e-5
    return [second.model, theirs.model]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (dqn, "batch_size"),
        (dqn, "requires_grad"),
        (td3, "optimizer"),
        (sac, "requires_grad"),
        (partial(sac, gradient_steps=4), "algorithm's settings"),
    ],
)
def test_a_setting_that_a_callback_changes_counts_and_is_told(make: Make, name: str) -> None:
    with pytest.warns(rt.PlainTrainingWarning, match=f"a callback changed its {name}$") as said:
        pair = changed(make, COMPILED_IN[name], COHORTS.start())
    assert len(said) == 1
    demand_alike(*pair)


@agents
@pytest.mark.parametrize("name", LIVE)
def test_what_a_callback_puts_in_place_of_an_agents_parts_counts(make: Make, name: str) -> None:
    demand_alike(*changed(make, LIVE[name]), tolerance=1e-4)


@pytest.mark.parametrize("name", DQN_LIVE)
def test_settings_of_dqn_may_change(name: str) -> None:
    demand_alike(*changed(dqn, DQN_LIVE[name]))


class OwnTrain(DQN):
    def train(self, *args: Any, **kwargs: Any) -> None:
        super().train(*args, **kwargs)


class OwnBuffer(ReplayBuffer):
    pass


class OwnNoise(NormalActionNoise):
    pass


class OwnPredict(DQNPolicy):
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        return super().predict(*args, **kwargs)


def her(seed: int) -> DQN:
    return DQN("MultiInputPolicy", BitFlippingEnv(4), replay_buffer_class=HerReplayBuffer, seed=seed, device="cpu")


def unseen(seed: int) -> DQN:
    """Its optimizer trains a weight of no module."""
    model = dqn(seed)
    (group,) = model.policy.optimizer.param_groups
    group["params"].append(torch.nn.Parameter(torch.zeros(1)))
    return model


def curious(seed: int) -> DQN:
    """With another network of its own, and what trains it."""
    model: Any = dqn(seed)
    model.curiosity = torch.nn.Linear(4, 1)
    model.curiosity_optimizer = torch.optim.Adam(model.curiosity.parameters())
    return model


REASONS: dict[str, Make] = {
    "its optimizer trains what its policy does not show": unseen,
    "it has other optimizers than SB3's own": curious,
    "it explores with gSDE": partial(sac, use_sde=True),
    "its transitions are kept in a HerReplayBuffer": her,
    "OwnTrain has a train method of its own": lambda s: OwnTrain("MlpPolicy", cartpole(), seed=s, **OFF),
    "OwnPredict has a predict method of its own": partial(dqn, policy=OwnPredict),
    "its transitions are kept in a OwnBuffer": partial(dqn, replay_buffer_class=OwnBuffer),
    "it trains after episodes, which end at different steps": partial(dqn, train_freq=(1, "episode")),
    "its optimizer (SGD) is not": partial(dqn, **optimizer(torch.optim.SGD, momentum=0.9, dampening=0.1)),
    "its action noise is a OwnNoise": partial(td3, action_noise=noise(OwnNoise)),
    "its actor and its critic share a features extractor": BY_NAME["sac_images_shared"].make,
    "cohorts know PPO, A2C, MaskablePPO, DQN, DDPG, TD3, SAC, QRDQN and TQC, not CrossQ, whose networks change": (
        BY_NAME["crossq"].make
    ),
    "its policy has a Dropout layer": partial(dqn, policy_kwargs=small(activation_fn=torch.nn.Dropout)),
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_cannot_join_is_told_why(reason: str) -> None:
    told = COHORTS.obstacle(REASONS[reason](0))
    assert told is not None
    assert told.startswith(reason)


class OwnStep(DQN):
    """Shapes what it stores: SB3's own methods are called in a cohort too."""

    def _store_transition(self, replay_buffer: Any, buffer_action: Any, new_obs: Any, reward: Any, *rest: Any) -> None:
        super()._store_transition(replay_buffer, buffer_action, new_obs, reward + 1, *rest)


@pytest.mark.parametrize("extractor", [Averaging, Noisy])
def test_what_a_cohort_would_train_otherwise_trains_bit_for_bit_as_by_sb3(extractor: type[Sines]) -> None:
    make = partial(dqn, policy_kwargs=small(features_extractor_class=extractor))
    ours, theirs = (TrainingRun(setting(make, 0, 48), Training(0)) for _ in range(2))
    with pytest.warns(rt.PlainTrainingWarning):
        COHORTS.start()([ours])
    PLAIN.start()([theirs])
    assert differing(tensors(ours.model), tensors(theirs.model)) == []


def test_a_subclass_that_stores_in_its_own_way_may_join() -> None:
    def make(seed: int) -> DQN:
        return OwnStep("MlpPolicy", cartpole(), seed=seed, policy_kwargs=small(), device="cpu", **OFF)

    assert COHORTS.obstacle(make(0)) is None
    for one, other in both_ways(lambda: [TrainingRun(setting(make, seed), Training(0)) for seed in range(2)]):
        demand_alike(one.model, other.model)
        assert sampled(one.model)["rewards"].max() == 2


@pytest.mark.parametrize("rate", [1e-9, 1e-1])
def test_a_wrong_update_is_seen_at_every_learning_rate(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    model = dqn(0, learning_rate=rate)
    assert rehearsing._rehearse(model) is None

    def wrong(self: DQNSteps, here: Any) -> Any:
        return right(self, here._replace(batch=here.batch._replace(discounts=here.batch.discounts * 0.99)))

    right = DQNSteps.loss
    monkeypatch.setattr(DQNSteps, "loss", wrong)
    assert (rehearsing._rehearse(model) or "").startswith("its update gives weights of")


@agents
@pytest.mark.parametrize("held", [False, True])
def test_a_rehearsal_leaves_no_trace(make: Make, held: bool) -> None:
    model: Any = make(3)
    model.learn(48)
    if held:
        rt.hold(model, rt.Mask.dense(model))
    model.action_space.sample()
    kept = {name: array.copy() for name, array in sampled(model).items()}
    model.policy.optimizer = next(iter(anatomy.optimizers(model).values()))  # Where `untouched` looks for it.
    before = untouched(model)
    rehearsing._rehearse(model)
    for one, other in zip(before, untouched(model), strict=True):
        np.testing.assert_equal(one, other)
    np.testing.assert_equal(kept, sampled(model))


@ignoring
@every_option
def test_agents_of_all_seeds_and_ages_share_a_cohort(option: str) -> None:
    make = OPTIONS[option]
    young, old = make(0), make(1)
    old.learn(30)
    rt.hold(old, rt.Mask.dense(old))
    assert shape_of(young, ()).signature == shape_of(old, ()).signature
    assert isinstance(young.replay_buffer, ReplayBuffer | NStepReplayBuffer)  # type: ignore[attr-defined]


def test_environments_in_processes_of_their_own() -> None:
    def make(seed: int) -> DQN:
        return dqn(seed, lambda: SubprocVecEnv([partial(Choices, spaces.Discrete(2))] * 2))

    for one, other in both_ways(lambda: [TrainingRun(setting(make, seed, 48), Training(0)) for seed in range(2)]):
        demand_alike(one.model, other.model)
        for run in (one, other):
            run.model.get_env().close()  # type: ignore[union-attr]


def thaw(model: Any) -> None:
    next(model.policy.parameters()).requires_grad_(model.num_timesteps >= 48)


def test_a_weight_that_was_frozen_for_a_while_keeps_its_own_count_of_steps() -> None:
    """Adam corrects each tensor's moments by its own count: such an agent goes on with SB3's own updates."""

    class Freezing(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_rollout_end(self) -> None:
            thaw(self.model)

    ours = [dqn(0)]
    with pytest.warns(rt.PlainTrainingWarning, match="requires_grad"):
        rt.learn(ours, 80, [Freezing()])
    demand_alike(ours[0], dqn(0).learn(80, Freezing()))
