"""Rebuilds reports and TensorBoard summaries of results folders from their CSV files alone, and results/README.md."""

from pathlib import Path

import tyro
from rich.console import Console

from rl_tickets.lab.user_errors import complain
from rl_tickets.report import terminal_table, write_index, write_report

RESULTS = Path("results")


def report(folders: tyro.conf.Positional[tuple[Path, ...]] = (), /) -> None:
    """Writes report.md and the plots of each folder anew; by default of every folder in results/, and its README.md.

    Args:
        folders: results folders.
    """
    try:
        for folder in folders or sorted(path.parent for path in RESULTS.glob("*/experiment.json")):
            Console().print(terminal_table(write_report(folder)))
        if not folders:
            write_index(RESULTS)
    except (ValueError, OSError) as error:
        complain(error)


if __name__ == "__main__":
    tyro.cli(report, description=__doc__)
