"""Lottery tickets of PPO with VecNormalize on HalfCheetah-v5: rl-zoo's hyperparameters (its -v4 entry) and budget.

Its networks are 2x64 in place of 2x256; rl-zoo's benchmark has 5,819 (on -v3). The contrast that is tested: IMP's
tickets against the same masks over re-initialised weights, mean over the densities that have controls. Beside them
actor and critic are pruned alone, to where a critic is said to suffer and an actor not (Graesser et al. 2022, arXiv
2206.10369).
"""

from collections.abc import Callable

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.vec_env import VecNormalize
from torch import nn

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make("HalfCheetah-v5")


def make_model(seed: int, make_env: Callable[[], gym.Env] = make_env) -> PPO:
    return PPO(
        "MlpPolicy",
        VecNormalize(make_vec_env(make_env, n_envs=1, seed=seed), gamma=0.98),
        n_steps=512,
        batch_size=64,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.92,
        learning_rate=2.0633e-05,
        ent_coef=0.000401762,
        clip_range=0.1,
        max_grad_norm=0.8,
        vf_coef=0.58096,
        policy_kwargs={"log_std_init": -2.0, "ortho_init": False, "activation_fn": nn.ReLU, "net_arch": [64, 64]},
        seed=seed,
        device="cpu",
    )


DENSITIES = (1.0, 0.25, 0.125, 0.0625)
ALONE = (1.0, 0.25, 0.125)

experiment = rt.Experiment(
    name="halfcheetah_ppo",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=1_000_000,
    densities=DENSITIES,
    seeds=10,
    dense_seeds=30,
    searches={
        "imp": rt.IMP(),
        "random_reinit": rt.Control(rt.random_reinit, at=DENSITIES[2:]),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask, at=DENSITIES[2:]),
        "actor": rt.IMP(network="actor", densities=ALONE),
        "critic": rt.IMP(network="critic", densities=ALONE),
    },
    episodes=20,
    segment=40_000,
    input_names=(
        "z-coordinate of the front tip",
        "angle of the front tip",
        "angle of the back thigh",
        "angle of the back shin",
        "angle of the back foot",
        "angle of the front thigh",
        "angle of the front shin",
        "angle of the front foot",
        "velocity of the x-coordinate of front tip",
        "velocity of the z-coordinate of front tip",
        "angular velocity of the front tip",
        "angular velocity of the back thigh",
        "angular velocity of the back shin",
        "angular velocity of the back foot",
        "angular velocity of the front thigh",
        "angular velocity of the front shin",
        "angular velocity of the front foot",
    ),
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__, extra="mujoco")
