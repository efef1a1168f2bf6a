"""How long experiments took: training and evaluating, in all processes together."""

import math
from collections.abc import Iterable
from pathlib import Path

from .tables import read_timings
from .wording import counted


def took(folders: Iterable[Path]) -> str:
    """A sentence about results folders; it is empty where none says how long its runs took.

    Never in report.md of an experiment: the same runs, killed or not, give the same bytes there.
    """
    seconds = sum(row.seconds for folder in folders for row in read_timings(folder))
    if not seconds:
        return ""
    return f"Training and evaluation took {counted(math.ceil(seconds / 60), 'minute')} of one process in all."
