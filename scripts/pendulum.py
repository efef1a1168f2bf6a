"""Lottery tickets of SAC on Pendulum-v1: rl-zoo's hyperparameters and budget, 2x64 in place of its 2x256.

rl-zoo's benchmark has -157.0. The contrast that is tested: IMP's tickets against the same masks over re-initialised
weights, mean over the densities that have controls.
"""

import gymnasium as gym
from stable_baselines3 import SAC

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make("Pendulum-v1")


def make_model(seed: int, width: int = 64) -> SAC:
    return SAC(
        "MlpPolicy",
        make_env(),
        learning_rate=1e-3,
        buffer_size=20_000,
        policy_kwargs={"net_arch": [width, width]},
        seed=seed,
        device="cpu",
    )


DENSITIES = rt.geometric(keep=0.5, levels=7)
COMPARED = DENSITIES[4:]

experiment = rt.Experiment(
    name="pendulum_sac",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=20_000,
    densities=DENSITIES,
    seeds=20,
    dense_seeds=60,
    searches={
        "imp": rt.IMP(),
        "random_reinit": rt.Control(rt.random_reinit, at=COMPARED),
        "permuted_weights": rt.Control(rt.permuted_weights, at=COMPARED),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask, at=COMPARED),
        "small_dense": rt.SmallDense(make_model, at=COMPARED),
    },
    segment=5_000,
    input_names=("x = cos(theta)", "y = sin(theta)", "Angular Velocity"),
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
