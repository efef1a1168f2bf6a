"""Lottery tickets of TD3 on Hopper-v5, with rl-zoo's hyperparameters (its -v4 entry)."""

import gymnasium as gym
import numpy as np
from stable_baselines3 import TD3
from stable_baselines3.common.noise import NormalActionNoise

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make("Hopper-v5")


def make_model(seed: int) -> TD3:
    env = make_env()
    actions = env.action_space.shape
    return TD3(
        "MlpPolicy",
        env,
        learning_rate=3e-4,
        batch_size=256,
        learning_starts=10_000,
        action_noise=NormalActionNoise(np.zeros(actions), 0.1 * np.ones(actions)),
        train_freq=1,
        gradient_steps=1,
        seed=seed,
        device="cpu",
    )


experiment = rt.Experiment(
    name="hopper_td3",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=1_000_000,
    densities=rt.geometric(keep=0.6, levels=10),
    seeds=10,
    searches={
        "imp": rt.IMP(),
        "imp_late": rt.IMP(rewind=rt.Rewind(at=50_000)),
        "random_reinit": rt.Control(rt.random_reinit),
    },
    episodes=20,
    segment=5_000,
    input_names=(
        "z-coordinate of the torso",
        "angle of the torso",
        "angle of the thigh joint",
        "angle of the leg joint",
        "angle of the foot joint",
        "velocity of the x-coordinate of the torso",
        "velocity of the z-coordinate of the torso",
        "angular velocity of the angle of the torso",
        "angular velocity of the thigh hinge",
        "angular velocity of the leg hinge",
        "angular velocity of the foot hinge",
    ),
)

if __name__ == "__main__":
    rt.main(experiment, extra="mujoco")
