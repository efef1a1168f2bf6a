"""Lottery tickets of PPO with a small CNN on MinAtar's Breakout (Young & Tian 2019, arXiv 1903.03176).

The contrast that is tested: IMP's tickets against the same masks over re-initialised weights, mean over the densities
that have controls.
"""

import gymnasium as gym
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

import rl_tickets as rt


class SmallCNN(BaseFeaturesExtractor):
    """One 3x3 convolution and a linear layer over MinAtar's 10x10 bool images, channels last."""

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 128) -> None:
        super().__init__(observation_space, features_dim)
        height, width, channels = observation_space.shape
        self.convolution = nn.Sequential(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.Flatten())
        self.linear = nn.Sequential(nn.Linear(16 * (height - 2) * (width - 2), features_dim), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.linear(self.convolution(observations.float().permute(0, 3, 1, 2)))


def make_env() -> gym.Env:
    if "MinAtar/Breakout-v1" not in gym.registry:
        from minatar.gym import register_envs

        register_envs()
    return gym.make("MinAtar/Breakout-v1")


def make_model(seed: int) -> PPO:
    kwargs = {"features_extractor_class": SmallCNN, "net_arch": [], "normalize_images": False}
    env = make_vec_env(make_env, n_envs=8, seed=seed)
    return PPO("MlpPolicy", env, n_steps=128, batch_size=256, n_epochs=4, policy_kwargs=kwargs, seed=seed, device="cpu")


DENSITIES = rt.geometric(keep=0.5, levels=6)

experiment = rt.Experiment(
    name="minatar_breakout_ppo",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=1_000_000,
    densities=DENSITIES,
    seeds=10,
    dense_seeds=30,
    searches={
        "imp": rt.IMP(),
        "random_reinit": rt.Control(rt.random_reinit, at=DENSITIES[3:]),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask, at=DENSITIES[4:]),
    },
    segment=200_000,
)

if __name__ == "__main__":
    rt.main(experiment, extra="minatar")
