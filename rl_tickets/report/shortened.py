"""Trainings that ended before their budget, as callbacks may end them, so that others were trained longer."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

from .rows import Run
from .wording import counted


def shortened(stopped: Mapping[Run, int], runs: Sequence[Run]) -> Iterator[str]:
    """A sentence for each search.

    Args:
        stopped: environment steps of the runs that ended early.
        runs: all that are judged.
    """
    many = Counter(run.label for run in runs)
    for label in dict.fromkeys(run.label for run in runs):
        steps = [stopped[run] for run in runs if run.label == label and run in stopped]
        if steps:
            yield (
                f"`{label}`: {len(steps)} of {counted(many[label], 'run')} ended before the budget, after "
                f"{mean(steps):,.0f} environment steps on average: what is compared was not trained equally long."
            )
