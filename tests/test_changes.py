"""What a callback changes while its agent learns counts in a cohort as it does in SB3."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from agents_matrix import cartpole, pendulum
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import (
    BaseCallback,
    CallbackList,
    EvalCallback,
    EveryNTimesteps,
    LogEveryNTimesteps,
    StopTrainingOnMaxEpisodes,
    StopTrainingOnNoModelImprovement,
    StopTrainingOnRewardThreshold,
)
from stable_baselines3.common.vec_env import DummyVecEnv
from test_cohort import Choices, a2c, ppo, setting, spaces
from test_learn import difference, planted

import rl_tickets as rt
from rl_tickets.training.draws import first_draws
from rl_tickets.training.requests import Training
from rl_tickets.training.runs import TrainingRun

Change = Callable[[Any], object]


def put(name: str, value: Any) -> Change:
    return lambda model: setattr(model, name, value)


def group(name: str, value: Any) -> Change:
    return lambda model: model.policy.optimizer.param_groups[0].update({name: value})


def discount(name: str, value: float) -> Change:
    return lambda model: setattr(model.rollout_buffer, name, value)


def scale(model: Any) -> None:
    model.policy.load_state_dict({name: 0.9 * value for name, value in model.policy.state_dict().items()})


def replace(model: Any) -> None:
    for parameter in model.policy.parameters():
        parameter.data = parameter.data * 0.9


def another_optimizer(model: Any) -> None:
    model.policy.optimizer = type(model.policy.optimizer)(model.policy.parameters(), lr=1e-2, eps=1e-5)


def older_moments(model: Any) -> None:
    state = model.policy.optimizer.state_dict()
    for moments in state["state"].values():
        moments.update({key: value + 0.1 for key, value in moments.items() if key != "step"})
    model.policy.optimizer.load_state_dict(state)


def freeze(model: Any) -> None:
    model.policy.action_net.requires_grad_(False)


def other_rewards(model: Any) -> None:
    """SB3 puts new arrays in the place of the buffer's returns."""
    model.rollout_buffer.rewards += 1
    model.rollout_buffer.compute_returns_and_advantage(torch.zeros(model.n_envs), np.ones(model.n_envs))


SETTINGS: dict[str, tuple[str, Change]] = {
    "ent_coef": ("ent_coef", put("ent_coef", 0.5)),
    "vf_coef": ("vf_coef", put("vf_coef", 5.0)),
    "max_grad_norm": ("max_grad_norm", put("max_grad_norm", 0.01)),
    "normalize_advantage": ("normalize_advantage", put("normalize_advantage", False)),
    "epochs": ("n_epochs", put("n_epochs", 4)),
    "minibatches": ("batch_size", put("batch_size", 8)),
    "target_kl": ("target_kl", put("target_kl", 1e-6)),
    "clipped values": ("clips_values", put("clip_range_vf", lambda _: 0.01)),
    "betas": ("optimizer", group("betas", (0.5, 0.5))),
    "decay": ("optimizer", group("weight_decay", 0.5)),
    "frozen weights": ("requires_grad", freeze),
}
ADOPTED: dict[str, Change] = {
    "clip_range": put("clip_range", lambda _: 1e-4),
    "learning rate": put("lr_schedule", lambda _: 1e-4),
    "discount": discount("gamma", 0.5),
    "lambda": discount("gae_lambda", 0.1),
    "weights": scale,
    "tensors": replace,
    "optimizer": another_optimizer,
    "moments": older_moments,
    "rewards": other_rewards,
}


class Changing(BaseCallback):
    """Changes something between a rollout and its update: of the second rollout, or of every one from there on."""

    def __init__(self, change: Change, once: bool = False) -> None:
        super().__init__()
        self._change, self._once, self._rollouts = change, once, 0

    def _on_step(self) -> bool:
        return True

    def _on_rollout_end(self) -> None:
        self._rollouts += 1
        if self._rollouts == 2 or (self._rollouts > 2 and not self._once):
            self._change(self.model)


@cache
def alone(seed: int) -> BaseAlgorithm:
    return planted(ppo, seed).learn(80)


def both_ways(change: Change, once: bool = False) -> list[BaseAlgorithm]:
    """The second of two, planted, whose callback changes something: trained with its neighbour, and by SB3."""
    ours = [planted(ppo, seed) for seed in range(2)]
    rt.learn(ours, 80, [Changing(lambda _: None), Changing(change, once)])
    assert difference(ours[0], alone(0)) < 1e-5
    theirs = planted(ppo, 1).learn(80, Changing(change, once))
    assert difference(theirs, alone(1)) > 1e-4
    return [ours[1], theirs]


