"""Lottery tickets of SAC on Pendulum-v1: rl-zoo's hyperparameters and budget, 2x64 in place of its 2x256.

The contrast that is tested: IMP's tickets against the same masks over re-initialised weights, mean over the densities.
Beside them actor and critic are pruned alone (Graesser et al. 2022, arXiv 2206.10369).
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


experiment = rt.Experiment(
    name="pendulum_sac",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=20_000,
    densities=rt.geometric(keep=0.5, levels=5),
    seeds=10,
    dense_seeds=30,
    searches={
        "imp": rt.IMP(),
        "random_reinit": rt.Control(rt.random_reinit),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask),
        "actor": rt.IMP(network="actor"),
        "critic": rt.IMP(network="critic"),
    },
    segment=5_000,
    input_names=("x = cos(theta)", "y = sin(theta)", "Angular Velocity"),
)

if __name__ == "__main__":
    rt.main(experiment)
