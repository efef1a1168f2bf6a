"""Trainings that ended before their budget, as callbacks may end them, so that others were trained longer."""

from collections.abc import Iterator, Sequence
from statistics import mean

from rl_tickets.search.plan import DENSE

from .rows import LevelRow
from .wording import counted


def ended_early(rows: Sequence[LevelRow], budget: int) -> Iterator[str]:
    """A sentence for each search.

    Args:
        rows: of all runs that are judged and did not diverge.
        budget: environment steps of a dense run; what a search gives all tickets of a level may be less.
    """
    for label in dict.fromkeys(row.run.label for row in rows):
        own = [row for row in rows if row.run.label == label]
        most: dict[int, int] = {}
        for row in own:
            most[row.run.level] = budget if label == DENSE else max(most.get(row.run.level, 0), _end(row))
        steps = [row.timesteps for row in own if _end(row) < min(budget, most[row.run.level])]
        if steps:
            yield (
                f"`{label}`: {len(steps)} of {counted(len(own), 'run')} ended before the budget, after "
                f"{mean(steps):,.0f} environment steps on average: what is compared was not trained equally long."
            )


def _end(row: LevelRow) -> int:
    return row.start + row.timesteps
