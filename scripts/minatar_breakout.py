"""Lottery tickets of PPO with a small CNN on MinAtar's Breakout (Young & Tian 2019, arXiv 1903.03176).

rl-zoo has no entry for it: hyperparameters are near SB3's own. Episodes end after 1,000 steps. The contrast that is
tested: IMP's tickets against the same masks over re-initialised weights, mean over the densities that have controls.
"""

import gymnasium as gym
import numpy as np
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

import rl_tickets as rt


class SmallCNN(BaseFeaturesExtractor):
    """One 3x3 convolution and a linear layer over 10x10 images."""

    def __init__(self, observation_space: gym.spaces.Box, features_dim: int = 128) -> None:
        super().__init__(observation_space, features_dim)
        channels, height, width = observation_space.shape
        self.convolution = nn.Sequential(nn.Conv2d(channels, 16, 3), nn.ReLU(), nn.Flatten())
        self.linear = nn.Sequential(nn.Linear(16 * (height - 2) * (width - 2), features_dim), nn.ReLU())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        return self.linear(self.convolution(observations))


class ChannelsFirst(gym.ObservationWrapper):
    """The game's bool images as convolutions take them.

    MinAtar may repeat the last action of the episode before, which no state of an agent holds: here it begins anew.
    """

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        height, width, channels = env.observation_space.shape
        self.observation_space = gym.spaces.Box(0, 1, (channels, height, width), dtype=bool)

    def reset(self, **asked: object) -> tuple[np.ndarray, dict]:
        self.unwrapped.game.last_action = 0
        return super().reset(**asked)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return np.moveaxis(observation, -1, 0)


def make_env() -> gym.Env:
    if "MinAtar/Breakout-v1" not in gym.registry:
        from minatar.gym import register_envs

        register_envs()
    return ChannelsFirst(gym.make("MinAtar/Breakout-v1", max_episode_steps=1_000))


def make_model(seed: int) -> PPO:
    kwargs = {"features_extractor_class": SmallCNN, "net_arch": [], "normalize_images": False}
    env = make_vec_env(make_env, n_envs=8, seed=seed)
    return PPO("MlpPolicy", env, n_steps=128, batch_size=256, n_epochs=4, policy_kwargs=kwargs, seed=seed, device="cpu")


DENSITIES = rt.geometric(keep=0.25, levels=4)

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
        "random_reinit": rt.Control(rt.random_reinit, at=DENSITIES[2:]),
        "connected_permuted_mask": rt.Control(rt.connected_permuted_mask, at=DENSITIES[2:]),
    },
    segment=200_000,
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__, extra="minatar")
