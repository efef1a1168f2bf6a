"""Lottery tickets of A2C on Acrobot-v1: rl-zoo's hyperparameters, a quarter of its budget; agents then solve it.

The contrast that is tested: IMP's tickets against the same masks over re-initialised weights, mean over the densities
that have controls.
"""

from collections.abc import Callable

import gymnasium as gym
from measures.quick_acrobot import QUICK
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make(QUICK)


def make_model(seed: int, width: int = 64, make_env: Callable[[], gym.Env] = make_env) -> A2C:
    env = VecNormalize(make_vec_env(make_env, n_envs=16, seed=seed), gamma=0.99)
    sizes = {"net_arch": [width, width]}
    return A2C("MlpPolicy", env, ent_coef=0.0, policy_kwargs=sizes, seed=seed, device="cpu")


DENSITIES = rt.geometric(keep=0.5, levels=6)
COMPARED = DENSITIES[3:]

experiment = rt.Experiment(
    name="acrobot_a2c",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=120_000,
    densities=DENSITIES,
    seeds=80,
    dense_seeds=200,
    searches={
        "imp": rt.IMP(),
        "imp_late": rt.IMP(rewind=rt.Rewind(at=12_000)),
        "random_reinit": rt.Control(rt.random_reinit, at=COMPARED),
        "permuted_weights": rt.Control(rt.permuted_weights, at=COMPARED),
        "permuted_mask": rt.Control(rt.permuted_mask, at=COMPARED),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask, at=COMPARED),
        "small_dense": rt.SmallDense(make_model, at=COMPARED),
    },
    segment=20_000,
    input_names=(
        "Cosine of theta1",
        "Sine of theta1",
        "Cosine of theta2",
        "Sine of theta2",
        "Angular velocity of theta1",
        "Angular velocity of theta2",
    ),
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
