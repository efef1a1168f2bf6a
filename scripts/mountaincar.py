"""Lottery tickets of DQN on MountainCar-v0 by rl-zoo's hyperparameters, budget and network, 2x256.

Graesser et al. 2022 (arXiv 2206.10369) prune one of 2x512, which would take seven times as long: twelve hours. rl-zoo's
benchmark has -100.8. The contrast that is tested: IMP's tickets against the same masks over re-initialised
weights, mean over the densities that have controls.
"""

import gymnasium as gym
from stable_baselines3 import DQN

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make("MountainCar-v0")


def make_model(seed: int, width: int = 256) -> DQN:
    return DQN(
        "MlpPolicy",
        make_env(),
        learning_rate=4e-3,
        batch_size=128,
        buffer_size=10_000,
        learning_starts=1_000,
        gamma=0.98,
        target_update_interval=600,
        train_freq=16,
        gradient_steps=8,
        exploration_fraction=0.2,
        exploration_final_eps=0.07,
        policy_kwargs={"net_arch": [width, width]},
        seed=seed,
        device="cpu",
    )


DENSITIES = rt.geometric(keep=0.2, levels=5)
COMPARED = DENSITIES[3:]

experiment = rt.Experiment(
    name="mountaincar_dqn",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=120_000,
    densities=DENSITIES,
    seeds=10,
    dense_seeds=30,
    searches={
        "imp": rt.IMP(),
        "random_reinit": rt.Control(rt.random_reinit, at=COMPARED),
        "permuted_weights": rt.Control(rt.permuted_weights, at=COMPARED),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask, at=COMPARED),
        "small_dense": rt.SmallDense(make_model, at=COMPARED),
    },
    segment=30_000,
    input_names=("position of the car along the x-axis", "velocity of the car"),
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