def demand_alike(agents: list[BaseAlgorithm]) -> None:
    assert difference(*agents) < 1e-5
    mine, sb3s = (agent.policy.optimizer.state_dict()["state"] for agent in agents)
    assert list(mine) == list(sb3s)
    for index, moments in sb3s.items():
        for key, value in moments.items():
            torch.testing.assert_close(torch.as_tensor(mine[index][key]), torch.as_tensor(value), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_setting_that_a_callback_changes_counts_and_is_told(setting: str) -> None:
    name, change = SETTINGS[setting]
    with pytest.warns(rt.PlainTrainingWarning, match=f"a callback changed its {name}$") as said:
        agents = both_ways(change)
    assert len(said) == 1
    demand_alike(agents)


@pytest.mark.parametrize("change", ADOPTED)
def test_what_a_callback_puts_in_place_of_an_agents_parts_counts(change: str) -> None:
    demand_alike(both_ways(ADOPTED[change], once=True))


def test_a_callback_may_look_at_minibatches_before_the_update() -> None:
    """SB3's buffer flattens itself for it."""
    make = partial(ppo, env=partial(cartpole, 3))
    ours, untouched = ([planted(make, seed) for seed in range(2)] for _ in range(2))
    rt.learn(ours, 144, [Changing(lambda model: next(model.rollout_buffer.get(8))) for _ in ours])
    rt.learn(untouched, 144)
    for one, other in zip(ours, untouched, strict=True):
        assert difference(one, other) == 0, "minibatches are the member's own draws"


def test_each_setting_that_changes_is_told() -> None:
    train = rt.Cohorts().start()
    for name, value in (("ent_coef", 0.5), ("max_grad_norm", 0.01), ("ent_coef", 0.4)):
        run = TrainingRun(setting(ppo, 0, 80, callback=lambda: Changing(put(name, value))), Training(0))  # noqa: B023
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always", rt.PlainTrainingWarning)
            train([run])
        assert [name in str(each.message) for each in said] == ([] if value == 0.4 else [True])


def test_a_setting_may_change_for_one_update_alone() -> None:
    """Before and after it, the member makes its updates with the others."""
    changes = {2: 0.5, 4: 0.0}

    def anneal(model: Any) -> None:
        count[0] += 1
        model.ent_coef = changes.get(1 + count[0], model.ent_coef)

    for make in (ppo, partial(a2c, n_steps=16)):
        agents = []
        for together in (True, False):
            count = [0]
            model = make(0, partial(pendulum, 2, True))
            if together:
                with pytest.warns(rt.PlainTrainingWarning, match="ent_coef"):
                    rt.learn([model], 160, [Changing(anneal)])
            else:
                model.learn(160, Changing(anneal))
            agents.append(model)
        demand_alike(agents)


def test_a_mask_holds_where_sb3_makes_the_update() -> None:
    with pytest.warns(rt.PlainTrainingWarning):
        ours, theirs = both_ways(put("ent_coef", 0.5))
    for model in (ours, theirs):
        held = rt.hold_of(model)
        assert held is not None
        assert not any(model.policy.state_dict()[name][~kept].any() for name, kept in held.mask.items())


def choices() -> DummyVecEnv:
    return DummyVecEnv([partial(Choices, spaces.Discrete(2))] * 2)


def events() -> dict[str, Callable[[], BaseCallback]]:
    """SB3's own callbacks that stop training, or wait for something."""

    def watching(**more: Any) -> EvalCallback:
        env = choices()
        env.seed(0)
        return EvalCallback(env, eval_freq=8, n_eval_episodes=2, verbose=0, warn=False, **more)

    return {
        "episodes": partial(StopTrainingOnMaxEpisodes, 5),
        "threshold": lambda: watching(callback_on_new_best=StopTrainingOnRewardThreshold(-1e9)),
        "no improvement": lambda: watching(callback_after_eval=StopTrainingOnNoModelImprovement(1)),
        "every": lambda: EveryNTimesteps(14, StopTrainingOnMaxEpisodes(3)),
        "list": lambda: CallbackList([LogEveryNTimesteps(16), StopTrainingOnMaxEpisodes(9)]),
    }


@pytest.mark.parametrize("name", events())
def test_sb3s_own_callbacks_stop_a_member_where_they_stop_an_agent(name: str) -> None:
    ours, theirs = (events()[name]() for _ in range(2))
    agents = [ppo(0, choices), ppo(0, choices)]
    for agent in agents:
        agent.get_env().seed(3)  # type: ignore[union-attr]
    first_draws(agents[1]).begin()
    agents[1].learn(320, theirs)
    rt.learn(agents[:1], 320, [ours])
    assert agents[0].num_timesteps == agents[1].num_timesteps < 320
    assert (ours.n_calls, ours.num_timesteps) == (theirs.n_calls, theirs.num_timesteps)
    assert difference(*agents) < 1e-5
