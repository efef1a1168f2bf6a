"""Whether tickets match where they are stable, on LunarLander-v3, at a fifth of rl-zoo's budget."""

from dataclasses import replace

from lunarlander import experiment as lunarlander
from measures.instability import copied, study

if __name__ == "__main__":
    study(
        copied(
            replace(lunarlander, total_timesteps=196_608),
            steps=(0, 16_384, 49_152, 98_304),
            densities=(1.0, 0.25, 0.0625),
        ),
        "instability_lunarlander",
        "PPO on LunarLander-v3",
        extra="box2d",
    )
