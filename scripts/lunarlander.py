"""Lottery tickets of PPO on LunarLander-v3: near rl-zoo's hyperparameters, made for a fifth of its budget."""

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make("LunarLander-v3")


def make_model(seed: int) -> PPO:
    return PPO(
        "MlpPolicy",
        make_vec_env(make_env, n_envs=16, seed=seed),
        n_steps=128,
        batch_size=128,
        n_epochs=4,
        gamma=0.995,
        gae_lambda=0.98,
        ent_coef=0.01,
        learning_rate=1e-3,
        seed=seed,
        device="cpu",
    )


experiment = rt.Experiment(
    name="lunarlander_ppo",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=200_704,
    densities=rt.geometric(keep=0.6, levels=5),
    seeds=10,
    searches={
        "imp": rt.IMP(),
        "imp_late": rt.IMP(rewind=rt.Rewind(at=10_240, optimizer=False)),
        "early_bird": rt.IMP(early_bird=rt.EarlyBird(every=8_192)),
        "random_reinit": rt.Control(rt.random_reinit),
        "permuted_weights": rt.Control(rt.permuted_weights),
        "permuted_mask": rt.Control(rt.permuted_mask),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask),
        "random_mask": rt.Control(rt.random_mask),
    },
    episodes=50,
    segment=51_200,
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
    rt.main(experiment, extra="box2d")
