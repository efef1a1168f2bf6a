"""Agents trained in cohorts and by plain SB3: step by step in double precision, and the returns of many seeds."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import tyro

import rl_tickets as rt
from measures.lockstep import lockstep
from rl_tickets.lab.command_line import called_script
from rl_tickets.lab.threads import one_thread
from rl_tickets.report.looks import save
from rl_tickets.report.markdown_table import markdown_table
from rl_tickets.report.tables import read_levels
from rl_tickets.tickets.archive import write_whole

TRAINERS = {"cohort": rt.Cohorts(), "plain": rt.Plain()}
RETURNS = (
    "environment",
    "seeds",
    "cohort, IQM [95 %]",
    "plain, IQM [95 %]",
    "cohort - plain, mean [95 %]",
    "paired t, p",
)
PIECES = ("environment", "pieces", "moved", "difference, median", "difference, largest")


@dataclass(frozen=True)
class Comparison:
    """What is trained both ways.

    Args:
        name: of it.
        experiment: without searches.
        seeds: compared apart from each other.
        piece: environment steps that are compared in double precision.
    """

    name: str
    experiment: rt.Experiment
    seeds: tuple[range, ...]
    piece: int


def study(comparisons: Sequence[Comparison], folder: str, title: str) -> None:
    """The command line of a script.

    Args:
        comparisons: of which each has a panel and rows of its own.
        folder: of the results, below results/.
        title: of the report.
    """

    def both_ways(jobs: int | None = None, out: Path = Path("results") / folder) -> None:
        """Trains what is not trained yet, and writes a figure and two tables.

        Args:
            jobs: worker processes; by default one for each core.
            out: folder of the results.
        """
        command = f"python {called_script()}"
        figure, axes = plt.subplots(1, len(comparisons), figsize=(4.5 * len(comparisons), 3.6))
        rows = []
        for axis, comparison in zip(axes, comparisons, strict=True):
            experiment = replace(comparison.experiment, command=command)
            found = {trainer: scores(experiment, trainer, jobs, out) for trainer in TRAINERS}
            rows += [returns_row(comparison.name, seeds, **found) for seeds in comparison.seeds]
            for trainer, values in found.items():
                axis.step(np.sort(values), np.arange(1, len(values) + 1) / len(values), where="post", label=trainer)
            told = f"{comparison.name}, {experiment.total_timesteps:,} steps, {experiment.seeds} seeds"
            axis.set(title=told, xlabel="return of the final policy")
        axes[0].set_ylabel("fraction of seeds at or below")
        axes[0].legend(frameon=False)
        figure.tight_layout()
        save(figure, out / "returns.png")
        with one_thread():
            pieces = [pieces_row(comparison) for comparison in comparisons]
        text = "\n".join(report(title, command, rows, pieces)) + "\n"
        write_whole(out / "report.md", text.encode())
        print(text)

    tyro.cli(both_ways)


def scores(experiment: rt.Experiment, trainer: str, jobs: int | None, out: Path) -> np.ndarray:
    """Mean evaluation return of each seed's final policy, shape (seeds,)."""
    named = replace(experiment, name=f"{experiment.name}_{trainer}", trainer=TRAINERS[trainer])
    rt.run(named, jobs=jobs, out=out)
    rows = sorted(read_levels(out / named.name), key=lambda row: row.run)
    return np.array([row.mean_return for row in rows])


def returns_row(name: str, seeds: range, cohort: np.ndarray, plain: np.ndarray) -> tuple[str, ...]:
    """One line of the table of returns."""
    cohort, plain = cohort[seeds], plain[seeds]
    found = rt.contrast(cohort, plain)
    iqms = [f"{rt.iqm(x):.1f} [{(i := rt.interval(x)).low:.1f}, {i.high:.1f}]" for x in (cohort, plain)]
    difference = f"{found.difference:.1f} [{found.interval.low:.1f}, {found.interval.high:.1f}]"
    return name, f"{seeds[0]} to {seeds[-1]}", *iqms, difference, f"{found.p:.2f}"


def pieces_row(comparison: Comparison) -> tuple[str, ...]:
    """One line of the table of pieces in double precision."""
    experiment, piece = comparison.experiment, comparison.piece
    total = experiment.total_timesteps // piece * piece
    pieces = lockstep(experiment.make_model, total, piece)
    moved, differences = [each.moved for each in pieces], [each.difference for each in pieces]
    span = f"{min(moved):.1g} to {max(moved):.1g}"
    told = f"{np.median(differences):.0e}", f"{max(differences):.0e}"
    return comparison.name, f"{len(pieces)} of {piece:,} steps", span, *told


def report(title: str, command: str, rows: list[tuple[str, ...]], pieces: list[tuple[str, ...]]) -> Iterator[str]:
    """The lines of report.md."""
    yield f"# {title}\n\nMade by `{command}`.\n\n![Returns](returns.png)\n"
    yield "Returns of dense agents, paired by seed:\n"
    yield markdown_table(RETURNS, rows, words=range(len(RETURNS)))
    yield "\nIn double precision, every piece of one training run trained both ways from the same state: by how much"
    yield "training moved the weight that moved most, and the largest difference of a weight at the end:\n"
    yield markdown_table(PIECES, pieces, words=range(len(PIECES)))
