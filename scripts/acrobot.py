"""Lottery tickets of A2C on Acrobot-v1: rl-zoo's hyperparameters, an eighth of its budget; agents then solve it."""

import gymnasium as gym
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make("Acrobot-v1")


def make_model(seed: int) -> A2C:
    env = VecNormalize(make_vec_env(make_env, n_envs=16, seed=seed), gamma=0.99)
    return A2C("MlpPolicy", env, ent_coef=0.0, seed=seed, device="cpu")


experiment = rt.Experiment(
    name="acrobot_a2c",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=60_000,
    densities=rt.geometric(keep=0.5, levels=8),
    seeds=20,
    searches={
        "imp": rt.IMP(),
        "imp_late": rt.IMP(rewind=rt.Rewind(at=3_040, optimizer=False)),
        "early_bird": rt.IMP(early_bird=rt.EarlyBird(every=2_400)),
        "random_reinit": rt.Control(rt.random_reinit),
        "permuted_weights": rt.Control(rt.permuted_weights),
        "permuted_mask": rt.Control(rt.permuted_mask),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask),
        "random_mask": rt.Control(rt.random_mask),
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
    rt.main(experiment)
