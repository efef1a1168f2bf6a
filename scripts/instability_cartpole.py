"""Whether tickets match where they are stable, on CartPole-v1: barriers between copies from each of several steps."""

from dataclasses import replace

from cartpole import experiment as cartpole
from measures.instability import copied, study

if __name__ == "__main__":
    study(
        copied(
            replace(cartpole, total_timesteps=51_200),
            steps=(0, 1_280, 5_120, 25_600),
            late=(1_280, 5_120),
            densities=(1.0, 0.25, 0.0625, 0.03),
        ),
        "instability_cartpole",
        "PPO on CartPole-v1",
    )
