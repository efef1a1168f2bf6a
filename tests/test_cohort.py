"""Cohorts train as SB3 does: same draws, same losses, same steps, for every option they take."""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, Image, Parts, cartpole, differing, pendulum, small, sparse_mask, started, vec
from gymnasium import spaces
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.sb2_compat.rmsprop_tf_like import RMSpropTFLike
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import SubprocVecEnv, VecFrameStack, VecTransposeImage
from tiny import ROOT, forked
from torch.distributions import Distribution

import rl_tickets as rt
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training import trainers
from rl_tickets.training.cohorts import tracing
from rl_tickets.training.cohorts.cohort import Cohort
from rl_tickets.training.cohorts.joining import shape_of
from rl_tickets.training.cohorts.stepping import quick
from rl_tickets.training.cohorts.tracing import Traced
from rl_tickets.training.requests import Progress, Trained, Training
from rl_tickets.training.runs import Setting, TrainingRun
from rl_tickets.training.ticketing import make_ticket

ON: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 2}
TOLERANCE = 1e-5
COHORTS, PLAIN = rt.Cohorts(), rt.Plain()


class Choices(gym.Env[np.ndarray, Any]):
    """Rewards an action for each part of the observation; truncated after 7 steps."""

    observation_space = spaces.Box(-1, 1, (3,), np.float64)

    def __init__(self, action_space: gym.Space[Any]) -> None:
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._steps = 0
        return self._draw(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        reward = float(np.sum(np.asarray(action, dtype=float)) * self._seen[0])
        return self._draw(), reward, False, self._steps == 7, {}

    def _draw(self) -> np.ndarray:
        self._seen = self.np_random.uniform(-1, 1, 3)
        return self._seen


class Numbers(gym.ObservationWrapper[Any, Any, Any]):
    """Observes class numbers instead."""

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete) -> None:
        super().__init__(Choices(spaces.Discrete(3)))
        self.observation_space = space

    def observation(self, observation: np.ndarray) -> Any:
        number = int(observation[0] > 0)
        return number if isinstance(self.observation_space, spaces.Discrete) else np.array([number, 1 - number])


class Named(gym.ObservationWrapper[Any, Any, Any]):
    """Observes arrays, class numbers and a picture, by name."""

    observation_space = spaces.Dict(
        where=spaces.Box(-1, 1, (3,), np.float64),
        side=spaces.Discrete(2),
        sides=spaces.MultiDiscrete([2, 3]),
        picture=spaces.Box(0, 255, (1, 36, 36), np.uint8),
    )

    def __init__(self) -> None:
        super().__init__(Choices(spaces.Discrete(3)))

    def observation(self, observation: np.ndarray) -> dict[str, Any]:
        side, picture = int(observation[0] > 0), np.full((1, 36, 36), 100 * (observation[1] + 1))
        sides = np.array([1 - side, 2 * side])
        return {"sides": sides, "where": observation, "side": side, "picture": picture.astype(np.uint8)}


class Counts(gym.ObservationWrapper[Any, Any, Any]):
    """Observes whole numbers that are no classes, alone or by name."""

    def __init__(self, by_name: bool = False) -> None:
        super().__init__(Choices(spaces.Discrete(3)))
        self._by_name = by_name
        space: gym.Space[Any] = spaces.Box(0, 10, (3,), np.int64)
        self.observation_space = spaces.Dict(counts=space) if by_name else space

    def observation(self, observation: np.ndarray) -> Any:
        counts = np.round(5 * (observation + 1)).astype(np.int64)
        return {"counts": counts} if self._by_name else counts


class Needing(MaskableActorCriticPolicy):
    """Cannot do without masks, and wants them by name."""

    def evaluate_actions(self, obs: Any, actions: torch.Tensor, *, action_masks: torch.Tensor) -> Any:  # type: ignore[override]
        return super().evaluate_actions(obs, actions, action_masks.float())


class Allowing(gym.Wrapper[Any, Any, Any, Any]):
    """Allows a third of the actions or so, and of each choice at least one."""

    def __init__(self, env: gym.Env[Any, Any], choices: list[int]) -> None:
        super().__init__(env)
        self._choices = choices

    def action_masks(self) -> np.ndarray:
        draw = self.np_random
        allowed = [(draw.random(count) < 0.3) | (np.arange(count) == draw.integers(count)) for count in self._choices]
        return np.concatenate(allowed)


class Flipped(gym.ObservationWrapper[Any, Any, Any]):
    """Channels last, as most cameras give them."""

    observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.moveaxis(observation, 0, -1)


