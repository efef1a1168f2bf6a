"""Evaluation: seeded episode by episode, with the agent's own statistics, and without a trace."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import OneWay
from gymnasium import spaces
from sb3_contrib import MaskablePPO, RecurrentPPO
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack, VecMonitor, VecNormalize
from tiny import make_env, make_ppo
from torch import nn

import rl_tickets as rt
from rl_tickets.evaluation.acting import samples
from rl_tickets.evaluation.returns import RandomPolicy, play

SMALL: dict[str, Any] = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [16]}}


@pytest.fixture(scope="module")
def normalized() -> PPO:
    """An agent whose VecNormalize has seen something."""
    return make_ppo(seed=3).learn(64)


@pytest.fixture(scope="module")
def plain() -> PPO:
    return PPO("MlpPolicy", make_env(), seed=3, device="cpu", **SMALL).learn(64)


def naive(
    predict: Callable[[np.ndarray], np.ndarray], episodes: int, seed: int, make: Callable[[], Any] = make_env
) -> list[float]:
    """The loop that everyone writes."""
    returns = []
    for episode in range(episodes):
        env = make()
        observation, _ = env.reset(seed=seed + episode)
        total, done = 0.0, False
        while not done:
            observation, reward, terminated, truncated, _ = env.step(predict(observation))
            total, done = total + float(reward), terminated or truncated
        returns.append(total)
    return returns


def test_equals_the_naive_loop(plain: PPO, normalized: PPO) -> None:
    for model in (plain, normalized):
        statistics = model.get_vec_normalize_env()

        def predict(observation: np.ndarray, model: PPO = model, statistics: Any = statistics) -> np.ndarray:
            seen = statistics.normalize_obs(observation) if statistics else observation
            return model.predict(seen, deterministic=True)[0]

        returns = rt.evaluate(model, make_env, episodes=20, seed=50)
        assert returns.dtype == np.float64
        assert returns.tolist() == naive(predict, episodes=20, seed=50)


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize("make", [lambda: make_ppo(1), lambda: RandomPolicy(make_env().action_space, seed=4)])
def test_an_episode_does_not_depend_on_how_many_are_played(make: Callable[[], Any], deterministic: bool) -> None:
    played = {n: play(make(), make_env, episodes=n, seed=9, deterministic=deterministic) for n in (1, 3, 16, 40)}
    for few in (1, 3, 16):
        assert played[few].returns.tolist() == played[40].returns[:few].tolist()
        assert played[few].lengths.tolist() == played[40].lengths[:few].tolist()


def test_every_policy_sees_the_same_episodes(plain: PPO) -> None:
    class Recorder(gym.Wrapper[Any, Any, Any, Any]):
        def reset(self, **arguments: Any) -> Any:
            observation, info = super().reset(**arguments)
            starts.append((arguments["seed"], observation.tolist()))
            return observation, info

    seen = []
    for model in (plain, RandomPolicy(plain.action_space)):
        starts: list[Any] = []
        rt.evaluate(model, lambda: Recorder(make_env()), episodes=20, seed=7)
        seen.append(sorted(starts))
    assert seen[0] == seen[1]
    assert [seed for seed, _ in seen[0]] == list(range(7, 27))


def test_statistics_of_vec_normalize_are_used_and_left_alone(normalized: PPO) -> None:
    statistics = normalized.get_vec_normalize_env()
    assert statistics is not None
    before = (statistics.obs_rms.mean.copy(), statistics.obs_rms.count, statistics.training, statistics.ret_rms.count)
    with_them = rt.evaluate(normalized, make_env, episodes=20)
    after = (statistics.obs_rms.mean, statistics.obs_rms.count, statistics.training, statistics.ret_rms.count)
    assert [np.array_equal(a, b) for a, b in zip(before, after, strict=True)] == [True] * 4
    without = naive(lambda seen: normalized.predict(seen, deterministic=True)[0], episodes=20, seed=1_000)
    assert with_them.tolist() != without, "this agent cannot tell whether statistics were used"


@pytest.mark.parametrize("wrap", [lambda env: env, VecNormalize, lambda env: VecMonitor(VecNormalize(env))])
def test_a_vec_env_gives_raw_returns_with_the_agents_statistics(normalized: PPO, wrap: Callable[[Any], Any]) -> None:
    envs = [0]

    def make() -> Any:
        envs[0] += 1
        return wrap(DummyVecEnv([make_env] * 3))

    played = play(normalized, make, episodes=7, seed=5)
    assert envs[0] == 1, "one VecEnv plays all episodes"
    assert played.returns.shape == played.lengths.shape == (7,)
    assert played.returns.tolist() == played.lengths.tolist(), "CartPole pays 1 a step, unnormalised"
    assert played.returns.tolist() == play(normalized, make, episodes=7, seed=5).returns.tolist()
    assert (
        played.returns.tolist() == play(normalized, lambda: DummyVecEnv([make_env] * 3), episodes=7, seed=5)[0].tolist()
    )


def test_statistics_that_are_not_the_agents_are_refused(plain: PPO) -> None:
    def make() -> Any:
        return VecFrameStack(VecNormalize(DummyVecEnv([make_env])), 1)

    with pytest.raises(ValueError, match="VecNormalize, but the agent was trained without one: the statistics belong"):
        rt.evaluate(plain, make, episodes=2)
    assert len(rt.evaluate(RandomPolicy(plain.action_space), make, episodes=2)) == 2, "needs no statistics"


def test_global_generators_are_left_as_they_were(plain: PPO) -> None:
    def draws() -> tuple[Any, ...]:
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    def seed() -> None:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002
        torch.manual_seed(1)

    seed()
    expected = draws()
    seed()
    sampled = rt.evaluate(plain, make_env, episodes=5, deterministic=False)
    assert draws() == expected
    assert sampled.tolist() == rt.evaluate(plain, make_env, episodes=5, deterministic=False).tolist()
    validates = torch.distributions.Distribution._validate_args
    seed()
    with pytest.raises(ZeroDivisionError):
        rt.evaluate(plain, lambda: gym.wrappers.TransformReward(make_env(), lambda _: 1 // 0), episodes=2)
    assert draws() == expected, "also where the environment fails"
    assert torch.distributions.Distribution._validate_args == validates


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(5),
        spaces.Box(-2.0, 3.0, (4,)),
        spaces.MultiDiscrete([3, 2]),
        spaces.MultiBinary(3),
    ],
)
def test_a_random_policy_is_uniform_and_repeats_with_its_seed(space: spaces.Space[Any]) -> None:
    space.seed(0)
    expected = space.sample()
    space.seed(0)
    batch = np.zeros((200, 1))
    actions = RandomPolicy(space, seed=1).predict(batch)[0]
    assert space.sample() == pytest.approx(expected), "the agent's own space is not drawn from"
    assert np.array_equal(actions, RandomPolicy(space, seed=1).predict(batch)[0])
    assert not np.array_equal(actions, RandomPolicy(space, seed=2).predict(batch)[0])
    assert all(space.contains(action) for action in actions)
    low, high = np.min(actions, axis=0), np.max(actions, axis=0)
    if isinstance(space, spaces.Box):
        assert (low < -1.5).all()
        assert (high > 2.5).all()
    else:
        ends = {"Discrete": 4, "MultiDiscrete": [2, 1], "MultiBinary": [1, 1, 1]}[type(space).__name__]
        assert np.array_equal(low, np.zeros_like(ends))
        assert np.array_equal(high, ends)


@pytest.mark.parametrize(
    ("space", "row", "possible"),
    [
        (spaces.Discrete(3), [False, True, True], {1, 2}),
        (spaces.MultiDiscrete([2, 3]), [True, False, False, True, True], {(0, 1), (0, 2)}),
        (spaces.MultiBinary(2), [True, True, False, True], {(0, 1), (1, 1)}),
    ],
)
def test_a_random_policy_obeys_masks(space: spaces.Space[Any], row: list[bool], possible: set[Any]) -> None:
    actions, _ = RandomPolicy(space, seed=1).predict(np.zeros((50, 1)), action_masks=np.array([row] * 50))
    assert {tuple(a) if np.ndim(a) else int(a) for a in actions} == possible


class Memory(gym.Env[np.ndarray, int]):
    """The action must repeat what was seen in the first step of the episode, and only then."""

    observation_space = spaces.Box(-1.0, 1.0, (1,))
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._steps, self._bit = 0, int(self.np_random.integers(2))
        self._length = int(self.np_random.integers(2, 6))
        return np.array([2.0 * self._bit - 1], dtype=np.float32), {}

    def step(self, action: int) -> Any:
        self._steps += 1
        return np.zeros(1, np.float32), float(action == self._bit), self._steps == self._length, False, {}


def test_a_recurrent_policy_keeps_its_state_for_the_episode_only() -> None:
    policy_kwargs = {"net_arch": [8], "lstm_hidden_size": 8}
    model = RecurrentPPO("MlpLstmPolicy", Memory(), seed=1, device="cpu", **{**SMALL, "policy_kwargs": policy_kwargs})
    state: Any = None

    def remember(make: Callable[[], Memory]) -> list[float]:
        returns = []
        for episode in range(20):
            env = make()
            observation, _ = env.reset(seed=100 + episode)
            state, start, total, done = None, True, 0.0, False
            while not done:
                action, state = model.predict(
                    observation, state=state, episode_start=np.array([start]), deterministic=True
                )
                start = False
                observation, reward, done, _, _ = env.step(int(action))
                total += reward
            returns.append(total)
        return returns

    assert state is None
    assert rt.evaluate(model, Memory, episodes=20, seed=100).tolist() == remember(Memory)


def test_a_model_with_memory_is_told_where_episodes_begin() -> None:
    class Remembers:
        """Perfect only if its state is carried along and reset with each episode."""

        def predict(self, observation: Any, state: Any = None, episode_start: Any = None, **_: Any) -> Any:
            bits = (observation[:, 0] > 0).astype(int)
            state = bits if state is None else np.where(episode_start, bits, state)
            return state, state

    played = play(Remembers(), Memory, episodes=40, seed=3)
    assert played.returns.tolist() == played.lengths.tolist()


def test_masks_of_maskable_ppo_are_obeyed() -> None:
    class Strict(OneWay):
        def step(self, action: int) -> Any:
            assert self.action_masks()[int(action)], "a forbidden action"
            return super().step(action)

    model = MaskablePPO("MlpPolicy", OneWay(), seed=1, device="cpu", **SMALL)
    with torch.no_grad():
        model.policy.action_net.bias[:] = torch.tensor([5.0, -5.0])  # Would always go left.
    for deterministic in (True, False):
        assert len(rt.evaluate(model, Strict, episodes=5, deterministic=deterministic)) == 5
        assert len(rt.evaluate(model, lambda: DummyVecEnv([Strict] * 2), episodes=5, deterministic=deterministic)) == 5
    assert len(rt.evaluate(RandomPolicy(model.action_space), Strict, episodes=5)) == 5
    with pytest.raises(AssertionError, match="forbidden"):
        rt.evaluate(PPO("MlpPolicy", OneWay(), seed=1, device="cpu", **SMALL), Strict, episodes=5, deterministic=False)


class Ids(gym.Env[np.ndarray, int]):
    """Bounds say more than it shows: ids below 11."""

    observation_space = spaces.Box(0, 255, (4,), np.uint8)
    action_space = spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self._left = 5
        return self._seen(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self._left -= 1
        return self._seen(), 1.0, False, not self._left, {}

    def _seen(self) -> np.ndarray:
        return self.np_random.integers(0, 11, 4).astype(np.uint8)


class Embedded(BaseFeaturesExtractor):
    def __init__(self, space: spaces.Box) -> None:
        super().__init__(space, 16)
        self.embedding = nn.Embedding(11, 4)

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.embedding(observations.long()).flatten(1)


@pytest.mark.parametrize("kind", [PPO, DQN])
def test_an_agent_that_takes_no_random_observations_plays_what_it_is_shown(kind: Any) -> None:
    model = kind("MlpPolicy", Ids(), policy_kwargs={"features_extractor_class": Embedded}, seed=0, device="cpu")
    assert rt.evaluate(model, Ids, episodes=3).tolist() == [5, 5, 5]
    model._setup_learn(8)
    assert samples(model) == (kind is PPO)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("vectorised", [False, True])
def test_a_return_that_is_no_number_is_named(plain: PPO, value: float, vectorised: bool) -> None:
    def make() -> Any:
        return gym.wrappers.TransformReward(make_env(), lambda _: value)

    with pytest.raises(ValueError, match=rf"episode 0 of the evaluation returned {value}; check the environment's rew"):
        rt.evaluate(plain, (lambda: DummyVecEnv([make])) if vectorised else make, episodes=2)


def test_anything_with_predict_is_evaluated() -> None:
    class Balance:
        def predict(self, observation: Any, *args: Any, **kwargs: Any) -> Any:
            return (observation[:, 2] + observation[:, 3] > 0).astype(int), None

    assert rt.evaluate(Balance(), make_env, episodes=3).mean() > 150


def test_a_network_of_nans_still_earns_what_it_earns(plain: PPO) -> None:
    model = PPO("MlpPolicy", gym.make("Pendulum-v1"), seed=1, device="cpu", **SMALL)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.fill_(float("nan"))
    for deterministic in (True, False):
        played = rt.evaluate(model, lambda: gym.make("Pendulum-v1"), episodes=2, deterministic=deterministic)
        assert np.isfinite(played).all()


def test_impossible_requests_are_refused(plain: PPO) -> None:
    with pytest.raises(ValueError, match="episodes must be at least 1, got 0"):
        rt.evaluate(plain, make_env, episodes=0)
    env = make_env()
    with pytest.raises(ValueError, match="same environment twice; it must make a new one each time"):
        rt.evaluate(plain, lambda: env, episodes=2)
