"""Rebuilds tables, plots and TensorBoard summaries of results folders from their CSV files alone."""

from pathlib import Path

import tyro
from rich.console import Console

from rl_tickets.lab.user_errors import complain
from rl_tickets.report import terminal_table, write_report


def report(folders: tyro.conf.Positional[tuple[Path, ...]] = (), /) -> None:
    """Writes report.md and the plots of each folder anew; by default of every folder in results/.

    Args:
        folders: results folders.
    """
    for folder in folders or sorted(path.parent for path in Path("results").glob("*/experiment.json")):
        try:
            summary = write_report(folder)
        except (ValueError, OSError) as error:
            complain(error)
        Console().print(terminal_table(summary))


if __name__ == "__main__":
    tyro.cli(report, description=__doc__)
