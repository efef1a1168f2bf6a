"""What a reader must know before trusting the numbers: runs that diverged or ended early, layers that collapsed."""

from collections import Counter

from .judging import LevelSummary
from .summary import Summary
from .wording import counted, listed, plain, shortened

LONGEST_PROBLEM = 160
"""Characters of an error: what follows are often the numbers of one run, which tell nothing and differ everywhere."""


def notes(summary: Summary) -> list[str]:
    """Sentences, none where all went well."""
    found = []
    for level in summary.levels:
        where = f"`{level.search}` at density {plain(level.density)}"
        if level.diverged:
            found.append(f"{where}: {counted(level.diverged, 'run')} diverged (a weight became NaN or infinite).")
        if level.unscored:
            how = "left out" if summary.random_return is None else "scored as a random policy"
            found.append(f"{where}: {counted(level.unscored, 'run')} without a finite return, {how}.")
    return [*found, *summary.ended_early, *summary.sizes, *_collapses(summary), *_problems(summary)]


def _collapses(summary: Summary) -> list[str]:
    """Each layer once, with the searches that would have emptied it, from which density on and in how many runs.

    Not with the controls, which take their tickets as they are.
    """
    emptied: dict[str, dict[str, list[tuple[LevelSummary, int]]]] = {}
    proper = [search for search in summary.searches if search.described.control_of is None]
    for level in [summary.dense, *(level for search in proper for level in search.levels)]:
        for layer, runs in level.collapsed.items():
            emptied.setdefault(layer, {}).setdefault(level.search, []).append((level, runs))
    return [
        f"Pruning would have taken the last weight of `{layer}` in {listed(list(map(_collapse, searches.values())))}."
        for layer, searches in emptied.items()
    ]


def _collapse(found: list[tuple[LevelSummary, int]]) -> str:
    level, runs = found[0]
    if len(found) == 1:
        return f"`{level.search}` (at density {plain(level.density)}: {counted(runs, 'run')})"
    most = max(runs for _, runs in found)
    return f"`{level.search}` (from density {plain(level.density)} on: {counted(most, 'run')} of a density at most)"


def _problems(summary: Summary) -> list[str]:
    """What trainings raised once weights were no longer finite: each said once, with the runs that said it."""
    said: dict[str, list[str]] = {}
    for level in summary.levels:
        short: Counter[str] = Counter()
        for problem, runs in level.problems.items():
            short[shortened(problem, LONGEST_PROBLEM)] += runs
        for problem, runs in short.items():
            where = f"`{level.search}` at density {plain(level.density)} ({counted(runs, 'run')})"
            said.setdefault(problem, []).append(where)
    return [f"Training ended with `{problem}` in {listed(where)}." for problem, where in said.items()]
