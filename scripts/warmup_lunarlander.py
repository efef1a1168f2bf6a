"""Whether a smaller learning rate at first saves tickets rewound to initialisation: PPO on LunarLander-v3, 2x256."""

from collections.abc import Callable
from dataclasses import replace

from lunarlander import experiment as lunarlander
from lunarlander import make_model as usual
from measures.warmup import Heat, study
from stable_baselines3 import PPO


def make_model(seed: int, learning_rate: Callable[[float], float], width: int = 256) -> PPO:
    return usual(seed, learning_rate=learning_rate, policy_kwargs={"net_arch": [width, width]})


HEAT = Heat(make_model, rates=(3e-4, 1e-3, 3e-3), points=(0, 16_384), agent="PPO on LunarLander, 2x256")

if __name__ == "__main__":
    study(
        replace(lunarlander, total_timesteps=196_608, densities=(1.0, 0.1, 0.01), searches={}),
        HEAT,
        "warmup_lunarlander",
        extra="box2d",
    )
