"""Cost of a cohort's gradient step against the number of members and the width of the network."""

import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import gymnasium as gym
import matplotlib.pyplot as plt
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from measures.cohorts import cohort_seconds, make_cartpole, runs
from measures.peaks import peak_megabytes
from measures.rows import Row, row
from rl_tickets.training.cohorts.cohort import Cohort
from rl_tickets.training.cohorts.joining import shape_of

MEMBERS = (1, 2, 4, 8, 16, 32, 64)
WIDTHS = (64, 256, 1024)
BATCH = 64


def make_model(seed: int, width: int) -> PPO:
    env = make_vec_env(lambda: gym.make("CartPole-v1"), n_envs=1, seed=seed)
    return PPO("MlpPolicy", env, n_steps=BATCH, policy_kwargs={"net_arch": [width, width]}, seed=seed, device="cpu")


def milliseconds(width: int, members: int) -> tuple[float, float]:
    """Per member and gradient step: of a cohort, and of plain SB3, whose members do not share a step."""
    (run,) = runs(partial(make_model, width=width), BATCH, 1)
    cohort = Cohort(run.model, shape_of(run.model, tuple(run.mask)), members)
    index = torch.arange(BATCH).repeat(members, 1)
    step = partial(cohort.group.learning.updating[BATCH].step, index)
    stacked = _repeated(step) / members
    run.model.learn(BATCH)
    model: PPO = run.model  # type: ignore[assignment]
    model.n_epochs = 200
    began = time.perf_counter()
    model.train()
    return 1e3 * stacked, 1e3 * (time.perf_counter() - began) / 200


def _repeated(step: partial[torch.Tensor]) -> float:
    """Seconds of one call, of enough calls to fill half a second."""
    step()
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < 0.5:
        step()
        calls += 1
    return (time.perf_counter() - began) / calls


def scaling(pairs: int, plot: Path = Path("results/benchmark_scaling.png")) -> Iterator[Row]:
    stacked, plain = {}, {}
    for width in WIDTHS:
        found = {members: milliseconds(width, members) for members in MEMBERS if width * members <= 16_384}
        stacked[width] = {members: ours for members, (ours, _) in found.items()}
        plain[width] = min(sb3 for _, sb3 in found.values())
        for members, ours in stacked[width].items():
            yield row(f"2x{width} network, {members} members: ms per member and gradient step", [ours])
        yield row(f"2x{width} network: plain SB3, ms per gradient step", [plain[width]])
        best = min(stacked[width], key=lambda members: stacked[width][members])
        yield row(f"2x{width} network: members at which stacking stops paying", [float(best)])
    draw(stacked, plain, plot)


def draw(stacked: Mapping[int, Mapping[int, float]], plain: Mapping[int, float], path: Path) -> None:
    """Milliseconds by width and members; plain SB3's by width."""
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for width, found in stacked.items():
        (line,) = axes.plot(list(found), list(found.values()), "o-", label=f"2x{width}")
        axes.axhline(plain[width], color=line.get_color(), linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="members", ylabel="ms per member and gradient step")
    axes.set_xticks(MEMBERS, [str(members) for members in MEMBERS])
    figure.legend(title="network\n(dotted: plain SB3)", frameon=False, loc="outside right upper")
    axes.set_title(f"A gradient step on a batch of {BATCH}, one core")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def memory_slope(pairs: int) -> Iterator[Row]:
    peaks = {members: peak_megabytes(_train, members) for members in (1, 8, 64)}
    for members, megabytes in peaks.items():
        yield row(f"2x64 network, {members} members: peak memory, MB", [megabytes])
    yield row("peak memory, MB for each further member, from 8 to 64", [(peaks[64] - peaks[8]) / 56])


def _train(members: int) -> None:
    torch.set_num_threads(1)
    cohort_seconds(make_cartpole, 1, members)
