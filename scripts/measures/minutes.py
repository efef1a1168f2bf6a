"""How long experiments took, as their reports tell."""

import math
from collections.abc import Iterable

import rl_tickets as rt
from rl_tickets.report.tables import read_timings
from rl_tickets.report.wording import counted


def took(summaries: Iterable[rt.Summary]) -> str:
    """A sentence: training and evaluating in all processes together."""
    seconds = sum(row.seconds for summary in summaries for row in read_timings(summary.folder))
    return f"Training and evaluation took {counted(math.ceil(seconds / 60), 'minute')} of one process in all."
