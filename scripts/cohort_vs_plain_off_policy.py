"""Whether cohorts change what off-policy agents learn: step by step in double precision, and by the returns of dense
agents.

SAC and TD3 have 5,000 steps, in which most seeds of SAC solve Pendulum, and those of TD3 have begun to. Pieces are
short: in 1,000 steps of TD3, a gradient step each, rounding in double precision grows to what training moves.
"""

from dataclasses import replace
from functools import partial

from cartpole_dqn import experiment as cartpole
from measures.both_ways import Comparison, study
from measures.off_policy import make_td3
from pendulum import experiment as pendulum

import rl_tickets as rt

SEEDS = 60
"""Of each: fixed before any of them trained."""
TD3 = partial(make_td3, width=64)


def dense(experiment: rt.Experiment, name: str) -> rt.Experiment:
    return replace(experiment, name=name, searches={}, seeds=SEEDS, dense_seeds=SEEDS)


def short(experiment: rt.Experiment, name: str) -> rt.Experiment:
    return replace(dense(experiment, name), total_timesteps=5_000)


COMPARISONS = (
    Comparison("DQN on CartPole", dense(cartpole, "dqn"), (range(SEEDS),), 512),
    Comparison("SAC on Pendulum", short(pendulum, "sac"), (range(SEEDS),), 100),
    Comparison("TD3 on Pendulum", short(replace(pendulum, make_model=TD3), "td3"), (range(SEEDS),), 100),
)

if __name__ == "__main__":
    study(COMPARISONS, "cohort_vs_plain_off_policy", "Cohort against plain SB3, off-policy")
