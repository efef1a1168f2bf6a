"""Two experiments side by side."""

from collections.abc import Sequence
from pathlib import Path

from rl_tickets.evaluation.statistics import probability_of_improvement

from .judging import LevelSummary
from .summary import Summary
from .wording import plain, ratio

HEADS = (
    "search",
    "level",
    "density A",
    "density B",
    "A: IQM [95 %]",
    "B: IQM [95 %]",
    "seeds A/B",
    "P(A > B)",
)


def compare_folders(a: Path, b: Path) -> str:
    """A table of the searches and levels that both folders hold, each normalised by its own anchors.

    P(A > B) is the probability that a run of A scores better than one of B, their seeds taken as independent.
    Raises ValueError where a folder cannot be normalised or the two hold nothing in common.
    """
    first, second = _levels(a), _levels(b)
    shared = [key for key in first if key in second]
    if len(shared) < 2:
        raise ValueError(
            f"{a} and {b} share no search and level besides dense: compare folders with a search in common."
        )
    lines = [HEADS]
    for key in shared:
        (one, ours), (other, theirs) = first[key], second[key]
        chance = float(probability_of_improvement(ours, theirs))
        lines.append(
            (
                one.search,
                str(one.level),
                plain(one.density),
                plain(other.density),
                _spanned(one),
                _spanned(other),
                f"{len(ours)}/{len(theirs)}",
                ratio(chance),
            )
        )
    legend = "IQM of normalised returns (0: random policy, 1: dense), each by its own folder; seeds independent."
    return f"A = {a}\nB = {b}\n\n{_aligned(lines)}\n\n{legend}\n"


def _levels(folder: Path) -> dict[tuple[str, int], tuple[LevelSummary, list[float]]]:
    """Search and level -> its summary and normalised scores."""
    summary = Summary.read(folder)
    if summary.problem:
        raise ValueError(f"{folder} cannot be compared, for {summary.problem}.")
    return {(level.search, level.level): (level, list(level.normalised_scores.values())) for level in summary.levels}


def _spanned(level: LevelSummary) -> str:
    span = level.normalised_interval
    value = ratio(level.normalised)
    return value if span is None else f"{value} [{span.low:.2f}, {span.high:.2f}]"


def _aligned(lines: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = tuple("-" * width for width in widths)
    rows = [lines[0], rule, *lines[1:]]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
