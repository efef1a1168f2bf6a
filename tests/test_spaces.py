"""An evaluation of another task is refused before it is played, one of the agent's own never."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from agents_matrix import CASES, Case, Image, Parts, Steered, cartpole, small, vec
from gymnasium import spaces
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecFrameStack, VecTransposeImage

import rl_tickets as rt
from rl_tickets.evaluation.returns import RandomPolicy
from rl_tickets.evaluation.spaces import check_env

ON: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "device": "cpu"}


def ppo(env: Any, policy: str = "MlpPolicy") -> PPO:
    return PPO(policy, env, policy_kwargs=small(), **ON)


@pytest.fixture(scope="module")
def agent() -> PPO:
    return ppo(cartpole())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_agents_own_task_is_never_refused(case: Case) -> None:
    model = case.make(0)
    env = case.make(1).get_env()
    assert env is not None
    check_env(model, lambda: env)
    single = case.make(2).get_env().unwrapped.envs[0]  # type: ignore[union-attr]
    check_env(model, lambda: single)


class Seen(gym.Env[Any, Any]):
    """Has spaces, and plays one step."""

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any] | None = None) -> None:
        self.observation_space, self.action_space = observations, actions or spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.observation_space.sample(), 0.0, True, False, {}


BOX = spaces.Box(-1, 1, (4,), np.float32)


@pytest.mark.parametrize(
    ("env", "difference"),
    [
        (lambda: gym.make("Acrobot-v1"), r"its observations are Box\(6,\), the agent's Box\(4,\)"),
        (lambda: Seen(BOX, spaces.Discrete(3)), r"its actions are Discrete\(3\), the agent's Discrete\(2\)"),
        (lambda: Seen(BOX, spaces.Box(-1, 1, (1,))), r"its actions are Box\(1,\), the agent's Discrete\(2\)"),
        (lambda: Seen(BOX, spaces.MultiDiscrete([2])), r"its actions are MultiDiscrete\(\[2\]\), the agent's"),
        (Parts, r"its observations are Dict\(.*\), the agent's Box\(4,\)"),
        (lambda: VecFrameStack(cartpole(), 2), r"its observations are Box\(8,\), the agent's Box\(4,\)"),
    ],
)
def test_another_task_is_named(agent: PPO, env: Callable[[], Any], difference: str) -> None:
    sentence = f"make_env gives another task than the agent was made for: {difference}.*; evaluate it in"
    with pytest.raises(ValueError, match=sentence):
        check_env(agent, env)
    with pytest.raises(ValueError, match=sentence):
        rt.evaluate(agent, env, episodes=1)


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"cart": spaces.Box(-1, 1, (2,))}, r"only the agent's observations have a part 'pole'"),
        (
            {name: spaces.Box(-1, 1, (2,)) for name in ("cart", "pole", "wind")},
            r"only the environment's observations have a part 'wind'",
        ),
        (
            {"cart": spaces.Box(-1, 1, (2,)), "pole": spaces.Box(-1, 1, (3,))},
            r"its observations\['pole'\] are Box\(3,\), the agent's Box\(2,\)",
        ),
    ],
)
def test_parts_are_compared_one_by_one(other: dict[str, spaces.Space[Any]], difference: str) -> None:
    model = PPO("MultiInputPolicy", vec(Parts), **ON)
    with pytest.raises(ValueError, match=difference):
        check_env(model, lambda: Seen(spaces.Dict(other)))


@pytest.mark.parametrize(
    "same",
    [
        spaces.Box(-np.inf, np.inf, (4,), np.float64),
        spaces.Box(-5, 5, (4,), np.float32),
        spaces.Box(0, 200, (4,), np.int64),
    ],
)
def test_bounds_and_dtypes_may_differ(agent: PPO, same: spaces.Box) -> None:
    check_env(agent, lambda: Seen(same))
    assert len(rt.evaluate(agent, lambda: Seen(same), episodes=2)) == 2


class Last(gym.ObservationWrapper[Any, Any, Any]):
    """Images with their channels last."""

    def __init__(self) -> None:
        super().__init__(Image())
        self.observation_space = spaces.Box(0, 255, (36, 36, 1), np.uint8)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.moveaxis(observation, 0, -1)


def stacked(make: Callable[[], Any]) -> VecEnv:
    return VecFrameStack(DummyVecEnv([make]), 3)


@pytest.mark.parametrize(
    ("env", "same", "another"),
    [
        (Last, [Last, Image, lambda: VecTransposeImage(DummyVecEnv([Last]))], lambda: stacked(Last)),
        (lambda: stacked(Last), [lambda: stacked(Last), lambda: VecTransposeImage(stacked(Last))], Last),
    ],
)
def test_images_may_have_their_channels_first_or_last(env: Any, same: list[Any], another: Any) -> None:
    made = env()
    model = DQN("CnnPolicy", made if isinstance(made, VecEnv) else vec(env), buffer_size=10, device="cpu")
    for each in same:
        check_env(model, each)
        assert len(rt.evaluate(model, each, episodes=1)) == 1
    with pytest.raises(ValueError, match=r"its observations are Box\(36, 36, \d\), the agent's Box\(\d, 36, 36\)"):
        check_env(model, another)


def test_what_has_no_spaces_is_not_compared() -> None:
    check_env(RandomPolicy(spaces.Discrete(2)), lambda: Steered(Image()))


def test_what_is_no_environment_is_named(agent: PPO) -> None:
    for make, kind in ((lambda: None, "None"), (lambda: "CartPole-v1", "a str")):
        with pytest.raises(TypeError, match=rf"make_env\(\) must return a Gymnasium environment or .*, not {kind}"):
            check_env(agent, make)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=rf"make_env\(\) must return a Gymnasium environment or .*, not {kind}"):
            rt.evaluate(agent, make, episodes=1)  # type: ignore[arg-type]


def test_checking_closes_its_environment_and_draws_nothing(agent: PPO) -> None:
    closed = []

    class Closing(gym.Wrapper[Any, Any, Any, Any]):
        def close(self) -> None:
            closed.append(True)
            super().close()

    def make() -> gym.Env[Any, Any]:
        np.random.rand()  # noqa: NPY002
        return Closing(gym.make("CartPole-v1"))

    np.random.seed(1)  # noqa: NPY002
    expected = np.random.rand()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    check_env(agent, make)
    assert closed == [True]
    assert np.random.rand() == expected  # noqa: NPY002


# --- observations that are no numbers --------------------------------------------------------------------


class Fading(gym.ObservationWrapper[Any, Any, Any]):
    """CartPole whose sensors fail after some steps."""

    def __init__(self, after: int) -> None:
        super().__init__(gym.make("CartPole-v1"))
        self._left = after

    def observation(self, observation: np.ndarray) -> np.ndarray:
        self._left -= 1
        return observation if self._left >= 0 else observation * np.float32("nan")


@pytest.mark.parametrize("after", [0, 5])
def test_observations_that_are_no_numbers(agent: PPO, after: int) -> None:
    with pytest.raises(
        ValueError, match=r"episode 0 of the evaluation gave an observation that is not a number \(NaN\)"
    ):
        rt.evaluate(agent, lambda: Fading(after), episodes=2)
    with pytest.raises(ValueError, match=r"environment 1 of the evaluation gave an observation .*; check the environ"):
        rt.evaluate(agent, lambda: DummyVecEnv([lambda: Fading(99_999), lambda: Fading(after)]), episodes=4)


def test_the_part_of_an_observation_is_named() -> None:
    class Blind(Parts):
        def observation(self, observation: np.ndarray) -> dict[str, np.ndarray]:
            return {**super().observation(observation), "pole": np.full(2, np.nan, dtype=np.float32)}

    model = PPO("MultiInputPolicy", vec(Parts), **ON)
    with pytest.raises(ValueError, match="gave an observation of 'pole' that is not a number"):
        rt.evaluate(model, Blind, episodes=1)


def test_what_nobody_acts_on_may_be_anything(agent: PPO) -> None:
    class Ending(gym.Wrapper[Any, Any, Any, Any]):
        def step(self, action: Any) -> Any:
            observation, reward, terminated, truncated, info = super().step(action)
            return observation * (np.nan if terminated else 1), reward, terminated, truncated, info

    assert len(rt.evaluate(agent, lambda: Ending(gym.make("CartPole-v1")), episodes=3)) == 3
