"""Lottery tickets of TD3 on Hopper-v5: rl-zoo's hyperparameters (its -v4 entry), a smaller network and budget.

2x64 for 300,000 steps, in place of 400x300 for a million, with which rl-zoo's benchmark has 3,606 (on -v3). The
contrast that is tested: IMP's tickets against the same masks over re-initialised weights, mean over the densities that
have controls.
"""

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
        policy_kwargs={"net_arch": [64, 64]},
        seed=seed,
        device="cpu",
    )


DENSITIES = rt.geometric(keep=0.25, levels=4)

experiment = rt.Experiment(
    name="hopper_td3",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=300_000,
    densities=DENSITIES,
    seeds=10,
    dense_seeds=30,
    searches={
        "imp": rt.IMP(),
        "random_reinit": rt.Control(rt.random_reinit, at=DENSITIES[2:]),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask, at=DENSITIES[3:]),
    },
    episodes=20,
    segment=30_000,
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
    rt.main(experiment, description=__doc__, extra="mujoco")
