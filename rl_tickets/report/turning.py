"""Whether conclusions turn around where policies are played as they were trained, actions sampled, not greedily."""

from collections.abc import Callable, Sequence

from .contrasts import Beside
from .judging import LevelSummary
from .shown import is_shown
from .summary import Summary
from .wording import between, listed, p_value, plain

VERDICTS: dict[str, Callable[[LevelSummary], bool | None]] = {
    "typical": lambda level: level.typical,
    "reliable": lambda level: level.comparison.reliable if level.comparison else None,
    "matching": lambda level: level.matches,
}


def turning(summary: Summary) -> str:
    """One sentence: which contrasts and verdicts turn around, or that none does; empty where nothing was sampled."""
    sampled = summary.sampled
    if sampled is None or summary.problem:
        return ""
    if sampled.problem:
        return f"Played as trained, with sampled actions, nothing can be concluded: {sampled.problem}."
    theirs = {(each.search, each.other): each for each in sampled.contrasts}
    found = [
        _contrast(each, other)
        for each in summary.contrasts
        if (other := theirs.get((each.search, each.other))) is not None and _shown(each) != _shown(other)
    ]
    for search, again in zip(summary.searches, sampled.searches, strict=True):
        for name, verdict in VERDICTS.items():
            found += _verdict(search.name, name, verdict, search.levels, again.levels)
    if not found:
        return (
            "No conclusion turns around, neither a contrast's nor a verdict, where policies are played as trained, "
            "with sampled actions, instead of greedily."
        )
    return f"Played as trained, with sampled actions, instead of greedily, conclusions turn around: {'; '.join(found)}."


def _shown(each: Beside) -> int:
    """What a contrast shows: 1 that the search returns more, -1 less, 0 neither."""
    if not is_shown(each.mean, each.p):
        return 0
    return 1 if each.mean.difference > 0 else -1


def _contrast(greedy: Beside, sampled: Beside) -> str:
    told = [
        f"{('is not shown to differ from', 'returns more than', 'returns less than')[_shown(each)]} it {way} "
        f"({between(each.mean.difference, each.mean.interval)}, {p_value(each.p)})"
        for each, way in ((greedy, "greedily"), (sampled, "as trained"))
    ]
    return f"beside {greedy.other}, {greedy.search} {listed(told)}"


def _verdict(
    search: str,
    name: str,
    verdict: Callable[[LevelSummary], bool | None],
    greedy: Sequence[LevelSummary],
    sampled: Sequence[LevelSummary],
) -> list[str]:
    """At which densities a verdict holds in one way of playing only."""
    parts = []
    for ours, theirs, way in ((greedy, sampled, "greedily"), (sampled, greedy, "as trained")):
        only = [one.density for one, two in zip(ours, theirs, strict=True) if verdict(one) and verdict(two) is False]
        if only:
            at = f"{'density' if len(only) == 1 else 'densities'} {listed([plain(each) for each in only])}"
            parts.append(f"only {way} at {at}")
    return [f"{search} is {name} {listed(parts)}"] if parts else []
