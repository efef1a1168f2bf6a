"""Lottery tickets of PPO on LunarLander-v3, with rl-zoo's hyperparameters."""

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import rl_tickets as rt
from rl_tickets.lab.script import main


def make_env() -> gym.Env:
    return gym.make("LunarLander-v3")


def make_model(seed: int) -> PPO:
    return PPO(
        "MlpPolicy",
        make_vec_env(make_env, n_envs=16, seed=seed),
        n_steps=1024,
        batch_size=64,
        n_epochs=4,
        gamma=0.999,
        gae_lambda=0.98,
        ent_coef=0.01,
        seed=seed,
        device="cpu",
    )


experiment = rt.Experiment(
    name="lunarlander_ppo",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=1_000_000,
    densities=rt.geometric(keep=0.7, levels=12),
    seeds=10,
    searches={
        "imp": rt.IMP(),
        "imp_late": rt.IMP(rewind=rt.Rewind(at=49_152)),
        "imp_exact": rt.IMP(rewind=rt.Rewind.exact(at=49_152)),
        "early_bird": rt.IMP(early_bird=rt.EarlyBird(every=49_152)),
        "random_reinit": rt.Spoiled(rt.random_reinit),
        "permuted_weights": rt.Spoiled(rt.permuted_weights),
        "permuted_mask": rt.Spoiled(rt.permuted_mask),
        "random_mask": rt.Spoiled(rt.random_mask),
    },
    episodes=50,
    segment=200_000,
)

if __name__ == "__main__":
    main(experiment, extra="box2d")
