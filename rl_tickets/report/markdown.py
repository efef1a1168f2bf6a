"""report.md: the verdict, the numbers behind it, the plots, and the command that made them."""

from collections import Counter
from collections.abc import Sequence

from .headline import headline
from .judging import LevelSummary
from .summary import Summary
from .wording import counted, listed, number, plain, ratio, shortened, signed, spanned, sparsity

LONGEST_PROBLEM = 160
"""Characters of an error: what follows are often the numbers of one run, which tell nothing and differ everywhere."""

COLUMNS = (
    "search",
    "density",
    "sparsity",
    "seeds",
    "return: IQM [95 %]",
    "normalised [95 %]",
    "difference",
    "lower bound",
    "P(improvement)",
    "matches dense",
)


def markdown(summary: Summary, plots: Sequence[tuple[str, str]]) -> str:
    """The whole report; `plots` are (caption, file name), in order."""
    parts = [f"# {summary.name}", f"**{headline(summary)}**", _table(summary), _legend(summary)]
    described = [
        f"- `{search.name}`: {search.described.settings}" for search in summary.searches if search.described.settings
    ]
    if described:
        parts.append("\n".join(["Searches:", "", *described]))
    parts += [savings.sentence for savings in summary.savings]
    if notes(summary):
        parts.append("\n".join(["Notes:", "", *(f"- {note}" for note in notes(summary))]))
    parts += [f"![{caption}]({file})" for caption, file in plots]
    if summary.command:
        parts.append(f"Made by\n\n```\n{summary.command}\n```")
    return "\n\n".join(parts) + "\n"


def cells(level: LevelSummary) -> tuple[str, ...]:
    """One level as a row of text under COLUMNS."""
    comparison = level.comparison
    return (
        level.search,
        plain(level.density),
        sparsity(level.density),
        str(len(level.scores)),
        spanned(level.returned, level.returned_interval),
        _normalised(level),
        signed(comparison.difference if comparison else None),
        signed(comparison.lower if comparison and comparison.enough else None),
        ratio(comparison.probability_of_improvement if comparison else None),
        level.verdict,
    )


def notes(summary: Summary) -> list[str]:
    """What a reader must know before trusting the numbers: runs that diverged, layers that collapsed."""
    found = []
    for level in summary.levels:
        where = f"`{level.search}` at density {plain(level.density)}"
        if level.diverged:
            found.append(f"{where}: {counted(level.diverged, 'run')} diverged (a weight became NaN or infinite).")
        if level.unscored:
            how = "left out" if summary.random_return is None else "scored as a random policy"
            found.append(f"{where}: {counted(level.unscored, 'run')} without a finite return, {how}.")
        if level.collapsed:
            layers = [f"`{layer}` in {counted(runs, 'run')}" for layer, runs in level.collapsed.items()]
            found.append(f"{where}: pruning would have taken the last weight of {listed(layers)}.")
    return [*found, *_problems(summary)]


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


def _table(summary: Summary) -> str:
    lines = [COLUMNS, tuple("---" if index == 0 else "---:" for index in range(len(COLUMNS)))]
    lines += [cells(level) for level in summary.levels]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _legend(summary: Summary) -> str:
    scores = "the mean return of its final policy"
    if summary.episodes:
        scores += f" over {counted(summary.episodes, 'evaluation episode')}"
    text = f"The score of a run is {scores}; IQM is the interquartile mean over training seeds."
    if summary.problem:
        return f"{text} Nothing is normalised or judged: {summary.problem}."
    return (
        f"{text} Normalised: 0 is a random policy ({number(summary.random_return or 0.0)}), 1 is dense "
        f"({number(summary.dense.returned)}). Difference is normalised return less that of dense, paired by "
        f"seed, mean over seeds. A density matches where the one-sided 95 % lower bound of the difference is "
        f"above −{summary.margin:g}; densities are tested from dense downwards, and the testing stops at the "
        f"first that fails."
    )


def _normalised(level: LevelSummary) -> str:
    if level.normalised is None or level.normalised_interval is None:
        return ratio(level.normalised)
    span = level.normalised_interval
    return f"{level.normalised:.2f} [{span.low:.2f}, {span.high:.2f}]"
