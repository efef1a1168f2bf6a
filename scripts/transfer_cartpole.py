"""Whether tickets of PPO on CartPole-v1 win in other physics, and under other optimizers."""

from dataclasses import replace
from functools import partial
from typing import Any

import gymnasium as gym
import torch
from cartpole import experiment as cartpole
from measures.transfer import Family, study
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import rl_tickets as rt


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


def in_physics(**physics: float) -> tuple[Any, Any]:
    env = partial(make_env, **physics)
    return partial(make_model, make_env=env), env


def with_optimizer(kind: Any, learning_rate: float, **settings: float) -> tuple[Any, Any]:
    made = partial(make_model, learning_rate=learning_rate, optimizer_class=kind, optimizer_kwargs=settings)
    return made, make_env


FAMILIES = {
    "physics": Family(
        "Other physics",
        {
            "usual": in_physics(),
            "moon": in_physics(gravity=1.62),
            "heavy": in_physics(gravity=25.0),
            "long": in_physics(length=2.0),
            "weak": in_physics(force=4.0),
        },
    ),
    "optimizers": Family(
        "Other optimizers",
        {
            "adam": with_optimizer(torch.optim.Adam, 1e-3, eps=1e-5),
            "rmsprop": with_optimizer(torch.optim.RMSprop, 1e-3, eps=1e-5),
            "sgd": with_optimizer(torch.optim.SGD, 5e-2, momentum=0.9),
        },
    ),
}

if __name__ == "__main__":
    study(
        replace(cartpole, total_timesteps=50_000, densities=rt.geometric(keep=0.5, levels=5)),
        FAMILIES,
        "transfer_cartpole",
        "Transfer of tickets on CartPole",
    )
