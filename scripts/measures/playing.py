"""Evaluation: agents played stacked, both ways, against each by its own `predict`, and against the simulator alone."""

import time
from collections.abc import Iterator, Sequence

import gymnasium as gym
import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

import rl_tickets as rt
from measures.cohorts import make_cartpole
from measures.rows import Row, row
from rl_tickets.evaluation.returns import Episodes, play, play_both_ways, play_plainly

MEMBERS, STEPS, EPISODES, SEED = 8, 49_152, 100, 1_000


def playing(pairs: int) -> Iterator[Row]:
    agents = [make_cartpole(seed) for seed in range(MEMBERS)]
    for model in agents:
        model.set_logger(Logger(None, []))
    rt.learn(agents, STEPS)
    play_both_ways(agents, make_env, episodes=1, seed=SEED)  # Traced, and shown to be right.
    found = [(_plainly(agents), _stacked(agents), _simulated(), _alone(agents[0])) for _ in range(pairs)]
    name = f"{MEMBERS} PPO agents on CartPole, {EPISODES} episodes"
    per_episode = [stacked.per_episode / plain.per_episode for plain, stacked, _, _ in found]
    yield row(f"{name}: stacked, both ways / predict, greedily, seconds per episode", per_episode, "<= 0.33")
    per_step = [stacked.per_step / plain.per_step for plain, stacked, _, _ in found]
    yield row(f"{name}: the same, seconds per environment step", per_step)
    yield row(
        f"{name}: the simulator alone / predict, per step",
        [bare.per_step / plain.per_step for plain, _, bare, _ in found],
    )
    yield row(
        "one such agent, greedily: stacked / predict, per step",
        [one.per_step / plain.per_step for plain, _, _, one in found],
    )


def make_env() -> gym.Env[np.ndarray, np.int64]:
    return gym.make("CartPole-v1")


class Took:
    """Seconds that some episodes took."""

    def __init__(self, began: float, played: Sequence[Episodes]) -> None:
        seconds = time.perf_counter() - began
        self.per_episode = seconds / sum(len(each.returns) for each in played)
        self.per_step = seconds / sum(int(each.lengths.sum()) for each in played)


def _plainly(agents: Sequence[BaseAlgorithm]) -> Took:
    began = time.perf_counter()
    return Took(began, [play_plainly(model, make_env, episodes=EPISODES, seed=SEED) for model in agents])


def _stacked(agents: Sequence[BaseAlgorithm]) -> Took:
    began = time.perf_counter()
    played = play_both_ways(agents, make_env, episodes=EPISODES, seed=SEED)
    return Took(began, [way for each in played for way in each if way is not None])


def _alone(model: BaseAlgorithm) -> Took:
    began = time.perf_counter()
    return Took(began, [play(model, make_env, episodes=EPISODES, seed=SEED)])


def _simulated() -> Took:
    """The pole is held by hand, with as little around the environment's own steps as Python allows."""
    env, actions = make_env(), (np.int64(0), np.int64(1))
    lengths = np.zeros(EPISODES, dtype=np.int64)
    began = time.perf_counter()
    for episode in range(EPISODES):
        seen, done = env.reset(seed=SEED + episode)[0], False
        while not done:
            seen, _, terminated, truncated, _ = env.step(actions[int(seen[2] + seen[3] > 0)])
            lengths[episode] += 1
            done = terminated or truncated
    return Took(began, [Episodes(lengths.astype(float), lengths)])
