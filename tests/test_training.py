"""Training a level: warm-up, divergence, curve, and what an agent has back afterwards."""

import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from agents_matrix import (
    BY_NAME,
    LearningRates,
    Watch,
    cartpole,
    differing,
    pendulum,
    small,
    tensors,
    train,
    trained,
    vec,
)
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import LinearSchedule

import rl_tickets as rt
from rl_tickets.agents.state import TrainingState
from rl_tickets.training.requests import Training
from rl_tickets.training.runs import Setting

ON: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1}


def ppo(seed: int, learning_rate: Any = 1e-3) -> PPO:
    return PPO("MlpPolicy", cartpole(), learning_rate=learning_rate, seed=seed, policy_kwargs=small(), **ON)


def sac(seed: int) -> SAC:
    kwargs: dict[str, Any] = {"learning_starts": 16, "batch_size": 8, "buffer_size": 200}
    return SAC("MlpPolicy", pendulum(), train_freq=8, learning_rate=1e-3, seed=seed, policy_kwargs=small(), **kwargs)


def logged(
    make: Callable[[int], BaseAlgorithm], request: Training, **settings: Any
) -> tuple[BaseAlgorithm, list[float]]:
    logger = LearningRates()
    model, _ = train(Setting(make, 0, log=lambda model: model.set_logger(logger), **settings), request)
    return model, logger.seen


@pytest.mark.parametrize("make", [ppo, sac])
def test_the_learning_rate_warms_up_linearly_and_stays(make: Callable[[int], BaseAlgorithm]) -> None:
    _, seen = logged(make, Training(0), total_timesteps=128, warmup=64)
    steps = np.linspace(128 / len(seen), 128, len(seen)) if make is ppo else np.arange(24, 129, 8)
    assert seen == pytest.approx([1e-3 * min(1.0, step / 64) for step in steps])


def test_warm_up_multiplies_the_agents_own_schedule() -> None:
    def make(seed: int) -> PPO:
        return ppo(seed, LinearSchedule(1e-3, 0.0, 1.0))

    _, seen = logged(make, Training(0), total_timesteps=64, warmup=32)
    assert seen == pytest.approx([1e-3 * left * up for left, up in ((0.75, 0.5), (0.5, 1), (0.25, 1), (0, 1))])


def test_every_rewound_level_warms_up_again_from_its_own_start() -> None:
    loggers: list[LearningRates] = []

    def make(seed: int) -> PPO:
        model = ppo(seed, LinearSchedule(2e-3, 1e-3, 1.0))
        loggers.append(LearningRates())
        model.set_logger(loggers[-1])
        return model

    for rewind, rates in (
        (rt.Rewind(at=32), [1e-3 * (1 + left) for left in (0.5, 2 / 6, 1 / 6, 0)]),
        (rt.FineTuning(at=32), [1e-3] * 4),
    ):
        loggers.clear()
        list(rt.find_tickets(make, total_timesteps=96, densities=(1.0, 0.5), rewind=rewind, warmup=32))
        assert loggers[1].seen == pytest.approx([rates[0] / 2, *rates[1:]])


def test_the_agent_has_its_own_schedules_back() -> None:
    schedules: list[Any] = []

    def make(seed: int) -> PPO:
        model = ppo(seed)
        schedules.append((model.lr_schedule, model.clip_range))
        return model

    for rewind in (rt.Rewind(at=0), rt.FineTuning(at=0)):
        for level in rt.find_tickets(make, total_timesteps=32, densities=(1.0, 0.5), rewind=rewind, warmup=16):
            assert isinstance(level.model, PPO)
            own = schedules[-1]
            assert level.model.lr_schedule is own[0]
            assert level.model.clip_range is own[1]


def test_schedules_come_back_even_after_an_error() -> None:
    made: list[PPO] = []

    class Stop(BaseCallback):
        def _on_step(self) -> bool:
            raise KeyError("a user's own error")

    def make(seed: int) -> PPO:
        made.append(ppo(seed))
        made.append(made[-1].lr_schedule)  # type: ignore[arg-type]
        return made[-2]

    with pytest.raises(KeyError, match="a user's own error"):
        train(Setting(make, 0, 32, warmup=16, callback=Stop), Training(0))
    assert made[0].lr_schedule is made[1]


class Poison(gym.Wrapper):  # type: ignore[type-arg]
    """Rewards become NaN after some steps."""

    def __init__(self, env: str, after: int) -> None:
        super().__init__(gym.make(env, disable_env_checker=True))
        self._left = after

    def step(self, action: Any) -> Any:
        observation, reward, *rest = self.env.step(action)
        self._left -= 1
        return observation, float(reward) if self._left > 0 else float("nan"), *rest


def exploding_ppo(seed: int) -> PPO:
    return ppo(seed, 1e30)


def poisoned_ppo(seed: int) -> PPO:
    return PPO("MlpPolicy", vec(lambda: Poison("CartPole-v1", 20)), seed=seed, policy_kwargs=small(), **ON)


OFF: dict[str, Any] = {"learning_starts": 8, "batch_size": 8, "buffer_size": 200}


def poisoned_dqn(seed: int) -> DQN:
    return DQN("MlpPolicy", vec(lambda: Poison("CartPole-v1", 20)), seed=seed, policy_kwargs=small(), **OFF)


