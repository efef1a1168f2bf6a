"""Whether tickets of PPO on CartPole-v1 win in other physics, under other optimizers, and found in other budgets.

At a sixteenth of the weights, where tickets return more than re-initialised ones; at an eighth nothing can be lost.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import torch
from cartpole import experiment as cartpole
from measures.transfer import Agent, Family, study
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env


def make_env(gravity: float = 9.8, length: float = 0.5, force: float = 10.0) -> gym.Env:
    """CartPole with another gravity (m/s²), half length of the pole (m) or force of a push (N)."""
    env = gym.make("CartPole-v1")
    physics: Any = env.unwrapped
    physics.gravity, physics.length, physics.force_mag = gravity, length, force
    physics.polemass_length = physics.masspole * length
    return env


def make_model(seed: int, make_env: Any = make_env, learning_rate: float = 1e-3, **policy: Any) -> PPO:
    return PPO(
        "MlpPolicy",
        make_vec_env(make_env, n_envs=8, seed=seed),
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.8,
        ent_coef=0.0,
        learning_rate=partial(annealed, learning_rate),
        clip_range=partial(annealed, 0.2),
        policy_kwargs=policy,
        seed=seed,
        device="cpu",
    )


def annealed(start: float, progress: float) -> float:
    """Falls linearly to 0 while progress does from 1."""
    return start * progress


def in_physics(budget: float = 1.0, **physics: float) -> Agent:
    env = partial(make_env, **physics)
    return Agent(partial(make_model, make_env=env), env, budget)


def with_optimizer(kind: Any, learning_rate: float, **settings: float) -> Agent:
    made = partial(make_model, learning_rate=learning_rate, optimizer_class=kind, optimizer_kwargs=settings)
    return Agent(made, make_env)


PHYSICS = {
    "usual": in_physics(),
    "moon": in_physics(gravity=1.62),
    "heavy": in_physics(gravity=25.0),
    "long": in_physics(length=1.5),
    "weak": in_physics(force=4.0),
}
OPTIMIZERS = {
    "adam": PHYSICS["usual"],
    "rmsprop": with_optimizer(torch.optim.RMSprop, 1e-3, eps=1e-5),
    "sgd": with_optimizer(torch.optim.SGD, 5e-2, momentum=0.9),
}
BUDGETS = {
    "quarter": in_physics(budget=0.25),
    "once": PHYSICS["usual"],
    "four_times": in_physics(budget=4.0),
    "long": PHYSICS["long"],
    "weak": PHYSICS["weak"],
}
FAMILIES = {
    "physics": Family("Other physics", PHYSICS),
    "optimizers": Family("Other optimizers", OPTIMIZERS),
    "budgets": Family(
        "Tickets of other budgets",
        BUDGETS,
        sources=("quarter", "once", "four_times"),
        targets=("once", "long", "weak"),
        beside="once",
    ),
}

if __name__ == "__main__":
    study(
        replace(cartpole, total_timesteps=50_000),
        FAMILIES,
        "transfer_cartpole",
        "Transfer of tickets on CartPole",
        at=cartpole.densities[4:],
        seeds=16,
    )
