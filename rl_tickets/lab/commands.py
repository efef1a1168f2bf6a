"""The command line of the package itself: what is in a ticket, and how two experiments compare."""

import json
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from rl_tickets.lab.user_errors import complain
from rl_tickets.report import compare_folders
from rl_tickets.tickets.ticket import Ticket


def show(ticket: tyro.conf.Positional[Path], /) -> None:
    """Prints a ticket's layers, density and provenance.

    Args:
        ticket: a ticket file.
    """
    found = Ticket.load(ticket)
    table = Table(caption=f"density {found.density:.4g}, sparsity {1 - found.density:.4g}")
    for column in ("layer", "shape", "kept", "of", "density"):
        table.add_column(column, justify="left" if column in ("layer", "shape") else "right", overflow="fold")
    for name, count in found.mask.layers.items():
        shape = "x".join(map(str, found.mask[name].shape))
        table.add_row(name, shape, str(count.kept), str(count.total), f"{count.density:.4g}")
    console = Console()
    console.print(str(ticket), soft_wrap=True, markup=False)
    console.print(table)
    console.print("provenance", style="bold")
    console.print_json(json.dumps(found.provenance), indent=1)
    console.print(f"digest {found.digest}", soft_wrap=True)


def compare(a: tyro.conf.Positional[Path], b: tyro.conf.Positional[Path], /) -> None:
    """Compares two results folders, search by search and level by level.

    Args:
        a: a results folder.
        b: another results folder.
    """
    print(compare_folders(a, b))


def main(arguments: list[str] | None = None) -> None:
    """Runs `show` or `compare`; what a user can mend ends with one sentence and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"show": show, "compare": compare}, args=arguments, prog="python -m rl_tickets", description=__doc__
        )
    except (ValueError, OSError) as error:
        complain(error)
