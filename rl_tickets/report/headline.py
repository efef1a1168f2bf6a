"""The verdict of an experiment in one sentence."""

from .summary import SearchSummary, Summary
from .wording import counted, listed, number, plain, sparsity


def headline(summary: Summary) -> str:
    """What was found, said no more strongly than the seeds allow."""
    dense, searches = summary.dense, summary.searches
    if summary.problem:
        return f"No verdict: {summary.problem}{_returns(summary)}."
    if not searches:
        seeds = counted(len(dense.scores), "seed")
        return f"Only dense agents were trained: they return {number(dense.returned)} over {seeds}."
    first = next((search for search in searches if search.described.control_of is None), searches[0])
    others = [search for search in searches if search is not first]
    tested = [level.comparison for level in first.levels if level.comparison is not None]
    if not tested or not tested[0].enough:
        return _too_few(summary, first)
    level = first.sparsest_level
    if level is None or level.comparison is None:
        densest = plain(first.levels[0].density)
        begin = f"{_spoken(first)} matches dense at no tested density, not even {densest},"
        paired = tested[0].seeds
    else:
        begin = f"{_spoken(first)} matches dense down to density {plain(level.density)} "
        last = ", the sparsest tested" if level is first.levels[-1] else ""
        begin += f"({sparsity(level.density)} sparse{last})"
        paired = level.comparison.seeds
    return f"{begin} over {counted(paired, 'seed')}{_beside(first, others)}."


def _too_few(summary: Summary, search: SearchSummary) -> str:
    level = search.levels[-1]
    paired = level.comparison.seeds if level.comparison else 0
    return (
        f"Too few seeds for a verdict ({paired} paired with dense): "
        f"at density {plain(level.density)}, the sparsest tested, {_spoken(search)} returns "
        f"{number(level.returned)} and dense {number(summary.dense.returned)}."
    )


def _beside(first: SearchSummary, others: list[SearchSummary]) -> str:
    """What the other searches and the controls reach, each against the first."""
    parts = []
    for other in others:
        comparison = other.levels[0].comparison
        if comparison is None or not comparison.enough:
            parts.append(f"{other.name} has too few seeds")
        elif other.sparsest is None:
            parts.append(f"{other.name} {'neither' if first.sparsest is None else 'at no tested density'}")
        else:
            parts.append(f"{other.name} {_how(first.sparsest, other.sparsest)} {plain(other.sparsest)}")
    return f"; {listed(parts)}" if parts else ""


def _how(first: float | None, other: float) -> str:
    if first is None:
        return "down to"
    if abs(first - other) < 0.02 * first:
        return "also down to"
    return "only down to" if other > first else "even down to"


def _returns(summary: Summary) -> str:
    said = f"dense {number(summary.dense.returned)}"
    if summary.random_return is not None:
        said += f", random {number(summary.random_return)}"
    return f" (mean return: {said})"


def _spoken(search: SearchSummary) -> str:
    plan = search.described.plan
    return f"{plan} ({search.name})" if plan else search.name
