"""What holding a mask and pruning cost, in CPU time of one thread."""

import time
from collections.abc import Callable, Iterator

import gymnasium as gym
import torch
from cartpole import make_model as make_ppo
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.nn.utils import prune as torch_prune

import rl_tickets as rt
from measures.rows import Row, ratios, row
from rl_tickets.agents.anatomy import prunable_weights
from rl_tickets.agents.networks import network_of
from rl_tickets.tickets.selecting import prune

DENSITY = 0.2


def make_sac(seed: int) -> SAC:
    return SAC("MlpPolicy", gym.make("Pendulum-v1"), learning_rate=1e-3, learning_starts=100, seed=seed, device="cpu")


def leave(model: BaseAlgorithm) -> None:
    """Not held at all."""


def hold(model: BaseAlgorithm) -> None:
    weights = prunable_weights(model)
    rt.hold(model, prune(weights, DENSITY, criterion=rt.random_scores, network_of=network_of).mask)


def torch_hold(model: BaseAlgorithm) -> None:
    """torch.nn.utils.prune on every layer, target networks too, without which SAC's polyak update fails."""
    for module in model.policy.modules():
        if isinstance(module, torch.nn.Linear):
            torch_prune.random_unstructured(module, "weight", amount=1 - DENSITY)


def seconds(make_model: Callable[[int], BaseAlgorithm], steps: int, prepare: Callable[[BaseAlgorithm], None]) -> float:
    model = make_model(0)
    prepare(model)
    began = time.process_time()
    model.learn(steps)
    return time.process_time() - began


def holding(pairs: int) -> Iterator[Row]:
    agents = (("PPO on CartPole", make_ppo, 10_240, "<= 1.05"), ("SAC on Pendulum", make_sac, 1_000, "<= 1.06"))
    for name, make_model, steps, goal in agents:
        seconds(make_model, steps, leave)  # Not counted: the first run of a process is slower.
        for label, way, limit in (("held", hold, goal), ("torch.nn.utils.prune", torch_hold, "beside")):
            values = ratios(
                lambda m=make_model, n=steps, w=way: seconds(m, n, w),
                lambda m=make_model, n=steps: seconds(m, n, leave),
                pairs,
            )
            yield row(f"{name}: {label} / not held", values, limit)


def pruning_round(pairs: int) -> Iterator[Row]:
    shapes = {"first.weight": (512, 4), "second.weight": (512, 512), "third.weight": (2, 512)}
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    values = []
    for _ in range(10):
        began = time.perf_counter()
        prune(weights, DENSITY, criterion=rt.lamp)
        values.append(time.perf_counter() - began)
    yield row("one pruning round (LAMP, global), 2x512 network, seconds", values[1:], "<= 0.05")
