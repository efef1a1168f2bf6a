"""Speed and memory, as ratios of two things measured in turn in one run; run it on an otherwise idle machine."""

import csv
import io
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import torch
import tyro
from cartpole import experiment as cartpole
from cartpole import make_model as make_ppo
from rich.console import Console
from rich.table import Table
from stable_baselines3 import SAC
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.nn.utils import prune as torch_prune

import rl_tickets as rt
from rl_tickets.agents.anatomy import network_of, prunable_weights
from rl_tickets.lab.run import begin, unfinished
from rl_tickets.lab.store import Store
from rl_tickets.lab.task import one_thread
from rl_tickets.lab.workers import run_workers
from rl_tickets.tickets.archive import write_whole
from rl_tickets.tickets.pruning import prune

DENSITY = 0.2
Row = tuple[str, float, float, float, str]


def make_sac(seed: int) -> SAC:
    return SAC("MlpPolicy", gym.make("Pendulum-v1"), learning_rate=1e-3, learning_starts=100, seed=seed, device="cpu")


def random_mask(model: BaseAlgorithm) -> rt.Mask:
    weights = prunable_weights(model)
    return prune(weights, DENSITY, criterion=rt.random_scores, network_of=network_of).mask


def leave(model: BaseAlgorithm) -> None:
    """Not held at all."""


def hold(model: BaseAlgorithm) -> None:
    rt.hold(model, random_mask(model))


def torch_hold(model: BaseAlgorithm) -> None:
    """torch.nn.utils.prune on every layer, target networks too, without which SAC's polyak update fails."""
    for module in model.policy.modules():
        if isinstance(module, torch.nn.Linear):
            torch_prune.random_unstructured(module, "weight", amount=1 - DENSITY)


def seconds(make_model: Callable[[int], BaseAlgorithm], steps: int, prepare: Callable[[BaseAlgorithm], None]) -> float:
    model = make_model(0)
    prepare(model)
    began = time.perf_counter()
    model.learn(steps)
    return time.perf_counter() - began


def ratios(measure: Callable[[], float], other: Callable[[], float], pairs: int) -> list[float]:
    """measure / other, the two in turn, the order swapped every time."""
    found = []
    for index in range(pairs):
        first, second = (measure, other) if index % 2 else (other, measure)
        a, b = first(), second()
        found.append(a / b if index % 2 else b / a)
    return found


def row(name: str, values: list[float], goal: str) -> Row:
    return name, statistics.median(values), min(values), max(values), goal


def holding(pairs: int) -> list[Row]:
    found = []
    agents = (("PPO on CartPole", make_ppo, 5_120, "<= 1.05"), ("SAC on Pendulum", make_sac, 500, "<= 1.06"))
    for name, make_model, steps, goal in agents:
        seconds(make_model, steps, leave)  # Not counted: the first run of a process is slower.
        for label, way, limit in (("held", hold, goal), ("torch.nn.utils.prune", torch_hold, "beside")):
            values = ratios(
                lambda m=make_model, n=steps, w=way: seconds(m, n, w),
                lambda m=make_model, n=steps: seconds(m, n, leave),
                pairs,
            )
            found.append(row(f"{name}: {label} / not held", values, limit))
    return found


def pruning_round() -> Row:
    shapes = {"first.weight": (512, 4), "second.weight": (512, 512), "third.weight": (2, 512)}
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    values = []
    for _ in range(10):
        began = time.perf_counter()
        prune(weights, DENSITY, criterion=rt.lamp)
        values.append(time.perf_counter() - began)
    return row("one pruning round (LAMP, global), 2x512 network, seconds", values[1:], "<= 0.05")


def small() -> rt.Experiment:
    """Eight levels of equal length on CartPole, long enough that starting a worker does not decide."""
    searches = {"imp": rt.IMP()}
    return replace(cartpole.scaled(30_720), densities=(1.0, 0.5), seeds=4, searches=searches, episodes=10)


def jobs(pairs: int) -> Row:
    """Both ways in worker processes, so that both pay for starting them."""

    def experiment(count: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            store = Store(Path(folder) / "small")
            plan = begin(small(), store)
            began = time.perf_counter()
            run_workers(unfinished(plan, store), count, lambda: None)
            return time.perf_counter() - began

    values = ratios(lambda: experiment(1), lambda: experiment(2), pairs)
    return row("two jobs: one job's seconds / two jobs'", values, ">= 1.8")


def peak_memory(folder: str, connection: object) -> None:
    rt.run(replace(small(), seeds=1), jobs=1, out=folder)
    connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # type: ignore[attr-defined]


def memory() -> Row:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=peak_memory, args=(folder, theirs))
        process.start()
        megabytes = float(ours.recv())
        process.join()
    return row("peak memory of a worker on CartPole, MB", [megabytes], "<= 700")


def main(pairs: int = 5, out: Path = Path("results/benchmark.csv")) -> None:
    """Prints and writes the table.

    Args:
        pairs: interleaved pairs of each ratio.
        out: CSV file.
    """
    found: list[Row] = []
    with one_thread():
        for measure in (lambda: holding(pairs), lambda: [pruning_round()], lambda: [memory()], lambda: [jobs(pairs)]):
            found += measure()
            write(found, out)
    table = Table("measured", "median", "min", "max", "goal")
    for cells in map(shown, found):
        table.add_row(*cells)
    Console().print(table)


def shown(found: Row) -> list[str]:
    name, median, low, high, goal = found
    return [name, f"{median:.3g}", f"{low:.3g}", f"{high:.3g}", goal]


def write(found: list[Row], out: Path) -> None:
    """After every part, so that one that is stopped leaves the others."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["measured", "median", "min", "max", "goal"])
    writer.writerows(map(shown, found))
    write_whole(out, text.getvalue().encode())


if __name__ == "__main__":
    tyro.cli(main)
