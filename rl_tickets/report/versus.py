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

    P(A > B) is the probability that a run of A scores better than one of B, their seeds taken as independent. Where all
    policies of both were also played as they were trained, with sampled actions, the same follows for that.
    Raises ValueError where a folder cannot be normalised or the two hold nothing in common.
    """
    first, second = Summary.read(a), Summary.read(b)
    greedy = _compared(first, second)
    if len(greedy) < 2:
        raise ValueError(
            f"{a} and {b} share no search and level besides dense: compare folders with a search in common."
        )
    legend = "IQM of normalised returns (0: random policy, 1: dense), each by its own folder; seeds independent."
    parts = [f"A = {a}\nB = {b}", _aligned([HEADS, *greedy]), legend, *_as_trained(first.sampled, second.sampled)]
    return "\n\n".join(parts) + "\n"


def _as_trained(first: Summary | None, second: Summary | None) -> list[str]:
    """The same of policies played as they were trained, where both folders have that."""
    if first is None and second is None:
        return []
    for name, summary in (("A", first), ("B", second)):
        if summary is None:
            return [f"Not compared as trained, with sampled actions: {name}'s policies were played greedily only."]
        if summary.problem:
            return [f"Not compared as trained, with sampled actions: in {name} {summary.problem}."]
    assert first is not None
    assert second is not None
    return ["Played as trained, with sampled actions:", _aligned([HEADS, *_compared(first, second)])]


def _compared(first: Summary, second: Summary) -> list[tuple[str, ...]]:
    """A line for each search and level that both hold."""
    ours, theirs = _levels(first), _levels(second)
    return [_line(one, theirs[key]) for key, one in ours.items() if key in theirs]


def _line(one: LevelSummary, other: LevelSummary) -> tuple[str, ...]:
    scores = [list(each.normalised_scores.values()) for each in (one, other)]
    return (
        one.search,
        str(one.level),
        plain(one.density),
        plain(other.density),
        _spanned(one),
        _spanned(other),
        "/".join(str(len(each)) for each in scores),
        ratio(float(probability_of_improvement(*scores))),
    )


def _levels(summary: Summary) -> dict[tuple[str, int], LevelSummary]:
    """By search and level."""
    if summary.problem:
        raise ValueError(f"{summary.folder} cannot be compared, for {summary.problem}.")
    return {(level.search, level.level): level for level in summary.levels}


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
