"""Trainings that ended before their budget, as callbacks may end them, so that others were trained longer."""

from collections.abc import Iterator, Sequence
from statistics import mean

from rl_tickets.search.plan import DENSE

from .rows import LevelRow
from .wording import counted


def shortened(rows: Sequence[LevelRow], budget: int) -> Iterator[str]:
    """A sentence for each search.

    Args:
        rows: of all runs that are judged and did not diverge.
        budget: environment steps of a dense run; some searches give their tickets less, all of them the same.
    """
    for label in dict.fromkeys(row.run.label for row in rows):
        own = [row for row in rows if row.run.label == label]
        whole = budget if label == DENSE else max(row.start + row.timesteps for row in own)
        steps = [row.timesteps for row in own if row.start + row.timesteps < whole]
        if steps:
            yield (
                f"`{label}`: {len(steps)} of {counted(len(own), 'run')} ended before the budget, after "
                f"{mean(steps):,.0f} environment steps on average: what is compared was not trained equally long."
            )
