"""Lottery tickets of PPO on CartPole-v1 by rl-zoo's hyperparameters and budget: nearly every dense seed solves it.

The contrast that is tested: IMP's tickets against the same masks over re-initialised weights, mean over the densities.
"""

import gymnasium as gym
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import rl_tickets as rt


def make_env() -> gym.Env:
    return gym.make("CartPole-v1")


def make_model(seed: int, width: int = 64) -> PPO:
    return PPO(
        "MlpPolicy",
        make_vec_env(make_env, n_envs=8, seed=seed),
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.8,
        ent_coef=0.0,
        learning_rate=lambda progress: 1e-3 * progress,
        clip_range=lambda progress: 0.2 * progress,
        policy_kwargs={"net_arch": [width, width]},
        seed=seed,
        device="cpu",
    )


experiment = rt.Experiment(
    name="cartpole_ppo",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=100_000,
    densities=rt.geometric(keep=0.5, levels=5),
    seeds=80,
    dense_seeds=200,
    searches={
        "imp": rt.IMP(),
        "imp_late": rt.IMP(rewind=rt.Rewind(at=10_240)),
        "random_reinit": rt.Control(rt.random_reinit),
        "permuted_weights": rt.Control(rt.permuted_weights),
        "permuted_mask": rt.Control(rt.permuted_mask),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask),
        "small_dense": rt.SmallDense(make_model),
    },
    input_names=("Cart Position", "Cart Velocity", "Pole Angle", "Pole Angular Velocity"),
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
