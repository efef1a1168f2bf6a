"""Rehearsals: whatever a user's own policy does, a cohort never trains something else than SB3 would."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import BY_NAME, cartpole, differing, small, tensors, vec
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from test_cohort import COHORTS, OPTIONS, PLAIN, Choices, Sines, both_ways, largest_difference, ppo, setting
from torch.utils._pytree import tree_map_only

import rl_tickets as rt
from rl_tickets.training.cohorts import rehearsing, tracing
from rl_tickets.training.cohorts.fingerprint import fingerprint
from rl_tickets.training.cohorts.imagined import Imagined
from rl_tickets.training.cohorts.on_policy import losses
from rl_tickets.training.cohorts.rehearsing import demand_alike
from rl_tickets.training.requests import Training
from rl_tickets.training.runs import TrainingRun


class Averaging(Sines):
    """A running mean of what it sees while it trains: all zeros leave it where it is."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space)
        self.register_buffer("mean", torch.zeros(observation_space.shape))

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.mean.lerp_(observations.detach().mean(0), 0.1)
        return super().forward(observations - self.mean)


class Counting(Sines):
    """Counts its calls in Python."""

    calls = 0

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(observations) / (1 + self.calls // 100)


class Listing(Sines):
    """Keeps a list of what it saw."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space)
        self.seen: list[int] = []

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(observations))
        return super().forward(observations)


class Closing(Sines):
    """Counts in a dict that every copy of it shares."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space)
        count = {"calls": 0}

        def counted(observations: torch.Tensor) -> torch.Tensor:
            count["calls"] += 1
            return observations

        self.counted = counted

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(self.counted(observations))


class Dropping(Sines):
    """Dropout without a layer of that name."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.dropout(super().forward(observations), 0.5, self.training)


class Noisy(Sines):
    """Noise that tracing takes for a constant."""

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return super().forward(observations) + 0.1 * float(np.random.standard_normal())  # noqa: NPY002


class Remembering(ActorCriticPolicy):
    """Evaluates in a way of its own, which depends on how often it was asked."""

    asked = 0

    def evaluate_actions(self, obs: Any, actions: torch.Tensor) -> Any:
        self.asked += 1
        return super().evaluate_actions(obs, actions)


class Hidden(ActorCriticPolicy):
    """Its loss differs from epoch to epoch, and no attribute of any agent shows it."""

    def evaluate_actions(self, obs: Any, actions: torch.Tensor) -> Any:
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        return values * (2 if random.random() < 0.5 else 1), log_prob, entropy


class Detached(ActorCriticPolicy):
    """An `evaluate_actions` of its own that a cohort can follow."""

    def evaluate_actions(self, obs: Any, actions: torch.Tensor) -> Any:
        values, log_prob, entropy = super().evaluate_actions(obs, actions)
        return values * 0.5, log_prob, entropy


class Locked(Sines):
    """Holds what cannot be copied."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space)
        self.stream = (number for number in range(3))


def extracted(extractor: type[Sines]) -> Callable[[int], BaseAlgorithm]:
    return partial(ppo, policy_kwargs=small(features_extractor_class=extractor))


UNLIKE: dict[str, Callable[[int], BaseAlgorithm]] = {
    "training changes its policy's buffer 'features_extractor.mean', which a cohort would not": extracted(Averaging),
    "training changes the attribute 'policy.features_extractor.calls', which a cohort would not": extracted(Counting),
    "training changes the attribute 'policy.features_extractor.seen', which a cohort would not": extracted(Listing),
    "a copy of its policy changes what the policy computes with: the two share something": extracted(Closing),
    "its policy cannot be traced (RuntimeError: vmap: called random operation": extracted(Dropping),
    "its update gives weights of ": extracted(Noisy),
    "training changes the attribute 'policy.asked', which a cohort would not": partial(ppo, policy=Remembering),
    "its update gives weights of value_net": partial(ppo, policy=Hidden, n_epochs=3),
    "its policy cannot be copied (TypeError: cannot pickle 'generator' object)": extracted(Locked),
}


@pytest.mark.parametrize("reason", UNLIKE)
def test_what_a_cohort_would_train_otherwise_trains_plainly_and_is_told_why(reason: str) -> None:
    make = UNLIKE[reason]
    told = COHORTS.obstacle(make(0))
    assert told is not None
    assert told.startswith(reason.split(" weights of value_net")[0])
    assert "\n" not in told


@pytest.mark.parametrize("extractor", [Averaging, Counting, Noisy])
def test_agents_that_do_not_rehearse_alike_train_bit_for_bit_as_by_sb3(extractor: type[Sines]) -> None:
    ours, theirs = (TrainingRun(setting(extracted(extractor), 0, 48), Training(0)) for _ in range(2))
    with pytest.warns(rt.PlainTrainingWarning):
        COHORTS.start()([ours])
    PLAIN.start()([theirs])
    assert differing(tensors(ours.model), tensors(theirs.model)) == []


def test_an_agent_that_has_diverged_rehearses_for_nobody() -> None:
    """It shows nothing of the others, before it or after."""
    for order in ((0, 1), (1, 0)):
        runs = [TrainingRun(setting(extracted(Averaging), seed, 48), Training(0)) for seed in range(2)]
        with torch.no_grad():
            runs[0].model.policy.value_net.weight.fill_(torch.nan)  # type: ignore[union-attr]
        theirs = TrainingRun(setting(extracted(Averaging), 1, 48), Training(0))
        train = COHORTS.start()
        train([runs[0]])
        with pytest.warns(rt.PlainTrainingWarning, match="features_extractor.mean"):
            train([runs[index] for index in order])
        PLAIN.start()([theirs])
        assert differing(tensors(runs[1].model), tensors(theirs.model)) == []


def test_a_policy_that_evaluates_in_its_own_way_may_join_where_the_outcome_is_sb3s() -> None:
    make = partial(ppo, policy=Detached)
    assert COHORTS.obstacle(make(0)) is None
    for one, other in both_ways(lambda: [TrainingRun(setting(make, seed, 48), Training(0)) for seed in range(2)]):
        assert largest_difference(one.model.policy.state_dict(), other.model.policy.state_dict()) < 1e-5


@pytest.mark.parametrize("rate", [1e-9, 1e-1])
def test_a_wrong_update_is_seen_at_every_learning_rate(rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """In double precision a difference is measured by how far SB3 moved the weights."""
    model = ppo(0, learning_rate=rate)
    assert rehearsing._rehearse(model) is None
    absolute = SimpleNamespace(mse_loss=lambda one, other: (one - other).abs().mean())
    monkeypatch.setattr(losses, "F", absolute)
    assert (rehearsing._rehearse(model) or "").startswith("its update gives weights of")


def test_what_sb3_itself_cannot_train_on_random_observations_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: PPO) -> None:
        raise ValueError("no such thing\nhas ever been seen")

    monkeypatch.setattr(PPO, "train", fail)
    told = "SB3 cannot train it on random observations (ValueError: no such thing)"
    assert rehearsing._rehearse(ppo(0)) == told


def untouched(model: BaseAlgorithm) -> tuple[Any, ...]:
    """All that a rehearsal must leave alone."""
    env = model.get_env()
    assert env is not None
    found = (
        {name: tensor.clone() for name, tensor in model.policy.state_dict().items()},
        copy.deepcopy(model.policy.optimizer.state_dict()),
        {name: id(value) for name, value in vars(model).items()},
        fingerprint(model.policy),
        (model.num_timesteps, model.policy.training, copy.deepcopy(model._last_obs)),
        env.get_attr("np_random")[0].bit_generator.state,
        model.action_space.np_random.bit_generator.state,
        (random.getstate(), torch.get_rng_state(), *np.random.get_state(legacy=False).items()),  # noqa: NPY002
        (torch.get_default_dtype(), torch.is_grad_enabled(), torch.distributions.Distribution._validate_args),
    )
    arrays: tuple[Any, ...] = tree_map_only(torch.Tensor, torch.Tensor.numpy, found)
    return arrays


@pytest.mark.parametrize("make", [OPTIONS["ppo"], OPTIONS["normalised"], OPTIONS["a2c"], extracted(Averaging)])
@pytest.mark.parametrize("held", [False, True])
def test_a_rehearsal_leaves_no_trace(make: Callable[[int], BaseAlgorithm], held: bool) -> None:
    model = make(3)
    model.learn(64)
    if held:
        rt.hold(model, rt.Mask.dense(model))
    model.action_space.sample()
    before = untouched(model)
    rehearsing._rehearse(model)
    for one, other in zip(before, untouched(model), strict=True):
        np.testing.assert_equal(one, other)


def test_a_shape_rehearses_once_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearsed: list[BaseAlgorithm] = []
    monkeypatch.setattr(rehearsing, "_SHOWN", {})
    monkeypatch.setattr(rehearsing, "_rehearse", rehearsed.append)
    models = [ppo(0), ppo(1), OPTIONS["entropy"](0), ppo(2)]
    for model in models:
        demand_alike(model)
    assert rehearsed == models[::2]
    diverged = OPTIONS["a2c"](0)
    next(diverged.policy.parameters()).data.fill_(torch.nan)
    demand_alike(diverged)
    assert len(rehearsed) == 2


SPACES = [
    spaces.Box(-3, 5, (4,)),
    spaces.Box(-np.inf, np.inf, (2, 3)),
    spaces.Box(np.array([-np.inf, 0, -1], np.float32), np.array([0, np.inf, 1], np.float32)),
    spaces.Box(-3.4e38, 3.4e38, (3,), np.float64),
    spaces.Box(0, 255, (1, 4, 4), np.uint8),
    spaces.MultiBinary(3),
]


@pytest.mark.parametrize("space", SPACES, ids=str)
def test_imagined_observations_are_of_the_space_and_no_two_alike(space: gym.Space[Any]) -> None:
    env, again = (Imagined(3, space, spaces.Discrete(2), seed=1) for _ in range(2))
    shown = [env.reset(), *(env.step(np.zeros(3))[0] for _ in range(20))]
    assert all(space.contains(observation) for batch in shown for observation in batch)
    assert len({batch.tobytes() for batch in shown}) > 15
    assert np.abs(np.asarray(shown, float)).max() < 256
    np.testing.assert_array_equal(again.reset(), shown[0])


class Attention(Sines):
    """Attends to the parts of an observation."""

    def __init__(self, observation_space: spaces.Box) -> None:
        super().__init__(observation_space)
        self.attention = torch.nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        seen = super().forward(observations).unsqueeze(1).expand(-1, 3, -1)
        attended: torch.Tensor = self.attention(seen, seen, seen, need_weights=False)[0]
        return attended.mean(1)


@pytest.mark.compiled
@pytest.mark.parametrize("where", ["compiling", "first call"])
def test_what_the_compiler_mistakes_trains_plainly(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("not enough values to unpack\n(expected 2)")

    monkeypatch.setattr(tracing, "compiler", lambda: "c++")
    monkeypatch.setattr(tracing, "_COMPILED", {})
    monkeypatch.setattr(torch._inductor, "standalone_compile", fail if where == "compiling" else lambda *_, **__: fail)
    runs = [TrainingRun(setting(extracted(Attention), seed, 48), Training(0)) for seed in range(2)]
    train = COHORTS.start()
    with pytest.warns(rt.PlainTrainingWarning) as said:
        train(runs)
    train([TrainingRun(setting(extracted(Attention), seed, 48), Training(0)) for seed in range(2)])
    reason = "its policy cannot be compiled (ValueError: not enough values to unpack)"
    assert [str(each.message) for each in said] == [f"this agent trains with plain SB3, since {reason}"]
    assert [run.model.num_timesteps for run in runs] == [48, 48]


def test_attention_trains_as_by_sb3() -> None:
    for one, other in both_ways(
        lambda: [TrainingRun(setting(extracted(Attention), seed, 48), Training(0)) for seed in (0, 1)]
    ):
        assert largest_difference(one.model.policy.state_dict(), other.model.policy.state_dict()) < 1e-5


@pytest.mark.parametrize("shape", [(2, 2), (1, 2, 1)])
def test_actions_of_several_dimensions_train_as_by_sb3(shape: tuple[int, ...]) -> None:
    make = partial(ppo, env=partial(vec, partial(Choices, spaces.Box(-1, 1, shape)), 2))
    assert COHORTS.obstacle(make(0)) is None
    for one, other in both_ways(lambda: [TrainingRun(setting(make, seed, 96), Training(0)) for seed in range(2)]):
        assert largest_difference(one.model.policy.state_dict(), other.model.policy.state_dict()) < 1e-5


def test_one_environment_for_several_agents_is_refused() -> None:
    env = cartpole(2)
    runs = [TrainingRun(setting(lambda seed: ppo(seed, lambda: env), seed), Training(0)) for seed in range(2)]
    message = "make_model gave the same environment to two agents; make a new one each time"
    with pytest.raises(ValueError, match=message):
        COHORTS.start()(runs)
    inner = gym.make("CartPole-v1")
    wrapped = [
        TrainingRun(setting(lambda seed: ppo(seed, partial(vec, lambda: inner)), s), Training(0)) for s in range(2)
    ]
    with pytest.raises(ValueError, match=message):
        COHORTS.start()(wrapped)
    shared = [TrainingRun(setting(lambda s: BY_NAME["trpo"].make(s), 0, 32), Training(0)), runs[0]]
    with pytest.warns(rt.PlainTrainingWarning):
        COHORTS.start()(shared)