class Sines(BaseFeaturesExtractor):
    """A user's own extractor."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space, 6)
        self.linear = torch.nn.Linear(observation_space.shape[0], 6)
        self.register_buffer("scale", torch.full((6,), 2.0))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.linear(observations) * self.scale)


def ppo(seed: int, env: Callable[[], Any] = cartpole, policy: Any = "MlpPolicy", **changes: Any) -> PPO:
    settings = {"learning_rate": 1e-2, "policy_kwargs": small(), **ON, **changes}
    return PPO(policy, env(), seed=seed, device="cpu", **settings)


def a2c(seed: int, env: Callable[[], Any] = cartpole, policy: Any = "MlpPolicy", **changes: Any) -> A2C:
    return A2C(policy, env(), seed=seed, device="cpu", **{"n_steps": 8, "policy_kwargs": small(), **changes})


def allowing(space: gym.Space[Any], choices: list[int], by_name: bool = False) -> Callable[[], Any]:
    """Environments in which not every action is allowed."""
    return partial(vec, lambda: Allowing(Named() if by_name else Choices(space), choices), 2)


def maskable(seed: int, env: Callable[[], Any], policy: Any = "MlpPolicy", **changes: Any) -> MaskablePPO:
    settings = {"learning_rate": 1e-2, "policy_kwargs": small(), **ON, **changes}
    return MaskablePPO(policy, env(), seed=seed, device="cpu", **settings)


def optimizer(cls: type, **kwargs: Any) -> dict[str, Any]:
    return {"policy_kwargs": small(optimizer_class=cls, optimizer_kwargs=kwargs)}


IMAGES: dict[str, Any] = {"policy": "CnnPolicy", "env": partial(vec, Image)}
OPTIONS: dict[str, Callable[[int], BaseAlgorithm]] = {
    "ppo": ppo,
    "several environments": partial(ppo, env=partial(cartpole, 3)),
    "a last minibatch that is smaller": partial(ppo, batch_size=12),
    "schedules": partial(ppo, learning_rate=LinearSchedule(1e-2, 0, 1.0), clip_range=LinearSchedule(0.3, 0.1, 1.0)),
    "clipped values": partial(ppo, clip_range_vf=0.05),
    "entropy": partial(ppo, ent_coef=0.1, vf_coef=0.2),
    "a learning rate below zero": partial(ppo, learning_rate=LinearSchedule(1e-2, -1e-2, 1.0)),
    "target_kl": partial(ppo, target_kl=1e-2, n_epochs=5, learning_rate=3e-2),
    "tight norm": partial(ppo, max_grad_norm=0.01),
    "advantages as they are": partial(ppo, normalize_advantage=False),
    "continuous": partial(ppo, env=partial(pendulum, 2)),
    "normalised": partial(ppo, env=partial(pendulum, 2, True)),
    "gSDE": partial(ppo, env=pendulum, use_sde=True),
    "gSDE, several environments, noise for some steps": partial(
        a2c, env=partial(pendulum, 2, True), use_sde=True, sde_sample_freq=3, use_rms_prop=False
    ),
    "multi-discrete": partial(ppo, env=partial(vec, partial(Choices, spaces.MultiDiscrete([2, 4])), 2)),
    "multi-binary": partial(ppo, env=partial(vec, partial(Choices, spaces.MultiBinary(3)))),
    "box of several": partial(ppo, env=partial(vec, partial(Choices, spaces.Box(-1, 1, (2,))))),
    "bounds on actions": partial(ppo, env=partial(vec, partial(Choices, spaces.Box(-0.1, 0.1, (2,))))),
    "class numbers": partial(ppo, env=partial(vec, partial(Numbers, spaces.Discrete(3)), 2)),
    "observations with names": partial(
        ppo,
        policy="MultiInputPolicy",
        env=partial(vec, Named, 2),
        policy_kwargs=small(features_extractor_kwargs={"cnn_output_dim": 8}),
    ),
    "observations with names, normalised": partial(
        a2c, policy="MultiInputPolicy", env=partial(vec, Parts, 3, True), use_rms_prop=False
    ),
    "masked actions": partial(maskable, env=allowing(spaces.Discrete(5), [5]), target_kl=0.1, clip_range_vf=0.2),
    "masked multi-discrete": partial(maskable, env=allowing(spaces.MultiDiscrete([2, 4]), [2, 4]), ent_coef=0.1),
    "masked multi-binary": partial(maskable, env=allowing(spaces.MultiBinary(3), [2, 2, 2]), batch_size=None),
    "masks that the policy needs": partial(maskable, env=allowing(spaces.Discrete(5), [5]), policy=Needing),
    "masked actions, observations with names": partial(
        maskable,
        policy="MultiInputPolicy",
        env=allowing(spaces.Discrete(3), [3], by_name=True),
        policy_kwargs=small(features_extractor_kwargs={"cnn_output_dim": 8}),
    ),
    "whole numbers, normalised": partial(ppo, env=partial(vec, Counts, 2, True)),
    "whole numbers with names, normalised": partial(
        ppo, policy="MultiInputPolicy", env=partial(vec, partial(Counts, True), 2, True)
    ),
    "several class numbers": partial(a2c, env=partial(vec, partial(Numbers, spaces.MultiDiscrete([2, 3])))),
    "activations and no hidden layer": partial(ppo, policy_kwargs={"net_arch": {"pi": [], "vf": [4]}}),
    "box2d": partial(ppo, env=partial(vec, "LunarLander-v3", 2)),
    "images, channels last": partial(
        ppo,
        policy="CnnPolicy",
        env=lambda: VecTransposeImage(vec(lambda: Flipped(Image()))),
        policy_kwargs={"features_extractor_kwargs": {"features_dim": 16}},
    ),
    "stacked frames": partial(ppo, env=lambda: VecFrameStack(cartpole(2), 3)),
    "images": partial(ppo, **IMAGES, policy_kwargs={"features_extractor_kwargs": {"features_dim": 16}}),
    "own extractor": partial(ppo, policy_kwargs=small(features_extractor_class=Sines)),
    "extractors apart": partial(
        ppo, policy_kwargs=small(features_extractor_class=Sines, share_features_extractor=False)
    ),
    "adamw": partial(ppo, **optimizer(torch.optim.AdamW, weight_decay=0.1)),
    "decay": partial(ppo, **optimizer(torch.optim.Adam, weight_decay=0.1, betas=(0.8, 0.9))),
    "a2c": a2c,
    "a2c with several environments": partial(a2c, env=partial(pendulum, 3, True), normalize_advantage=True),
    "a2c with adam": partial(a2c, use_rms_prop=False),
    "sgd": partial(ppo, **optimizer(torch.optim.SGD, momentum=0.9, weight_decay=0.1)),
    "sgd, nesterov": partial(a2c, **optimizer(torch.optim.SGD, momentum=0.8, nesterov=True)),
    "sgd without momentum": partial(ppo, **optimizer(torch.optim.SGD)),
    "rmsprop as in tensorflow": partial(a2c, **optimizer(RMSpropTFLike, eps=1e-5)),
}


class Tags(Logger):
    """A logger that remembers everything it is told."""

    def __init__(self) -> None:
        super().__init__(folder=None, output_formats=[])
        self.seen: list[dict[str, Any]] = []

    def dump(self, step: int = 0) -> None:
        times = ("time/fps", "time/time_elapsed")
        self.seen.append({key: value for key, value in self.name_to_value.items() if key not in times})
        super().dump(step)


def setting(make: Callable[[int], BaseAlgorithm], seed: int = 0, total: int = 96, **more: Any) -> Setting:
    return Setting(make, seed, total, **more)


def ticket_for(make: Callable[[int], BaseAlgorithm], seed: int) -> Ticket:
    model = make(seed)
    return Ticket(mask=sparse_mask(model, seed), weights=model.policy.state_dict(), state={}, provenance={})


def together(*runs: TrainingRun | None) -> list[Trained | None]:
    started(COHORTS)(runs)
    return [run and run.finish() for run in runs]


def both_ways(runs: Callable[[], list[TrainingRun]]) -> list[tuple[TrainingRun, TrainingRun]]:
    """The same runs, trained in a cohort and by SB3."""
    ours, theirs = runs(), runs()
    together(*ours)
    PLAIN.start()(theirs)
    return list(zip(ours, theirs, strict=True))


def largest_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert list(ours) == list(theirs)
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)


@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 12")
@pytest.mark.parametrize("option", OPTIONS)
def test_an_update_is_sb3s_own_train(option: str) -> None:
    """One rollout and its update: the same rollout, the same minibatches, the same weights, moments and logs."""
    make = OPTIONS[option]
    assert COHORTS.obstacle(make(0)) is None
    total = 1 if issubclass(type(make(0)), PPO) else 24
    logs: list[Tags] = []

    def log(model: BaseAlgorithm) -> None:
        logs.append(Tags())
        model.set_logger(logs[-1])

    def run(seed: int) -> TrainingRun:
        tickets = {0: None, 1: ticket_for(make, 1), 2: ticket_for(make, 2)}
        return TrainingRun(setting(make, seed, total, log=log), Training(0, ticket=tickets[seed]))

    for one, other in both_ways(lambda: [run(seed) for seed in range(3)]):
        assert largest_difference(one.model.policy.state_dict(), other.model.policy.state_dict()) < TOLERANCE
        mine, sb3s = TrainingState.capture(one.model), TrainingState.capture(other.model)
        moments, expected = ((state.optimizers or {})["policy.optimizer"]["state"] for state in (mine, sb3s))
        assert sorted(moments) == sorted(expected)
        for index in expected:
            assert list(moments[index]) == list(expected[index])
            for key, value in expected[index].items():
                torch.testing.assert_close(
                    torch.as_tensor(moments[index][key]), torch.as_tensor(value), atol=1e-5, rtol=1e-4
                )
        assert mine.schedule == sb3s.schedule
        assert (mine.normalizer is None) == (sb3s.normalizer is None)
        for part, statistics in (sb3s.normalizer or {}).items():
            torch.testing.assert_close((mine.normalizer or {})[part], statistics, check_dtype=False)
        assert (mine.counters or {})["_n_updates"] == (sb3s.counters or {})["_n_updates"]
    for one_log, other_log in zip(logs[:3], logs[3:], strict=True):
        assert one_log.name_to_value == pytest.approx(dict(other_log.name_to_value), rel=1e-3, abs=1e-5, nan_ok=True)


def test_target_kl_ends_the_update_of_one_member_alone() -> None:
    """The option above would prove nothing if no member were ever stopped, or all at once."""
    runs = [TrainingRun(setting(OPTIONS["target_kl"], seed, 1), Training(0)) for seed in range(4)]
    together(*runs)
    epochs = {run.model._n_updates for run in runs}  # type: ignore[attr-defined]
    assert len(epochs) > 1
    assert min(epochs) < 5


def choosing(space: gym.Space[Any]) -> Callable[[], Any]:
    return partial(vec, partial(Choices, space), 2, True)


EXPLORING = partial(ppo, env=choosing(spaces.Box(-1, 1, (2,))), use_sde=True, sde_sample_freq=5)


@pytest.mark.parametrize("make", [partial(ppo, env=choosing(spaces.MultiDiscrete([2, 3]))), EXPLORING])
def test_whole_levels_are_trained_as_by_sb3(make: Callable[[int], BaseAlgorithm]) -> None:
    """Several rollouts: segments, rewind points, schedules, time limits, curve."""

    def run() -> TrainingRun:
        return TrainingRun(setting(make, 5, 160, boundaries=(0, 64), warmup=32), Training(0, keep_at=(0, 64)))

    ours, theirs = run(), run()
    (mine,) = together(ours)
    PLAIN.start()([theirs])
    sb3s = theirs.finish()
    assert mine is not None
    for state, expected in ((mine.end, sb3s.end), *((mine.kept[at], sb3s.kept[at]) for at in (0, 64))):
        assert largest_difference(state.policy, expected.policy) < 1e-4
        assert state.schedule == expected.schedule
        assert state.normalizer is not None
        assert expected.normalizer is not None
        for ours_, theirs_ in zip(
            *(part.normalizer["observations"][""].values() for part in (state, expected)), strict=True
        ):
            np.testing.assert_allclose(ours_, theirs_, rtol=1e-12)
    assert [point[::2] for point in mine.curve] == [point[::2] for point in sb3s.curve]
    assert mine.timesteps == sb3s.timesteps == 160


def test_with_gsde_resumed_and_uninterrupted_end_with_the_same_bytes() -> None:
    """Its noise is drawn anew at the start of a rollout, by the member's own generator."""
    kept: list[Progress] = []
    (whole,) = ends(TrainingRun(setting(EXPLORING, 3, 128, boundaries=(0, 64), checkpoint=kept.append), Training(0)))
    (progress,) = kept
    (again,) = ends(TrainingRun(setting(EXPLORING, 3, 128, boundaries=(0, 64)), Training(0), progress))
    assert differing(whole, again) == []


