"""The report's table for the terminal."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .headline import headline, while_training
from .judging import TOO_FEW
from .markdown import cells
from .summary import Summary

HEADS = ("search", "density", "return [95 %]", "failed", "typical", "reliable", "matches")
STYLES = {"yes": "green", "no": "red", "few": "yellow"}


def terminal_table(summary: Summary) -> Table:
    """Every search and level on a line, 80 columns wide, with the headline underneath; the rest is in report.md."""
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=0,
        show_edge=False,
        title=Text(summary.name, style="bold"),
        caption=Text("\n".join(filter(None, (headline(summary), while_training(summary))))),
        title_justify="left",
        caption_justify="left",
    )
    for head in HEADS:
        table.add_column(head, justify="left" if head == "search" else "right", no_wrap=True)
    for search in ([summary.dense], *(search.levels for search in summary.searches)):
        for level in search:
            row = cells(level)
            failed = str(len(level.scores)) if level.failed is None else f"{level.failed}/{len(level.scores)}"
            verdicts = ["few" if verdict == TOO_FEW else verdict for verdict in level.verdicts]
            shown = (row[0], row[1], row[4], failed, *verdicts)
            table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in shown), end_section=level is search[-1])
    return table
