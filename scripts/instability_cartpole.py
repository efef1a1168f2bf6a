"""Whether tickets match where they are stable, on CartPole-v1: barriers between copies from each of several steps."""

from dataclasses import replace

from cartpole import experiment as cartpole
from measures.instability import copied, study

import rl_tickets as rt

if __name__ == "__main__":
    study(
        copied(
            replace(cartpole, total_timesteps=51_200),
            steps=(0, 1_280, 5_120, 12_800, 25_600),
            densities=rt.geometric(keep=0.4, levels=4),
        ),
        "instability_cartpole",
        "PPO on CartPole-v1",
    )
