"""Whether tickets of SAC win under TD3, and the other way round, on Pendulum-v1: rl-zoo's hyperparameters, 2x64.

What has no counterpart, or another shape, stays the target's own, and dense.
"""

from dataclasses import replace

import numpy as np
from measures.transfer import OWN_HEADS, Agent, Family, study
from pendulum import experiment as pendulum
from pendulum import make_env
from pendulum import make_model as make_sac
from stable_baselines3 import TD3
from stable_baselines3.common.noise import NormalActionNoise

import rl_tickets as rt


def make_td3(seed: int) -> TD3:
    env = make_env()
    size = env.action_space.shape[0]
    return TD3(
        "MlpPolicy",
        env,
        learning_rate=1e-3,
        buffer_size=20_000,
        learning_starts=1_000,
        gamma=0.98,
        train_freq=1,
        gradient_steps=1,
        action_noise=NormalActionNoise(np.zeros(size), np.full(size, 0.1)),
        policy_kwargs={"net_arch": [64, 64]},
        seed=seed,
        device="cpu",
    )


ALGORITHMS = {"sac": Agent(make_sac), "td3": Agent(make_td3)}

if __name__ == "__main__":
    study(
        replace(pendulum, densities=pendulum.densities[:5], searches={}),
        {"algorithms": Family("SAC and TD3", ALGORITHMS, otherwise=rt.dense_layer, note=OWN_HEADS)},
        "transfer_pendulum",
        "Transfer of tickets between algorithms on Pendulum",
        at=pendulum.densities[3:5],
    )