@pytest.mark.parametrize(
    "make",
    [
        partial(ppo, env=partial(cartpole, 2), learning_rate=LinearSchedule(1e-2, 0, 1.0)),
        partial(a2c, env=partial(vec, partial(Choices, spaces.MultiDiscrete([2, 3])), 2)),
        partial(ppo, env=partial(pendulum, 2), use_sde=True, sde_sample_freq=4),
        partial(ppo, policy="MultiInputPolicy", env=partial(vec, Parts, 2)),
        OPTIONS["masked multi-discrete"],
    ],
    ids=["ppo", "a2c", "gSDE", "names", "masks"],
)
def test_in_double_precision_nothing_but_rounding_is_left(
    make: Callable[[int], BaseAlgorithm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Single precision would hide whatever is smaller than its rounding and what that grows to."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    lockstep = importlib.import_module("measures.lockstep").lockstep
    pieces = lockstep(make, total_timesteps=512, piece=128)
    assert [piece.end for piece in pieces] == [128, 256, 384, 512]
    assert min(piece.moved for piece in pieces) > 1e-3
    assert max(piece.difference for piece in pieces) < 1e-11
    assert torch.get_default_dtype() is torch.float32


def members(count: int, **changes: Any) -> list[TrainingRun]:
    """Runs at different levels, densities and rewind points, with different budgets."""
    made: list[TrainingRun] = []
    for seed in range(count):
        request = Training(seed, ticket=ticket_for(ppo, seed) if seed % 2 else None, until=48 + 16 * seed)
        made.append(TrainingRun(setting(partial(ppo, **changes), seed, 96), request))
    return made


def ends(*runs: TrainingRun | None) -> list[dict[str, torch.Tensor]]:
    return [trained.end.policy for trained in together(*runs) if trained is not None]


@pytest.mark.parametrize("_how", [pytest.param("compiled", marks=pytest.mark.compiled), "uncompiled"])
def test_neighbours_do_not_change_one_bit_of_a_member(_how: str) -> None:
    everyone = ends(*members(4))
    alone = ends(None, None, members(4)[2], None)
    assert differing(alone[0], everyone[2]) == []
    assert differing(ends(*reversed(members(4)[:2]), None, members(4)[3])[2], everyone[3]) == []


def test_a_cohort_of_one_and_of_many_train_the_same_member() -> None:
    many, one = ends(*members(4))[2], ends(members(4)[2])[0]
    assert largest_difference(many, one) < TOLERANCE


@pytest.mark.compiled
def test_compiled_and_uncompiled_train_the_same_members(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = ends(*members(4))
    monkeypatch.setattr(tracing, "compiler", lambda: None)
    monkeypatch.setattr(tracing, "_COMPILED", {})
    for one, other in zip(compiled, ends(*members(4)), strict=True):
        assert largest_difference(one, other) < TOLERANCE


def compiled(size: int) -> None:
    """Compiles what no cache has: a number is part of it that no one else draws."""
    number = time.time_ns()
    Traced(lambda _, x: (x.sin() + number,), (), torch.ones(size))(torch.ones(size))


@pytest.mark.compiled
def test_compiling_leaves_the_checks_of_distributions_on() -> None:
    def act() -> None:
        assert Distribution._validate_args is True
        compiled(3)
        assert Distribution._validate_args is True

    assert forked(act) == 0


@pytest.mark.compiled
def test_a_fork_of_what_has_compiled_compiles_too() -> None:
    """As in a user's own ProcessPoolExecutor: its compiler does not wait for threads that stayed behind."""

    def act() -> None:
        compiled(3)
        if not (child := os.fork()):
            signal.alarm(120)
            compiled(5)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0

    assert forked(act) == 0


@pytest.mark.compiled
def test_without_a_compiler_the_graph_runs_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_COMPILED", {})
    monkeypatch.setenv("PATH", "/nowhere")
    assert tracing.compiler() is None
    assert "There is no C++ compiler" in (COHORTS.remark() or "")
    runs = members(2)
    COHORTS.start()(runs)
    assert [run.finish().timesteps for run in runs] == [48, 64]


@pytest.mark.compiled
def test_a_compiler_that_fails_is_told_and_training_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise torch._dynamo.exc.BackendCompilerFailed(fail, RuntimeError("no Python.h"), None)

    monkeypatch.setattr(torch._inductor, "standalone_compile", fail)
    monkeypatch.setattr(tracing, "_COMPILED", {})
    runs = members(2)
    with pytest.warns(RuntimeWarning, match="cohorts run uncompiled, several times slower: "):
        COHORTS.start()(runs)
    found = [run.finish().end.policy for run in runs]
    monkeypatch.setattr(tracing, "compiler", lambda: None)
    monkeypatch.setattr(tracing, "_COMPILED", {})
    for one, other in zip(found, ends(*members(2)), strict=True):
        assert differing(one, other) == []


def test_pruned_weights_and_their_moments_are_zero_at_every_step() -> None:
    class Look(BaseCallback):
        def _on_step(self) -> bool:
            state = TrainingState.capture(self.model)
            for name, kept in mask.items():
                assert not state.policy[name][~kept].any()
            for slot, name in enumerate(dict(self.model.policy.named_parameters())):
                moments = (state.optimizers or {})["policy.optimizer"]["state"].get(slot)
                if name in mask and moments is not None:
                    seen.append(name)
                    assert not moments["exp_avg"][~mask[name]].any()
            return True

    ticket, seen = ticket_for(ppo, 1), []
    mask = ticket.mask
    run = TrainingRun(setting(ppo, 1, callback=Look), Training(1, ticket=ticket))
    together(run, *members(2))
    assert set(seen) == set(mask)
    with pytest.raises(rt.LeakError):
        leak(ticket)


def leak(ticket: Ticket) -> None:
    """A callback that writes a pruned weight at the end."""

    class Write(BaseCallback):
        def _on_step(self) -> bool:
            return True

        def _on_training_end(self) -> None:
            with torch.no_grad():
                next(self.model.policy.parameters()).fill_(1.0)

    COHORTS.start()([TrainingRun(setting(ppo, 1, callback=Write), Training(1, ticket=ticket))])


class Explode(BaseCallback):
    """Sets every weight to NaN after the first rollout, and perhaps a pruned one to 1."""

    def __init__(self, leak: bool) -> None:
        super().__init__()
        self._leak = leak

    def _on_rollout_start(self) -> None:
        if self.num_timesteps:
            for p in self.model.policy.parameters():
                p.data.fill_(torch.nan)
            if self._leak:
                next(self.model.policy.parameters()).data.fill_(1.0)

    def _on_step(self) -> bool:
        return True


def test_the_error_that_ends_a_diverged_run_is_kept() -> None:
    ticket = ticket_for(ppo, 1)
    run = TrainingRun(setting(ppo, 1, callback=partial(Explode, False)), Training(1, ticket=ticket))
    PLAIN.start()([run])
    assert not run.finite
    assert run.problem.startswith("ValueError: Expected parameter logits")
    assert run.finish().diverged
    member = TrainingRun(setting(ppo, 1, callback=partial(Explode, False)), Training(1, ticket=ticket))
    together(member)
    assert not member.finite
    assert member.problem == ""
    with pytest.raises(rt.LeakError):
        PLAIN.start()([TrainingRun(setting(ppo, 1, callback=partial(Explode, True)), Training(1, ticket=ticket))])


def exploding(seed: int) -> PPO:
    return ppo(seed, learning_rate=1e30 if seed == 1 else 1e-2)


def test_a_diverging_member_is_marked_and_does_not_touch_its_neighbours() -> None:
    def runs(*seeds: int) -> list[TrainingRun | None]:
        return [TrainingRun(setting(exploding, seed), Training(0)) if seed in seeds else None for seed in range(3)]

    found = together(*runs(0, 1, 2))
    assert [trained is not None and trained.diverged for trained in found] == [False, True, False]
    assert found[1] is not None
    assert found[1].timesteps < 96
    for with_it, without in zip(ends(*runs(0, 1, 2))[::2], ends(*runs(0, 2)), strict=True):
        assert differing(with_it, without) == []


@pytest.mark.parametrize(
    "make",
    [
        exploding,
        a2c,
        partial(a2c, **optimizer(RMSpropTFLike, eps=1e-5)),
        partial(a2c, **optimizer(torch.optim.SGD, momentum=0.9)),
    ],
)
def test_levels_that_share_a_cohort_train_as_if_each_had_its_own(
    make: Callable[[int], BaseAlgorithm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of a level, not even of one that diverged, reaches the next; and it is traced once."""
    cohorts: list[Cohort] = []

    class Counted(Cohort):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            cohorts.append(self)

    def level(place: int) -> list[TrainingRun]:
        return [TrainingRun(setting(make, seed), Training(0)) for seed in (*range(place, 3), *range(place))]

    monkeypatch.setattr(trainers, "Cohort", Counted)
    train = COHORTS.start()
    shared, apart = [level(0), level(1), level(2)], [level(0), level(1), level(2)]
    for runs in shared:
        train(runs)
    assert len(cohorts) == 1
    for runs in apart:
        COHORTS.start()(runs)
    assert len(cohorts) == 4
    for one, other in zip(chain(*shared), chain(*apart), strict=True):
        assert one.finite == other.finite
        if one.finite:
            assert differing(one.finish().end.policy, other.finish().end.policy) == []
            mine, theirs = (TrainingState.capture(run.model).optimizers for run in (one, other))
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


class StopAt(BaseCallback):
    """Ends training in the middle of a rollout."""

    def _on_step(self) -> bool:
        return self.num_timesteps < 41


def test_a_member_that_stops_early_leaves_alone() -> None:
    def runs() -> list[TrainingRun]:
        return [TrainingRun(setting(ppo, s, callback=StopAt if s == 1 else None), Training(0)) for s in range(3)]

    found, plain = together(*runs()), runs()
    PLAIN.start()(plain)
    assert [trained and trained.timesteps for trained in found] == [96, 41, 96]
    for trained, run in zip(found, plain, strict=True):
        expected = run.finish()
        assert trained is not None
        assert largest_difference(trained.end.policy, expected.end.policy) < 1e-4
        assert trained.end.schedule == expected.end.schedule


def test_early_bird_stops_a_member_where_it_stops_sb3() -> None:
    bird = rt.EarlyBird(density=0.5, every=16, window=2, threshold=0.9)

    def run(seed: int) -> TrainingRun:
        return TrainingRun(setting(ppo, seed, 160), Training(0, during=(bird,)))

    plain = [run(0), run(1)]
    PLAIN.start()(plain)
    for trained, other in zip(together(run(0), run(1)), plain, strict=True):
        assert trained is not None
        assert trained.sightings == other.finish().sightings != ()
        assert trained.timesteps == other.finish().timesteps < 160


def test_exact_rewinding_of_a_full_mask_repeats_the_dense_run() -> None:
    boundaries = (0, 32)
    (dense,) = together(TrainingRun(setting(ppo, 3, boundaries=boundaries), Training(0, keep_at=(32,))))
    assert dense is not None
    start = rt.Rewind.exact(32).start(dense.kept[32], dense.end)
    full = make_ticket(dense.mask, start, dense, rt.Rewind.exact(32), {})
    (again,) = together(TrainingRun(setting(ppo, 3, boundaries=boundaries), Training(1, ticket=full, start=start)))
    assert again is not None
    assert differing(again.end.policy, dense.end.policy) == []


def test_afterwards_a_member_is_an_agent_like_any_other() -> None:
    ticket = ticket_for(ppo, 0)
    runs = [TrainingRun(setting(ppo, seed), Training(1, ticket=ticket)) for seed in range(2)]
    together(*runs)
    first, second = (run.model for run in runs)
    owners = {p.untyped_storage().data_ptr() for run in runs for p in run.model.policy.parameters()}
    assert len(owners) == 2 * len(list(first.policy.parameters()))
    before = {name: tensor.clone() for name, tensor in second.policy.state_dict().items()}
    assert type(first.get_env().unwrapped).__name__ == "DummyVecEnv"  # type: ignore[union-attr]
    first.learn(32, reset_num_timesteps=False)
    assert not any(first.policy.state_dict()[name][~kept].any() for name, kept in ticket.mask.items())
    assert differing(dict(second.policy.state_dict()), before) == []
    assert first.num_timesteps == 128


def test_statistics_of_vec_normalize_are_a_members_own_again() -> None:
    make = OPTIONS["normalised"]
    runs = [TrainingRun(setting(make, seed), Training(0)) for seed in range(2)]
    together(*runs)
    envs: Any = [run.model.get_vec_normalize_env() for run in runs]
    before = envs[1].obs_rms.mean.copy()
    assert not np.shares_memory(envs[0].obs_rms.mean, envs[1].obs_rms.mean)
    assert not np.array_equal(envs[0].obs_rms.mean, before)
    runs[0].model.learn(32, reset_num_timesteps=False)
    assert np.array_equal(envs[1].obs_rms.mean, before)
    assert envs[0].obs_rms.count > envs[1].obs_rms.count


def test_an_error_in_one_member_gives_all_their_agents_back() -> None:
    class Fail(BaseCallback):
        def _on_step(self) -> bool:
            raise KeyError("a user's own error")

    runs = [TrainingRun(setting(ppo, 0), Training(0)), TrainingRun(setting(ppo, 1, callback=Fail), Training(0))]
    with pytest.raises(KeyError, match="a user's own error"):
        COHORTS.start()(runs)
    for run in runs:
        assert type(run.model.get_env().unwrapped).__name__ == "DummyVecEnv"  # type: ignore[union-attr]
        run.model.learn(16)


@pytest.mark.parametrize(
    "make", [partial(ppo, env=partial(pendulum, 2)), OPTIONS["masked actions"]], ids=["ppo", "masks"]
)
def test_callbacks_see_what_sb3_shows_them(make: Callable[[int], BaseAlgorithm]) -> None:
    keys: list[set[str]] = []

    class Keys(BaseCallback):
        def _on_step(self) -> bool:
            if self.n_calls == 20:
                keys.append(set(self.locals))
                shown.append({key: np.shape(self.locals[key]) for key in ("actions", "values")})
                shown.append({key: np.shape(self.locals[key]) for key in ("log_probs", "new_obs", "rewards", "dones")})
            masks.append(self.locals.get("action_masks"))
            return True

        def _on_rollout_end(self) -> None:
            buffer = self.model.rollout_buffer  # type: ignore[attr-defined]
            ends.append((buffer.full, buffer.pos, buffer.advantages.shape))

    shown: list[Any] = []
    ends: list[Any] = []
    masks: list[Any] = []
    for trainer in (COHORTS, PLAIN):
        trainer.start()([TrainingRun(setting(make, 0, callback=Keys), Training(0))])
    ours, sb3s = masks[: len(masks) // 2], masks[len(masks) // 2 :]
    assert all(np.array_equal(mine, theirs) for mine, theirs in zip(ours, sb3s, strict=True))
    assert {getattr(mask, "dtype", None) for mask in ours} == {getattr(mask, "dtype", None) for mask in sb3s}
    assert keys[0] >= keys[1] - {"idx", "done", "obs_tensor", "terminal_obs", "terminal_value"}
    assert shown[:2] == shown[2:]
    assert ends[: len(ends) // 2] == ends[len(ends) // 2 :]


def test_quick_stepping_answers_as_sb3s_environment_does() -> None:
    slow, fast = (vec(partial(Choices, spaces.Discrete(2)), 3) for _ in range(2))
    for env in (slow, fast):
        env.seed(4)
        env.reset()
    generator = np.random.default_rng(0)
    with quick(fast):
        for _ in range(20):
            actions = generator.integers(2, size=3)
            for one, other in zip(slow.step(actions)[:3], fast.step(actions)[:3], strict=True):
                np.testing.assert_array_equal(one, other)
                assert one.dtype == other.dtype
            for env in (slow, fast):
                env.step_async(actions)
            for one, other in zip(slow.step_wait()[3], fast.step_wait()[3], strict=True):
                assert one.keys() == other.keys()
                assert one["TimeLimit.truncated"] is other["TimeLimit.truncated"]


class Branching(Sines):
    """Decides by the values it sees."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        found = super().forward(observations)
        return found if found.sum() > 0 else -found


class Taught(Sines):
    """Uses a network that is no part of it."""

    def __init__(self, observation_space: spaces.Box, teacher: torch.nn.Module) -> None:
        super().__init__(observation_space)
        self._teacher = [teacher.requires_grad_(False)]

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(observations) + self._teacher[0](observations)


class Counting(Sines):
    """Remembers how often it was called."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        self.scale += 1
        return super().forward(observations)


class OwnTrain(PPO):
    def train(self) -> None:
        super().train()


class OwnForward(ActorCriticPolicy):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return super().forward(*args, **kwargs)


class Squashing(ActorCriticPolicy):
    """SB3 stretches its actions to the bounds of their space, instead of clipping them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._squash_output = True


class Beyond(Numbers):
    """Observes classes that its space has not."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return 5, *super().step(action)[1:]


def dqn(seed: int, env: Callable[[], Any]) -> DQN:
    return DQN("MlpPolicy", env(), learning_starts=8, seed=seed, device="cpu")


@pytest.mark.parametrize("make", [ppo, dqn])
def test_a_class_that_is_none_is_refused_as_sb3_refuses_it(make: Any) -> None:
    def run() -> TrainingRun:
        return TrainingRun(setting(partial(make, env=partial(vec, partial(Beyond, spaces.Discrete(2))))), Training(0))

    with pytest.raises(RuntimeError, match="Class values must be smaller than num_classes"):
        PLAIN.start()([run()])
    with pytest.raises(ValueError, match=r"an observation among \[5\] that is no class number: they go from 0 to 1"):
        COHORTS.start()([run()])


KNOWN = "cohorts know PPO, A2C, MaskablePPO, DQN, DDPG, TD3, SAC, QRDQN and TQC"
NOT_TRPO = f"{KNOWN}, not TRPO, whose steps end where a search along a line does"
REASONS: dict[str, Callable[[int], BaseAlgorithm]] = {
    f"{KNOWN}, not RecurrentPPO, whose minibatches are sequences of many lengths": BY_NAME["recurrent_ppo"].make,
    NOT_TRPO: BY_NAME["trpo"].make,
    "a minibatch of one row has no spread": partial(maskable, env=allowing(spaces.Discrete(5), [5]), batch_size=31),
    "its environment does not say which actions are allowed": partial(maskable, env=cartpole),
    "OwnTrain has a train method of its own": lambda s: OwnTrain("MlpPolicy", cartpole(), seed=s, **ON),
    "OwnForward has a forward method of its own": partial(ppo, policy=OwnForward),
    "its policy squashes actions": partial(ppo, env=pendulum, policy=Squashing),
    "its optimizer (SGD) is not": partial(ppo, **optimizer(torch.optim.SGD, momentum=0.9, dampening=0.1)),
    "its optimizer (RMSprop) is not": partial(ppo, **optimizer(torch.optim.RMSprop, momentum=0.9)),
    "its optimizer (Adam) is not": partial(ppo, **optimizer(torch.optim.Adam, amsgrad=True)),
    "its policy changes its buffer 'features_extractor.scale'": partial(
        ppo, policy_kwargs=small(features_extractor_class=Counting)
    ),
    "its policy has a Dropout layer": partial(ppo, policy_kwargs=small(activation_fn=torch.nn.Dropout)),
    "its policy cannot be traced": partial(ppo, policy_kwargs=small(features_extractor_class=Branching)),
    "its policy cannot be traced (AssertionError: Please convert all Tensors": partial(
        ppo,
        policy_kwargs=small(
            features_extractor_class=Taught, features_extractor_kwargs={"teacher": torch.nn.Linear(4, 6)}
        ),
    ),
    "its optimizer (Adam, Adam) is not": lambda s: PPO(
        BY_NAME["own_heads"].make(0).policy_class, cartpole(), seed=s, **ON
    ),
}


@pytest.mark.parametrize("reason", REASONS)
def test_what_cannot_join_is_told_why(reason: str) -> None:
    told = COHORTS.obstacle(REASONS[reason](0))
    assert told is not None
    assert told.startswith(reason)
    assert "\n" not in told


def test_environments_in_processes_of_their_own() -> None:
    def make(seed: int) -> PPO:
        return ppo(seed, partial(SubprocVecEnv, [partial(gym.make, "CartPole-v1")] * 2))

    def runs() -> list[TrainingRun]:
        return [TrainingRun(setting(make, seed, 64), Training(0)) for seed in range(2)]

    for pair in both_ways(runs):
        one, other = (run.model for run in pair)
        assert largest_difference(one.policy.state_dict(), other.policy.state_dict()) < 1e-4
        for model in (one, other):
            model.get_env().close()  # type: ignore[union-attr]


def test_agents_of_different_shapes_train_in_cohorts_of_their_own() -> None:
    def make(seed: int) -> PPO:
        return ppo(seed, policy_kwargs=small() if seed % 2 else {"net_arch": [4]})

    found = together(*(TrainingRun(setting(make, seed, 32), Training(0)) for seed in range(3)))
    assert [trained and trained.timesteps for trained in found] == [32] * 3


class Scaled(Sines):
    """Computes with a number that neither its `repr` nor its `state_dict` shows."""

    def __init__(self, observation_space: spaces.Box, factor: float) -> None:
        super().__init__(observation_space)
        self.factor = factor

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(observations * self.factor)


def test_agents_that_differ_in_what_they_compute_train_in_cohorts_of_their_own() -> None:
    def make(seed: int) -> PPO:
        kwargs = small(features_extractor_class=Scaled, features_extractor_kwargs={"factor": float(seed)})
        return ppo(seed, policy_kwargs=kwargs)

    def runs() -> list[TrainingRun]:
        return [TrainingRun(setting(make, seed, 32), Training(0)) for seed in range(3)]

    for one, other in both_ways(runs):
        assert largest_difference(one.model.policy.state_dict(), other.model.policy.state_dict()) < 1e-4


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.filterwarnings("ignore:You have specified a mini-batch size of 12")
def test_agents_of_all_seeds_and_ages_share_a_cohort(option: str) -> None:
    make = OPTIONS[option]
    young, old = make(0), make(1)
    old.learn(1)
    rt.hold(old, rt.Mask.dense(old))
    assert shape_of(young, ()).signature == shape_of(old, ()).signature


def test_agents_with_other_weights_frozen_train_apart() -> None:
    whole, frozen = ppo(0), ppo(1)
    frozen.policy.action_net.requires_grad_(False)
    assert shape_of(whole, ()).signature != shape_of(frozen, ()).signature


def times(factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x * factor


class Composed(Sines):
    """Computes with what it is given: a function, factors in a list."""

    def __init__(self, observation_space: spaces.Box, act: Any, factors: list[float]) -> None:
        super().__init__(observation_space)
        self.act, self._factors = act, factors

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(observations)) * self._factors[0]


def test_agents_that_differ_in_a_function_or_a_list_train_as_by_sb3() -> None:
    def make(seed: int) -> PPO:
        given = {"act": times(float(1 + seed % 2)), "factors": [float(1 + seed // 2)]}
        return ppo(seed, policy_kwargs=small(features_extractor_class=Composed, features_extractor_kwargs=given))

    for one, other in both_ways(lambda: [TrainingRun(setting(make, seed, 32), Training(0)) for seed in range(4)]):
        assert largest_difference(one.model.policy.state_dict(), other.model.policy.state_dict()) < 1e-4


def test_what_cannot_join_trains_with_plain_sb3_which_is_said_once_for_each_reason() -> None:
    def runs() -> list[TrainingRun]:
        makes = (BY_NAME["trpo"].make, ppo, BY_NAME["trpo"].make, REASONS["its policy cannot be traced"])
        return [TrainingRun(setting(make, seed, 48), Training(0)) for seed, make in enumerate(makes)]

    train, ours, theirs = COHORTS.start(), runs(), runs()
    with pytest.warns(rt.PlainTrainingWarning) as said:
        train(ours)
    train(runs())
    texts = [str(warning.message) for warning in said]
    assert texts[0] == f"this agent trains with plain SB3, since {NOT_TRPO}"
    assert texts[1].startswith("this agent trains with plain SB3, since its policy cannot be traced (")
    assert len(texts) == 2
    PLAIN.start()(theirs)
    for slot in (0, 2, 3):
        assert differing(*(dict(runs[slot].model.policy.state_dict()) for runs in (ours, theirs))) == []


def test_a_member_is_saved_and_loaded_by_sb3_afterwards(tmp_path: Any) -> None:
    run = TrainingRun(setting(ppo), Training(0))
    together(run)
    run.model.save(tmp_path / "agent")
    again = PPO.load(tmp_path / "agent", device="cpu")
    assert differing(dict(again.policy.state_dict()), dict(run.model.policy.state_dict())) == []
