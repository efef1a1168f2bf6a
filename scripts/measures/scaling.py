"""Cost of a cohort's gradient step against the number of members and the width of the network."""

import time
from collections.abc import Iterator
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
from rl_tickets.agents.cohort.cohort import Cohort
from rl_tickets.agents.cohort.joining import shape_of

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
    step = partial(cohort._updating[BATCH].step, index)
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
    figure, axes = plt.subplots(figsize=(6, 4))
    for width in WIDTHS:
        found = {members: milliseconds(width, members) for members in MEMBERS if width * members <= 16_384}
        for members, (stacked, _) in found.items():
            yield row(f"2x{width} network, {members} members: ms per member and gradient step", [stacked])
        plain = min(sb3 for _, sb3 in found.values())
        yield row(f"2x{width} network: plain SB3, ms per gradient step", [plain])
        best = min(found, key=lambda members: found[members][0])
        yield row(f"2x{width} network: members at which stacking stops paying", [float(best)])
        (line,) = axes.plot(list(found), [stacked for stacked, _ in found.values()], "o-", label=f"2x{width}")
        axes.axhline(plain, color=line.get_color(), linestyle=":", linewidth=1)
    axes.set(xscale="log", yscale="log", xlabel="members", ylabel="ms per member and gradient step")
    axes.set_xticks(MEMBERS, [str(members) for members in MEMBERS])
    axes.legend(title="network (dotted: plain SB3)", frameon=False)
    axes.set_title(f"A gradient step on a batch of {BATCH}, one core")
    figure.tight_layout()
    figure.savefig(plot, dpi=120)
    plt.close(figure)


def memory_slope(pairs: int) -> Iterator[Row]:
    peaks = {members: peak_megabytes(_train, members) for members in (1, 8, 64)}
    for members, megabytes in peaks.items():
        yield row(f"2x64 network, {members} members: peak memory, MB", [megabytes])
    yield row("peak memory, MB for each further member, from 8 to 64", [(peaks[64] - peaks[8]) / 56])


def _train(members: int) -> None:
    torch.set_num_threads(1)
    cohort_seconds(make_cartpole, 1, members)
