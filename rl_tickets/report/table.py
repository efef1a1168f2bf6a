"""The report's table for the terminal."""

from rich.table import Table
from rich.text import Text

from .headline import headline
from .markdown import cells
from .summary import Summary

HEADS = ("search", "density", "seeds", "return [95 %]", "normalised", "lower", "P(impr.)", "matches")
PLACES = (0, 1, 3, 4, 5, 7, 8, 9)
STYLES = {"yes": "green", "no": "red", "too few seeds": "yellow"}


def terminal_table(summary: Summary) -> Table:
    """Every search and level on a line, with the headline underneath."""
    table = Table(
        title=Text(summary.name, style="bold"),
        caption=Text(headline(summary)),
        title_justify="left",
        caption_justify="left",
    )
    for head in HEADS:
        table.add_column(head, justify="left" if head == "search" else "right", no_wrap=head != "normalised")
    for search in ([summary.dense], *(search.levels for search in summary.searches)):
        for level in search:
            row = cells(level)
            verdict = level.verdict
            shown = [Text(row[place]) for place in PLACES]
            shown[-1] = Text(verdict, style=STYLES.get(verdict, ""))
            table.add_row(*shown, end_section=level is search[-1])
    return table
