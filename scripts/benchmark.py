"""Speed and memory, as ratios of two things measured in turn in one run; run it on an otherwise idle machine."""

import csv
import io
import os
import tempfile
from pathlib import Path

import tyro
from measures.callbacks import callbacks
from measures.cohorts import cohorts, convolutions, simulator
from measures.deploying import deployed, exported_bytes, shrunk_training, trimmed_level
from measures.holding import holding, pruning_round
from measures.off_policy import off_policy, replay_memory
from measures.playing import playing
from measures.processes import cohort_jobs, long_search, memory, plain_jobs, short_search
from measures.rows import Row
from measures.scaling import memory_slope, scaling
from measures.together import rehearsal, together
from rich.console import Console
from rich.table import Table

from rl_tickets.lab.threads import one_thread
from rl_tickets.tickets.archive import write_whole

PARTS = {
    part.__name__: part
    for part in (
        holding,
        pruning_round,
        memory,
        plain_jobs,
        cohort_jobs,
        cohorts,
        convolutions,
        callbacks,
        together,
        rehearsal,
        playing,
        off_policy,
        replay_memory,
        simulator,
        short_search,
        long_search,
        scaling,
        memory_slope,
        shrunk_training,
        trimmed_level,
        deployed,
        exported_bytes,
    )
}


def main(parts: tuple[str, ...] = tuple(PARTS), pairs: int = 5, out: Path = Path("results/benchmark.csv")) -> None:
    """Prints the table and writes it; rows of parts that are not measured now stay in the file.

    Args:
        parts: what to measure.
        pairs: interleaved pairs of each ratio.
        out: CSV file.
    """
    if unknown := set(parts) - set(PARTS):
        raise SystemExit(f"there is no part {unknown.pop()!r}; choose from: {', '.join(PARTS)}")
    found = read(out)
    for part in parts:
        with one_thread(), tempfile.TemporaryDirectory() as cache:
            os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache  # An empty one: what compiling costs is a figure here.
            for row in PARTS[part](pairs):
                found[row.measured] = shown(row)
                write(found, out)
    table = Table("measured", "median", "min", "max", "goal")
    for cells in found.values():
        table.add_row(*cells)
    Console().print(table)


def shown(row: Row) -> list[str]:
    return [row.measured, f"{row.median:.3g}", f"{row.low:.3g}", f"{row.high:.3g}", row.goal]


def read(path: Path) -> dict[str, list[str]]:
    if not path.exists():
        return {}
    return {cells[0]: cells for cells in list(csv.reader(path.read_text().splitlines()))[1:]}


def write(found: dict[str, list[str]], out: Path) -> None:
    """After every row, so that a run that is stopped leaves the others."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["measured", "median", "min", "max", "goal"])
    writer.writerows(found.values())
    write_whole(out, text.getvalue().encode())


if __name__ == "__main__":
    tyro.cli(main)
