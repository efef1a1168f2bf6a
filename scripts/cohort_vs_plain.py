"""Whether cohorts change what is learned: dense agents trained both ways, the same seeds, compared by their returns."""

from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro
from cartpole import experiment as cartpole
from lunarlander import experiment as lunarlander
from scipy import stats

import rl_tickets as rt
from rl_tickets.report.rows import LevelRow, read_csv
from rl_tickets.tickets.archive import write_whole

TRAINERS = {"cohort": rt.Cohorts(), "plain": rt.Plain()}
# 20 seeds of each left p = 0.08 and 0.09: too near to call, so more followed.
DENSE = {
    "CartPole-v1": replace(cartpole, name="cartpole", searches={}, seeds=120),
    "LunarLander-v3": replace(lunarlander.scaled(98_304), name="lunarlander", searches={}, seeds=60),
}


def scores(experiment: rt.Experiment, trainer: str, jobs: int | None, out: Path) -> np.ndarray:
    """Mean evaluation return of each seed's final policy, shape (seeds,)."""
    command = "python scripts/cohort_vs_plain.py"
    named = replace(experiment, name=f"{experiment.name}_{trainer}", trainer=TRAINERS[trainer], command=command)
    rt.run(named, jobs=jobs, out=out)
    rows = sorted(read_csv(LevelRow, out / named.name), key=lambda row: row.seed)
    return np.array([row.mean_return for row in rows])


def main(jobs: int | None = None, out: Path = Path("results/cohort_vs_plain")) -> None:
    """Trains what is not trained yet, and writes a figure and a table.

    Args:
        jobs: worker processes; by default one for each core.
        out: folder of the results.
    """
    figure, axes = plt.subplots(1, len(DENSE), figsize=(9, 3.6))
    lines = [
        "| environment | trainer | seeds | IQM [95 %] | cohort - plain, mean [95 %] | paired t, p |",
        "|" + "---|" * 6,
    ]
    for axis, (environment, experiment) in zip(axes, DENSE.items(), strict=True):
        found = {trainer: scores(experiment, trainer, jobs, out) for trainer in TRAINERS}
        difference = stats.ttest_rel(found["cohort"], found["plain"])
        low, high = difference.confidence_interval()
        mean = float(np.mean(found["cohort"] - found["plain"]))
        for trainer, values in found.items():
            bounds = rt.interval(values)
            shared = f"{mean:.1f} [{low:.1f}, {high:.1f}] | {difference.pvalue:.2f}" if trainer == "cohort" else " | "
            iqm = f"{rt.iqm(values):.1f} [{bounds.low:.1f}, {bounds.high:.1f}]"
            lines.append(f"| {environment} | {trainer} | {len(values)} | {iqm} | {shared} |")
            axis.step(np.sort(values), np.arange(1, len(values) + 1) / len(values), where="post", label=trainer)
        axis.set(title=f"{environment}, {experiment.total_timesteps:,} steps", xlabel="return of the final policy")
    axes[0].set_ylabel("fraction of seeds at or below")
    axes[0].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(out / "returns.png", dpi=120)
    text = "# Cohort against plain SB3\n\nMade by `python scripts/cohort_vs_plain.py`.\n\n![Returns](returns.png)\n\n"
    write_whole(out / "report.md", (text + "\n".join(lines) + "\n").encode())
    print("\n".join(lines))


if __name__ == "__main__":
    tyro.cli(main)
