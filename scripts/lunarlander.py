"""Lottery tickets of PPO on LunarLander-v3: rl-zoo's hyperparameters and budget, at which dense agents solve it.

The contrast that is tested: IMP's tickets against the same masks over re-initialised weights, mean over the two
sparsest densities, which are the ones that have controls.
"""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make("LunarLander-v3")


def make_model(seed: int, make_env: Callable[[], gym.Env] = make_env, **settings: Any) -> PPO:
    return PPO(
        "MlpPolicy",
        make_vec_env(make_env, n_envs=16, seed=seed),
        n_steps=1_024,
        batch_size=64,
        n_epochs=4,
        gamma=0.999,
        gae_lambda=0.98,
        ent_coef=0.01,
        seed=seed,
        device="cpu",
        **settings,
    )


DENSITIES = rt.geometric(keep=0.5, levels=5)
COMPARED = DENSITIES[3:]

experiment = rt.Experiment(
    name="lunarlander_ppo",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=1_000_000,
    densities=DENSITIES,
    seeds=20,
    dense_seeds=50,
    searches={
        "imp": rt.IMP(),
        "random_reinit": rt.Control(rt.random_reinit, at=COMPARED),
        "permuted_weights": rt.Control(rt.permuted_weights, at=COMPARED),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask, at=COMPARED),
    },
    episodes=50,
    segment=131_072,
    input_names=(
        "coordinate in x",
        "coordinate in y",
        "linear velocity in x",
        "linear velocity in y",
        "angle",
        "angular velocity",
        "first leg in contact with the ground",
        "second leg in contact with the ground",
    ),
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__, extra="box2d")
