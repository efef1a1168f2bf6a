"""A learning rate that warms up as a part of the agent."""

from typing import Any

import pytest
from agents_matrix import cartpole, small
from stable_baselines3 import PPO
from stable_baselines3.common.utils import LinearSchedule
from test_training import LearningRates

import rl_tickets as rt
from rl_tickets.agents.describing import describe_agent


def make(schedule: Any) -> Any:
    """Makes agents that see four rollouts of 16 steps in a training of 64."""

    def make_model(seed: int) -> PPO:
        kwargs: dict[str, Any] = {"n_steps": 16, "batch_size": 16, "n_epochs": 1, "policy_kwargs": small()}
        return PPO("MlpPolicy", cartpole(), learning_rate=schedule, seed=seed, device="cpu", **kwargs)

    return make_model


def rates(schedule: Any, **settings: Any) -> list[list[float]]:
    """The learning rates of each level's gradient steps."""
    loggers: list[LearningRates] = []

    def logged(seed: int) -> PPO:
        model: PPO = make(schedule)(seed)
        loggers.append(LearningRates())
        model.set_logger(loggers[-1])
        return model

    list(rt.find_tickets(logged, total_timesteps=64, trainer=rt.Plain(), **settings))
    return [logger.seen for logger in loggers]


def test_it_rises_from_zero_and_then_is_what_it_is_given() -> None:
    falling = rt.Warmup(LinearSchedule(1e-3, 0.0, 1.0), over=0.5)
    assert [falling(left) for left in (1.0, 0.75, 0.5, 0.25, 0.0)] == pytest.approx([0, 3.75e-4, 5e-4, 2.5e-4, 0])
    assert rt.Warmup(1e-3, over=1.0)(0.0) == 1e-3
    assert rates(rt.Warmup(1e-3, over=0.5), densities=(1.0,)) == [pytest.approx([5e-4, 1e-3, 1e-3, 1e-3])]


def test_a_level_rewound_to_initialisation_warms_up_again_and_a_later_one_goes_on() -> None:
    schedule = rt.Warmup(1e-3, over=1.0)
    whole = [2.5e-4, 5e-4, 7.5e-4, 1e-3]
    assert rates(schedule, densities=(1.0, 0.5)) == [pytest.approx(whole)] * 2
    late = rates(schedule, densities=(1.0, 0.5), rewind=rt.Rewind(at=32))
    assert late == [pytest.approx(whole), pytest.approx(whole[2:])]


def test_an_experiment_notices_another_warm_up() -> None:
    described = [
        describe_agent(make(schedule)(0))
        for schedule in (rt.Warmup(1e-3, over=0.1), rt.Warmup(1e-3, over=0.2), rt.Warmup(1e-4, over=0.1), 1e-3)
    ]
    assert all(one != other for place, one in enumerate(described) for other in described[:place])
    assert describe_agent(make(rt.Warmup(1e-3, over=0.1))(1)) == described[0]


def test_what_is_no_part_of_training_is_refused() -> None:
    for over in (0.0, -0.1, 1.5):
        with pytest.raises(ValueError, match=r"in \(0, 1\], got"):
            rt.Warmup(1e-3, over=over)
