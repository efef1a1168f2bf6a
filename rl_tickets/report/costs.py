"""What a policy costs in all: the environment steps that its ticket took to find, and its own training's."""

from rl_tickets.search.plan import DENSE

from .judging import TOO_FEW, LevelSummary
from .summary import SearchSummary, Summary
from .wording import by_density, listed, plain

COSTS = (
    "Environment steps that a policy of each search costs in all, mean over seeds: its own training, and before that "
    "all levels that led to its ticket, the dense one included, or the steps of data that a criterion looked at."
)


def costed(summary: Summary) -> list[SearchSummary]:
    """The searches of which it is known; no controls, whose tickets others found."""
    return [
        search
        for search in summary.searches
        if search.described.control_of is None and all(level.cost is not None for level in search.levels)
    ]


def cost_rows(searches: list[SearchSummary]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heads, and a row for each density, of a table with a column for each search."""
    columns = [[(level.density, _steps(level)) for level in search.levels] for search in searches]
    return ("density", *(search.name for search in searches)), by_density(columns)


def cheapest(summary: Summary, searches: list[SearchSummary]) -> str:
    """Of every search the sparsest density that is typical, and what it costs; empty where nothing is judged."""
    if summary.problem:
        return ""
    told = []
    for search in searches:
        level = search.sparsest_typical
        where = "at none" if level is None else f"at {plain(level.density)} for {_steps(level)} environment steps"
        undecided = any(each.comparison and each.comparison.typical is None for each in search.levels)
        told.append(f"`{search.name}` {TOO_FEW if level is None and undecided else where}")
    dense = _steps(summary.dense) if summary.dense.cost is not None else ""
    beside = f"; `{DENSE}` takes {dense}" if dense else ""
    return f"Sparsest density at which a search is typical: {listed(told)}{beside}."


def _steps(level: LevelSummary) -> str:
    return "–" if level.cost is None else f"{level.cost:,.0f}"
