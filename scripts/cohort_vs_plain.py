"""Whether cohorts change what is learned: step by step in double precision, and by the returns of dense agents."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro
from cartpole import experiment as cartpole
from lunarlander import experiment as lunarlander
from lunarlander import make_env
from measures.lockstep import lockstep
from scipy import stats
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import rl_tickets as rt
from rl_tickets.lab.task import one_thread
from rl_tickets.report.looks import save
from rl_tickets.report.tables import read_levels
from rl_tickets.tickets.archive import write_whole

COMMAND = "python scripts/cohort_vs_plain.py"
TRAINERS = {"cohort": rt.Cohorts(), "plain": rt.Plain()}


@dataclass(frozen=True)
class Comparison:
    """What is trained both ways.

    Args:
        environment: its name.
        experiment: without searches.
        seeds: compared apart from each other.
        piece: environment steps that are compared in double precision.
    """

    environment: str
    experiment: rt.Experiment
    seeds: tuple[range, ...]
    piece: int


def make_lander(seed: int) -> PPO:
    """Near rl-zoo's hyperparameters, made for a tenth of its budget."""
    return PPO(
        "MlpPolicy",
        make_vec_env(make_env, n_envs=16, seed=seed),
        n_steps=128,
        batch_size=128,
        n_epochs=4,
        gamma=0.995,
        gae_lambda=0.98,
        ent_coef=0.01,
        learning_rate=1e-3,
        seed=seed,
        device="cpu",
    )


# 20 seeds of each left p = 0.08 and 0.09: too near to call, so 40 and 100 more followed. On CartPole these gave
# p = 0.03, so 240 fresh ones, their number fixed before they ran, decide, by one two-sided test at 5 %.
COMPARISONS = (
    Comparison(
        "CartPole-v1",
        replace(cartpole.scaled(50_000), name="cartpole", searches={}, seeds=360, dense_seeds=360),
        (range(120), range(120, 360)),
        2_560,
    ),
    Comparison(
        "LunarLander-v3",
        replace(
            lunarlander,
            name="lunarlander",
            make_model=make_lander,
            total_timesteps=98_304,
            searches={},
            seeds=60,
            dense_seeds=60,
            segment=51_200,
        ),
        (range(60),),
        8_192,
    ),
)


def main(jobs: int | None = None, out: Path = Path("results/cohort_vs_plain")) -> None:
    """Trains what is not trained yet, and writes a figure and two tables.

    Args:
        jobs: worker processes; by default one for each core.
        out: folder of the results.
    """
    figure, axes = plt.subplots(1, len(COMPARISONS), figsize=(9, 3.6))
    rows = []
    for axis, comparison in zip(axes, COMPARISONS, strict=True):
        experiment = comparison.experiment
        found = {trainer: scores(experiment, trainer, jobs, out) for trainer in TRAINERS}
        rows += [returns_row(comparison.environment, seeds, **found) for seeds in comparison.seeds]
        for trainer, values in found.items():
            axis.step(np.sort(values), np.arange(1, len(values) + 1) / len(values), where="post", label=trainer)
        title = f"{comparison.environment}, {experiment.total_timesteps:,} steps, {experiment.seeds} seeds"
        axis.set(title=title, xlabel="return of the final policy")
    axes[0].set_ylabel("fraction of seeds at or below")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    save(figure, out / "returns.png")
    with one_thread():
        pieces = [pieces_row(comparison) for comparison in COMPARISONS]
    text = "\n".join(report(rows, pieces)) + "\n"
    write_whole(out / "report.md", text.encode())
    print(text)


def scores(experiment: rt.Experiment, trainer: str, jobs: int | None, out: Path) -> np.ndarray:
    """Mean evaluation return of each seed's final policy, shape (seeds,)."""
    named = replace(experiment, name=f"{experiment.name}_{trainer}", trainer=TRAINERS[trainer], command=COMMAND)
    rt.run(named, jobs=jobs, out=out)
    rows = sorted(read_levels(out / named.name), key=lambda row: row.run)
    return np.array([row.mean_return for row in rows])


def returns_row(environment: str, seeds: range, cohort: np.ndarray, plain: np.ndarray) -> str:
    """One line of the table of returns."""
    cohort, plain = cohort[seeds], plain[seeds]
    test = stats.ttest_rel(cohort, plain)
    low, high = test.confidence_interval()
    iqms = [f"{rt.iqm(x):.1f} [{(i := rt.interval(x)).low:.1f}, {i.high:.1f}]" for x in (cohort, plain)]
    difference = f"{np.mean(cohort - plain):.1f} [{low:.1f}, {high:.1f}]"
    cells = (environment, f"{seeds[0]} to {seeds[-1]}", *iqms, difference, f"{test.pvalue:.2f}")
    return f"| {' | '.join(cells)} |"


def pieces_row(comparison: Comparison) -> str:
    """One line of the table of pieces in double precision."""
    experiment, piece = comparison.experiment, comparison.piece
    total = experiment.total_timesteps // piece * piece
    pieces = lockstep(experiment.make_model, total, piece)
    moved, differences = [each.moved for each in pieces], [each.difference for each in pieces]
    cells = (comparison.environment, f"{len(pieces)} of {piece:,} steps", f"{min(moved):.1g} to {max(moved):.1g}")
    return f"| {' | '.join(cells)} | {np.median(differences):.0e} | {max(differences):.0e} |"


def report(rows: list[str], pieces: list[str]) -> Iterator[str]:
    """The lines of report.md."""
    yield f"# Cohort against plain SB3\n\nMade by `{COMMAND}`.\n\n![Returns](returns.png)\n"
    yield "Returns of dense agents, paired by seed:\n"
    yield "| environment | seeds | cohort, IQM [95 %] | plain, IQM [95 %] | cohort - plain, mean [95 %] | paired t, p |"
    yield "|---|---|---|---|---|---|"
    yield from rows
    yield "\nIn double precision, every piece of one training run trained both ways from the same state: by how much"
    yield "training moved the weight that moved most, and the largest difference of a weight at the end:\n"
    yield "| environment | pieces | moved | difference, median | difference, largest |"
    yield "|---|---|---|---|---|"
    yield from pieces


if __name__ == "__main__":
    tyro.cli(main)
