"""How long experiments took, as their reports tell."""

from collections.abc import Iterable

import rl_tickets as rt
from rl_tickets.report.tables import read_timings


def took(summaries: Iterable[rt.Summary]) -> str:
    """A sentence: training and evaluating in all processes together."""
    seconds = sum(row.seconds for summary in summaries for row in read_timings(summary.folder))
    return f"Training and evaluation took {seconds / 60:.0f} minutes of one process in all."
