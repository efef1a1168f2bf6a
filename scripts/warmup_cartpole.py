"""Whether a smaller learning rate at first saves tickets rewound to initialisation: PPO on CartPole-v1, 2x512."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from cartpole import experiment as cartpole
from cartpole import make_env
from measures.warmup import Heat, annealed, study
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env


def make_model(seed: int, learning_rate: Callable[[float], float], width: int = 512) -> PPO:
    return PPO(
        "MlpPolicy",
        make_vec_env(make_env, n_envs=8, seed=seed),
        n_steps=64,
        batch_size=256,
        n_epochs=10,
        gamma=0.98,
        gae_lambda=0.8,
        ent_coef=0.0,
        learning_rate=learning_rate,
        clip_range=partial(annealed, 0.2),
        policy_kwargs={"net_arch": [width, width]},
        seed=seed,
        device="cpu",
    )


HEAT = Heat(make_model, rates=(5e-4, 1e-3, 3e-3), points=(0, 2_048), agent="PPO on CartPole, 2x512")

if __name__ == "__main__":
    study(
        replace(cartpole, total_timesteps=20_480, densities=(1.0, 0.05, 0.0025), episodes=20), HEAT, "warmup_cartpole"
    )
