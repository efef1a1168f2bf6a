"""Play: both ways, agents side by side, and not a bit of it depends on who else is there."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, TRPO, MaskablePPO, RecurrentPPO
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy
from tiny import make_env, make_ppo

import rl_tickets as rt
from rl_tickets.evaluation import cast
from rl_tickets.evaluation.acting import samples
from rl_tickets.evaluation.cast import ROWS, SLOTS, Cast, playing_of
from rl_tickets.evaluation.draws import DrawnAhead, EpisodeDraws
from rl_tickets.evaluation.returns import Episodes, play, play_both_ways, play_plainly, play_together
from rl_tickets.training.cohorts.family import CannotJoin
from rl_tickets.training.cohorts.on_policy.sampling import exponential, normal, uniform

ODD: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": {"net_arch": [13, 7]}}
"""Widths at which slots of stacked weights begin at no round address."""


def pendulum() -> gym.Env[Any, Any]:
    return gym.make("Pendulum-v1", max_episode_steps=30)


class Several(gym.Env[np.ndarray, np.ndarray]):
    """Pays for some actions; of any action space."""

    observation_space = spaces.Box(-1.0, 1.0, (3,))

    def __init__(self, action_space: spaces.Space[Any]) -> None:
        self.action_space = action_space

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self._left = int(self.np_random.integers(2, 9))
        return self._seen(), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action)
        self._left -= 1
        return self._seen(), float(np.sum(action)) + 0.1 * self._left, self._left == 0, False, {}

    def _seen(self) -> np.ndarray:
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)


SPACES = [spaces.Discrete(3), spaces.Box(-1.0, 1.0, (2,)), spaces.MultiDiscrete([3, 2]), spaces.MultiBinary(3)]


def agents(count: int, make: Callable[[], gym.Env[Any, Any]], kind: Any = PPO) -> list[Any]:
    settings = ODD if kind is PPO else {"n_steps": 16, "policy_kwargs": ODD["policy_kwargs"]}
    models = [kind("MlpPolicy", make(), seed=seed, device="cpu", **settings) for seed in range(count)]
    for model in models:  # Policies that prefer something.
        with torch.no_grad():
            for parameter in model.policy.action_net.parameters():
                parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(model.seed))
    return models


def plainly(model: Any, make: Callable[[], Any], episodes: int, seed: int, deterministic: bool) -> Episodes:
    return play_plainly(model, make, episodes=episodes, seed=seed, deterministic=deterministic)


def same(one: Episodes | None, other: Episodes | None) -> bool:
    assert one is not None
    assert other is not None
    return one.returns.tobytes() == other.returns.tobytes() and one.lengths.tobytes() == other.lengths.tobytes()


@pytest.mark.parametrize("make", [make_env, pendulum, *(lambda space=space: Several(space) for space in SPACES)])
def test_stacked_play_is_what_predict_plays(make: Callable[[], gym.Env[Any, Any]]) -> None:
    model = agents(1, make)[0]
    playing_of(model, make())  # It is stacked.
    played = play_both_ways([model], make, episodes=40, seed=3)[0]
    for stacked, deterministic in ((played.greedy, True), (played.sampled, False)):
        plain = plainly(model, make, 40, 3, deterministic)
        assert stacked is not None
        assert stacked.lengths.tolist() == plain.lengths.tolist()
        assert stacked.returns == pytest.approx(plain.returns, rel=1e-3, abs=1e-3)
    assert played.sampled is not None
    assert played.sampled.returns.tolist() != played.greedy.returns.tolist()


@pytest.mark.parametrize("make", [make_env, pendulum])
def test_not_a_bit_depends_on_who_else_is_there(make: Callable[[], gym.Env[Any, Any]]) -> None:
    models = agents(10, make)  # More than there are slots.
    together = play_both_ways(models, make, episodes=5, seed=7)
    reversed_ = play_both_ways(models[::-1], make, episodes=5, seed=7)[::-1]
    for model, one, other in zip(models, together, reversed_, strict=True):
        for way, played in ((True, one.greedy), (False, one.sampled)):
            assert same(play(model, make, episodes=5, seed=7, deterministic=way), played), "alone"
        assert same(one.greedy, other.greedy), "in another slot"
        assert same(one.sampled, other.sampled), "in another slot"
    assert len({each.greedy.returns.tobytes() for each in together}) > 1, "these agents are all alike"


def test_actions_are_the_same_bits_in_every_slot() -> None:
    models = agents(SLOTS, pendulum)
    playing = playing_of(models[0], pendulum())
    seen = np.random.default_rng(0).normal(size=(ROWS, 3)).astype(np.float32)

    def acted(present: list[Any], slot: int, row: int = 0) -> bytes:
        stage = Cast(playing, present, None)
        stage.seen[:] = np.random.default_rng(slot).normal(size=stage.seen.shape)
        mine = slice(slot * ROWS + row, (slot + 1) * ROWS)
        stage.seen[mine] = seen[: ROWS - row]
        return stage.act()[mine].tobytes()

    alone = acted([models[0]], 0)
    for slot in range(SLOTS):
        others = models[1:]
        assert acted([*others[:slot], models[0], *others[slot:]], slot) == alone


@pytest.mark.parametrize("deterministic", [True, False])
def test_an_episode_does_not_depend_on_how_many_are_played(deterministic: bool) -> None:
    model = agents(1, pendulum)[0]
    long = play(model, pendulum, episodes=70, seed=11, deterministic=deterministic)
    for few in (1, 5, 33):
        assert same(
            play(model, pendulum, episodes=few, seed=11, deterministic=deterministic),
            Episodes(long.returns[:few], long.lengths[:few]),
        )


def test_a_cohort_may_hold_agents_of_several_kinds_and_shapes() -> None:
    narrow = {"policy_kwargs": {"net_arch": [8]}}
    models: list[Any] = [
        *agents(2, make_env),
        PPO("MlpPolicy", make_env(), seed=1, device="cpu", n_steps=16, batch_size=16, **narrow),
        A2C("MlpPolicy", make_env(), seed=2, device="cpu", **narrow),
        DQN("MlpPolicy", make_env(), seed=3, device="cpu", buffer_size=10, **narrow),
        make_ppo(seed=4).learn(64),
    ]
    together = play_both_ways(models, make_env, episodes=4, seed=1)
    for model, played in zip(models, together, strict=True):
        assert same(play(model, make_env, episodes=4, seed=1), played.greedy)
        assert (played.sampled is None) == isinstance(model, DQN)


def test_each_agent_sees_by_its_own_statistics() -> None:
    models = [make_ppo(seed).learn(64) for seed in range(3)]
    for model in models:
        normalize = model.get_vec_normalize_env()
        assert normalize is not None
        normalize.obs_rms.mean += model.seed  # type: ignore[union-attr, operator]
    before = [model.get_vec_normalize_env().obs_rms.count for model in models]  # type: ignore[union-attr]
    for model, played in zip(models, play_both_ways(models, make_env, episodes=6, seed=2), strict=True):
        assert same(plainly(model, make_env, 6, 2, True), played.greedy)
        assert same(plainly(model, make_env, 6, 2, False), played.sampled)
    assert [model.get_vec_normalize_env().obs_rms.count for model in models] == before  # type: ignore[union-attr]


def small() -> dict[str, Any]:
    return {"policy_kwargs": {"net_arch": [8]}, "device": "cpu", "seed": 0}


MAKERS: dict[str, tuple[Callable[[], BaseAlgorithm], bool]] = {
    "PPO": (lambda: PPO("MlpPolicy", make_env(), **small()), True),
    "PPO, gSDE": (lambda: PPO("MlpPolicy", pendulum(), use_sde=True, **small()), False),
    "A2C": (lambda: A2C("MlpPolicy", pendulum(), **small()), True),
    "TRPO": (lambda: TRPO("MlpPolicy", make_env(), **small()), True),
    "MaskablePPO": (lambda: MaskablePPO("MlpPolicy", make_env(), **small()), True),
    "RecurrentPPO": (lambda: RecurrentPPO("MlpLstmPolicy", make_env(), **small()), True),
    "SAC": (lambda: SAC("MlpPolicy", pendulum(), buffer_size=10, **small()), True),
    "TQC": (lambda: TQC("MlpPolicy", pendulum(), buffer_size=10, **small()), True),
    "TD3": (lambda: TD3("MlpPolicy", pendulum(), buffer_size=10, **small()), False),
    "DDPG": (lambda: DDPG("MlpPolicy", pendulum(), buffer_size=10, **small()), False),
    "DQN": (lambda: DQN("MlpPolicy", make_env(), buffer_size=10, exploration_initial_eps=0.5, **small()), False),
    "QRDQN": (lambda: QRDQN("MlpPolicy", make_env(), buffer_size=10, **small()), False),
}


@pytest.mark.parametrize("name", MAKERS)
def test_who_samples_is_told_by_what_predict_draws(name: str) -> None:
    make, expected = MAKERS[name]
    model = make()
    before = torch.get_rng_state(), random.getstate()
    assert samples(model) is expected
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    env = make_env if isinstance(model.action_space, spaces.Discrete) else pendulum
    played = play_both_ways([model], env, episodes=3, seed=5)[0]
    assert (played.sampled is not None) is expected
    if played.sampled is not None:
        assert played.sampled.returns.tolist() != played.greedy.returns.tolist()
        again = play(model, env, episodes=2, seed=5, deterministic=False)
        assert again.returns.tobytes() == played.sampled.returns[:2].tobytes(), "whatever else is played"


def test_classes_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5])
    count = 400
    draws = EpisodeDraws(0, count)
    for row in range(count):
        draws.begin(row, row)
    counts = torch.zeros(4)
    for _ in range(25):
        with DrawnAhead(draws):
            counts += torch.distributions.Categorical(logits=logits.expand(count, 4)).sample().bincount(minlength=4)
        draws.advance()
    expected = logits.softmax(0) * 25 * count
    assert float(((counts - expected) ** 2 / expected).sum()) < 16.3, "chi square, 3 degrees of freedom, p = 0.001"


@pytest.mark.parametrize(
    ("fill", "mean", "deviation"), [(normal, 0.0, 1.0), (exponential, 1.0, 1.0), (uniform, 0.5, 0.29)]
)
def test_noise_has_the_moments_of_its_kind(fill: Any, mean: float, deviation: float) -> None:
    draws = EpisodeDraws(5, 500)
    for row in range(500):
        draws.begin(row, row)
    found = []
    for _ in range(100):  # More than one block.
        found.append(draws.draw(0, (2,), fill))
        draws.advance()
    drawn = torch.stack(found)
    assert float(drawn.mean()) == pytest.approx(mean, abs=0.02)
    assert float(drawn.std()) == pytest.approx(deviation, abs=0.02)
    flat = drawn.flatten(1)
    assert abs(float(torch.corrcoef(flat[:2])[0, 1])) < 0.15, "steps have nothing in common"
    assert len(set(flat[0].tolist())) > 990, "and neither have episodes"


class Squashed(ActorCriticPolicy):
    """Acts otherwise than its distribution says, in a method that predict calls."""

    def _predict(self, observation: Any, deterministic: bool = False) -> torch.Tensor:
        return super()._predict(observation, deterministic) * 0


class Counting(torch.nn.Tanh):
    """Does something else every time it is asked."""

    calls = 0

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(given) + self.calls


class Turned(PPO):
    def predict(self, *args: Any, **kwargs: Any) -> Any:
        actions, state = super().predict(*args, **kwargs)
        return 1 - actions, state


def test_what_cannot_be_stacked_plays_plainly() -> None:
    def ppo(kind: Any = PPO, policy: Any = "MlpPolicy", **policy_kwargs: Any) -> Any:
        return kind(policy, make_env(), seed=0, device="cpu", n_steps=16, batch_size=16, policy_kwargs=policy_kwargs)

    refused = {
        "_predict method of its own": ppo(policy=Squashed),
        "predict method of its own": ppo(Turned),
        "its policy": ppo(activation_fn=Counting),
        "more than 50,000 weights": ppo(net_arch=[512, 512]),
        "no agent of SB3's": rt.RandomPolicy(spaces.Discrete(2)),
    }
    for why, model in refused.items():
        with pytest.raises(CannotJoin, match=why):
            playing_of(model, make_env())
        assert play(model, make_env, episodes=2, seed=0).returns.shape == (2,)
    turned = refused["predict method of its own"]
    assert same(play(turned, make_env, episodes=3, seed=0), plainly(turned, make_env, 3, 0, True))


def test_an_environment_that_draws_from_global_generators_is_played_alone() -> None:
    class Careless(gym.RewardWrapper[Any, Any]):
        def reward(self, reward: Any) -> float:
            return float(np.random.rand())  # noqa: NPY002

    def make() -> Any:
        return Careless(make_env())

    models = agents(3, make_env)
    together = play_both_ways(models, make, episodes=4, seed=1)
    for model, played in zip(models, together, strict=True):
        assert same(play_both_ways([model], make, episodes=4, seed=1)[0].greedy, played.greedy)
        assert same(plainly(model, make, 4, 1, True), played.greedy)
        assert same(plainly(model, make, 4, 1, False), played.sampled)


def test_a_diverged_agent_plays_beside_the_others_and_disturbs_nobody() -> None:
    for make in (make_env, pendulum):
        models = agents(3, make)
        expected = play_both_ways([models[0]], make, episodes=3, seed=1)[0]
        with torch.no_grad():
            for parameter in models[1].policy.parameters():
                parameter.fill_(float("nan"))
        cast._SHOWN.clear()  # So that the diverged one might be the first of its shape.
        played = play_both_ways([models[1], models[0], models[2]], make, episodes=3, seed=1)
        assert same(played[1].greedy, expected.greedy)
        assert same(played[1].sampled, expected.sampled)
        assert np.isfinite(played[0].greedy.returns).all()
        assert played[0].sampled is not None
        assert np.isfinite(played[0].sampled.returns).all()


def test_environments_are_closed_whatever_happens() -> None:
    opened: list[Any] = []

    class Closing(gym.Wrapper[Any, Any, Any, Any]):
        closed = 0

        def __init__(self) -> None:
            super().__init__(make_env())
            opened.append(self)

        def close(self) -> None:
            self.closed += 1
            super().close()

    models = agents(2, make_env)
    play_both_ways(models, Closing, episodes=2, seed=0)
    assert [env.closed for env in opened] == [1] * len(opened)
    opened.clear()
    with pytest.raises(ValueError, match="episodes must be at least 1"):
        play_together([(models[0], (True,))], Closing, episodes=0, seed=0)
    assert opened == []

    class Breaking(Closing):
        def step(self, action: Any) -> Any:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        play_both_ways(models, Breaking, episodes=2, seed=0)
    assert [env.closed for env in opened] == [1] * len(opened)