def poisoned_td3(seed: int) -> TD3:
    return TD3("MlpPolicy", vec(lambda: Poison("Pendulum-v1", 20)), seed=seed, policy_kwargs=small(), **OFF)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("make", [exploding_ppo, poisoned_ppo, poisoned_dqn, poisoned_td3])
@pytest.mark.parametrize("rewind", [rt.Rewind(at=16), rt.FineTuning(at=16)])
def test_a_diverged_level_is_marked_and_the_search_goes_on(make: Any, rewind: rt.Rewind) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rt.LayerCollapseWarning)
        with pytest.warns(rt.DivergenceWarning, match=r"^level [012]") as told:
            levels = list(rt.find_tickets(make, total_timesteps=96, densities=(1.0, 0.6, 0.4), rewind=rewind))
    said = [str(each.message) for each in told]
    for level in (1, 2):
        assert any(each.startswith(f"level {level}: weights of ") and "are not finite" in each for each in said)
    assert sum(" diverged after " in each for each in said) == 3
    assert [level.trained.diverged for level in levels] == [True] * 3
    assert levels[2].ticket.mask.is_within(levels[1].ticket.mask)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_a_diverged_training_raised_is_kept_and_a_rewind_point_it_never_reached_is_said() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rt.LayerCollapseWarning)
        with pytest.warns(rt.DivergenceWarning, match=r"diverged before step 64|^level [01]") as told:
            levels = list(
                rt.find_tickets(exploding_ppo, total_timesteps=96, densities=(1.0, 0.6), rewind=rt.Rewind(at=64))
            )
    assert any("no state of it was kept; its end is used instead" in str(each.message) for each in told)
    assert levels[0].trained.problem.startswith("ValueError: Expected parameter logits")
    assert any(f"weights are no numbers: {levels[0].trained.problem}" in str(each.message) for each in told)
    assert "\n" not in levels[0].trained.problem
    assert not levels[0].trained.kept


def test_a_sound_level_is_not_marked() -> None:
    _, result, _ = trained(BY_NAME["ppo"], Training(0))
    assert not result.diverged


def test_a_users_own_value_error_is_not_taken_for_divergence() -> None:
    class Fail(BaseCallback):
        def _on_step(self) -> bool:
            raise ValueError("a user's own error")

    with pytest.raises(ValueError, match="a user's own error"):
        train(Setting(ppo, 0, 32, callback=Fail), Training(0))


def test_the_curve_averages_training_episodes() -> None:
    returns: list[float] = []

    class Episodes(BaseCallback):
        def _on_step(self) -> bool:
            returns.extend(info["episode"]["r"] for info in self.locals["infos"] if "episode" in info)
            return True

    _, result, _ = trained(BY_NAME["ppo"], Training(0), callback=Episodes)
    assert sum(point.episodes for point in result.curve) == len(returns) > 0
    total = sum(point.mean_return * point.episodes for point in result.curve)
    assert total == pytest.approx(sum(returns))
    steps = [point.timesteps for point in result.curve]
    assert steps == sorted(set(steps))


def test_a_level_says_where_it_comes_from() -> None:
    _, result, _ = trained(BY_NAME["ppo"], Training(0))
    provenance = result.provenance
    assert (provenance["algorithm"], provenance["environment"], provenance["seed"]) == ("PPO", "CartPole-v1", 3)
    assert provenance["torch_threads"] == 1
    assert provenance["versions"]["torch"] == torch.__version__


def test_budgets_are_rounded_up_to_whole_rollouts() -> None:
    _, result = train(Setting(ppo, 0, 40), Training(0))
    assert result.timesteps == 48


def test_make_model_must_give_a_fresh_agent_with_an_environment() -> None:
    def bare(seed: int) -> PPO:
        loaded = ppo(seed)
        loaded.env = None
        return loaded

    for make, error, message in (
        (lambda seed: "an agent", TypeError, "must return an SB3 agent, got a str"),
        (bare, ValueError, "without an environment"),
        (lambda seed: ppo(seed).learn(16), ValueError, "already trained"),
    ):
        with pytest.raises(error, match=message):
            train(Setting(make, 0, 32), Training(0))  # type: ignore[arg-type]
        with pytest.raises(error, match=message):
            rt.find_tickets(make, total_timesteps=32, densities=(1.0, 0.5))  # type: ignore[arg-type]


def test_the_users_logger_survives_a_restored_state() -> None:
    loggers: list[LearningRates] = []

    def log(model: BaseAlgorithm) -> None:
        loggers.append(LearningRates())
        model.set_logger(loggers[-1])

    _, _, saved = trained(BY_NAME["ppo"], Training(0))
    model, _, _ = trained(BY_NAME["ppo"], Training(0), resume=saved[0], log=log)
    assert model.logger is loggers[-1]
    assert loggers[-1].seen


def test_the_users_callback_sees_the_start_of_every_level() -> None:
    seen: list[TrainingState] = []
    model, _, _ = trained(BY_NAME["ppo"], Training(0), callback=lambda: Watch(seen))
    assert len(seen) == 1
    assert differing(seen[0].policy, dict(model.policy.state_dict())) != []
    assert differing(seen[0].policy, tensors(BY_NAME["ppo"].make(3))) == []
