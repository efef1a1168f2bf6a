"""Whether tickets of one algorithm win under another, on CartPole-v1: PPO, A2C, and DQN, whose body they carry over to.

Heads have other shapes or another meaning: they stay the target's own, and dense. DQN's tickets go nowhere: they have
no counterpart of a critic, without which nothing can be lost.
"""

from dataclasses import replace

from cartpole import experiment as cartpole
from cartpole import make_env
from cartpole import make_model as make_ppo
from cartpole_dqn import make_model as make_dqn
from measures.transfer import OWN_HEADS, Agent, Family, study
from stable_baselines3 import A2C
from stable_baselines3.common.env_util import make_vec_env

import rl_tickets as rt


def make_a2c(seed: int) -> A2C:
    return A2C("MlpPolicy", make_vec_env(make_env, n_envs=8, seed=seed), seed=seed, device="cpu")


ALGORITHMS = {"ppo": Agent(make_ppo), "a2c": Agent(make_a2c), "dqn": Agent(make_dqn)}

if __name__ == "__main__":
    study(
        replace(cartpole, total_timesteps=100_000),
        {
            "algorithms": Family(
                "Other algorithms", ALGORITHMS, sources=("ppo", "a2c"), otherwise=rt.dense_layer, note=OWN_HEADS
            )
        },
        "transfer_algorithms_cartpole",
        "Transfer of tickets between algorithms on CartPole",
        at=cartpole.densities[4:],
    )
