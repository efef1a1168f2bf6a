"""Lottery tickets of SAC on Pendulum-v1, with rl-zoo's hyperparameters."""

import gymnasium as gym
from stable_baselines3 import SAC

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make("Pendulum-v1")


def make_model(seed: int) -> SAC:
    return SAC("MlpPolicy", make_env(), learning_rate=1e-3, buffer_size=20_000, seed=seed, device="cpu")


experiment = rt.Experiment(
    name="pendulum_sac",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=20_000,
    densities=rt.geometric(keep=0.6, levels=12),
    seeds=10,
    searches={
        "imp": rt.IMP(),
        "imp_late": rt.IMP(rewind=rt.Rewind(at=1_000)),
        "random_reinit": rt.Control(rt.random_reinit),
    },
    segment=5_000,
    input_names=("x = cos(theta)", "y = sin(theta)", "Angular Velocity"),
)

if __name__ == "__main__":
    rt.main(experiment)
