"""The report's table for the terminal."""

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from .headline import headline
from .markdown import cells
from .summary import Summary

HEADS = ("search", "density", "seeds", "return [95 %]", "lower", "matches")
PLACES = (0, 1, 3, 4, 7, 9)
STYLES = {"yes": "green", "no": "red", "too few seeds": "yellow"}


def terminal_table(summary: Summary) -> Table:
    """Every search and level on a line, 80 columns wide, with the headline underneath; the rest is in report.md."""
    table = Table(
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=Text(summary.name, style="bold"),
        caption=Text(headline(summary)),
        title_justify="left",
        caption_justify="left",
    )
    for head in HEADS:
        table.add_column(head, justify="left" if head == "search" else "right", no_wrap=True)
    for search in ([summary.dense], *(search.levels for search in summary.searches)):
        for level in search:
            row = cells(level)
            verdict = level.verdict
            shown = [Text(row[place]) for place in PLACES]
            shown[-1] = Text(verdict, style=STYLES.get(verdict, ""))
            table.add_row(*shown, end_section=level is search[-1])
    return table
