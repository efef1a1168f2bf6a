"""Plain SB3 against cohorts of off-policy agents: seconds per member on one core, and memory beside replay buffers."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from stable_baselines3 import DQN, SAC, TD3
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.noise import NormalActionNoise

import rl_tickets as rt
from measures.cohorts import MakeModel, against_plain, runs
from measures.peaks import peak_megabytes
from measures.rows import Row, row

MEMBERS = 8


def make_dqn(seed: int) -> DQN:
    """SB3's own hyperparameters: 2x64, a gradient step of 32 rows every 4 steps."""
    return DQN("MlpPolicy", make_vec_env("CartPole-v1", seed=seed), seed=seed, device="cpu")


def make_sac(seed: int, width: int) -> SAC:
    """SB3's own hyperparameters, but for the width: a gradient step of 256 rows every step."""
    net = {"net_arch": [width, width]}
    return SAC("MlpPolicy", make_vec_env("Pendulum-v1", seed=seed), policy_kwargs=net, seed=seed, device="cpu")


def make_td3(seed: int, width: int) -> TD3:
    """The same of TD3, with the noise of its paper."""
    noise = NormalActionNoise(np.zeros(1), np.full(1, 0.1))
    net = {"net_arch": [width, width]}
    env = make_vec_env("Pendulum-v1", seed=seed)
    return TD3("MlpPolicy", env, action_noise=noise, policy_kwargs=net, seed=seed, device="cpu")


CASES: Sequence[tuple[str, MakeModel, int, str]] = (
    ("DQN 2x64 on CartPole, 20,000 steps", make_dqn, 20_000, ">= 5"),
    ("SAC 2x64 on Pendulum, 3,000 steps", partial(make_sac, width=64), 3_000, ">= 3.5"),
    ("SAC 2x256 on Pendulum, 1,000 steps", partial(make_sac, width=256), 1_000, ">= 1.5"),
    ("TD3 2x256 on Pendulum, 1,000 steps", partial(make_td3, width=256), 1_000, ">= 1.5"),
)


def off_policy(pairs: int) -> Iterator[Row]:
    for name, make_model, steps, goal in CASES:
        yield from against_plain(name, make_model, steps, MEMBERS, goal, pairs)


def make_pendulum(seed: int) -> SAC:
    """With SB3's buffer of a million transitions, which is filled before training."""
    model = make_sac(seed, 64)
    for array in _arrays(model):
        array.fill(1)
    return model


def _arrays(model: SAC) -> list[np.ndarray]:
    return [array for array in vars(model.replay_buffer).values() if isinstance(array, np.ndarray)]


def replay_memory(pairs: int) -> Iterator[Row]:
    """Peak memory of a cohort whose replay buffers are full, against the size of these buffers."""
    buffers = MEMBERS * sum(array.nbytes for array in _arrays(make_sac(0, 64))) / 2**20
    peak = peak_megabytes(train_pendulum, MEMBERS)
    name = f"{MEMBERS} members of SAC on Pendulum, replay buffers of {buffers:,.0f} MB"
    yield row(f"{name}: peak memory, MB", [peak], f"<= {1.2 * buffers + 700:,.0f}")


def train_pendulum(members: int) -> None:
    trained = runs(make_pendulum, 300, members)
    rt.Cohorts().start()(trained)
