"""Whether a smaller learning rate at first saves tickets rewound to initialisation: PPO on LunarLander-v3, 2x64.

At rl-zoo's budget, which a wider network would take half a day for: whether this one is unstable at these learning
rates is what the column without warm-up shows.
"""

from collections.abc import Callable
from dataclasses import replace

from lunarlander import experiment as lunarlander
from lunarlander import make_model as usual
from measures.warmup import Heat, study
from stable_baselines3 import PPO


def make_model(seed: int, learning_rate: Callable[[float], float], width: int = 64) -> PPO:
    return usual(seed, learning_rate=learning_rate, policy_kwargs={"net_arch": [width, width]})


HEAT = Heat(make_model, rates=(3e-4, 1e-3), points=(0, 98_304), agent="PPO on LunarLander, 2x64", seeds=10)

if __name__ == "__main__":
    study(
        # Whole rollouts, of which a tenth is warm-up.
        replace(lunarlander, total_timesteps=983_040, densities=(1.0, 0.0625), searches={}),
        HEAT,
        "warmup_lunarlander",
        extra="box2d",
    )
