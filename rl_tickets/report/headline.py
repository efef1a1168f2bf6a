"""What an experiment found, in two sentences: contrasts first, then the verdicts against dense."""

from collections.abc import Sequence

from .contrasts import Beside
from .judging import LevelSummary
from .shown import is_shown
from .summary import SearchSummary, Summary
from .wording import between, counted, listed, number, p_value, percent, plain, ranged


def headline(summary: Summary) -> str:
    """What was found, said no more strongly than the seeds allow."""
    dense, first = summary.dense, summary.first
    if summary.problem:
        return f"No verdict: {summary.problem}{_returns(summary)}."
    if first is None:
        return f"Only dense agents were trained: they return {number(dense.returned)} over {_seeds(dense)}."
    against = _against_dense(summary, first)
    shown = _beside(summary, first)
    if not shown:
        return f"{_spoken(first)} {against}.{_doubt(summary)}"
    return f"{_contrasted(first, shown)}. Against dense it {against}.{_doubt(summary)}"


def while_training(summary: Summary) -> str:
    """How fast the first search learns beside its controls, in one sentence; empty where that is not known."""
    training = summary.training
    if training is None or training.problem or training.first is None:
        return ""
    shown = _beside(training, training.first)
    return f"While training, {_contrasted(training.first, shown)}." if shown else ""


def _beside(summary: Summary, first: SearchSummary) -> list[Beside]:
    """The search's controls; where it has none, the other searches."""
    own = [each for each in summary.contrasts if each.search == first.name]
    return [each for each in own if each.control] or own


def _contrasted(first: SearchSummary, beside: Sequence[Beside]) -> str:
    """The search less what stands beside it: what is shown, what is not, and of what there are too few seeds."""
    found = [each for each in beside if each.mean.enough]
    few = [
        f"{each.other} ({between(each.mean.difference, each.mean.interval)})" for each in beside if not each.mean.enough
    ]
    if not found:
        seeds = ranged(sorted(each.mean.seeds for each in beside))
        return f"Too few seeds ({seeds}) to set {_spoken(first)} apart from {listed(few)}"
    shown = [each for each in found if is_shown(each.mean, each.p)]
    parts = []
    for more, word in ((True, "more"), (False, "less")):
        group = [each for each in shown if (each.mean.difference > 0) == more]
        if group:
            parts.append(f"returns {listed([_difference(each, word) for each in group])}")
    rest = [each for each in found if not is_shown(each.mean, each.p)]
    if rest:
        named = [
            f"{each.other} ({between(each.mean.difference, each.mean.interval)}, {p_value(each.p)})" for each in rest
        ]
        parts.append(f"is not shown to differ from {listed(named)}")
    densities = ranged(sorted(len(each.levels) for each in found))
    how = f"mean over {densities} densities, " if densities != "1" else ""
    seeds = ranged(sorted(each.mean.seeds for each in found))
    adjusted = ", p adjusted for all" if found[0].family > 1 else ""
    wanting = f"; too few seeds to set it apart from {listed(few)}" if few else ""
    return f"{_spoken(first)} {listed(parts)} (normalised return, {how}{seeds} seeds paired{adjusted}){wanting}"


def _difference(each: Beside, word: str) -> str:
    sign = 1 if each.mean.difference > 0 else -1
    ends = sorted((sign * each.mean.interval.low, sign * each.mean.interval.high))
    span = f"[{ends[0]:.2f}, {ends[1]:.2f}]"
    return f"{abs(each.mean.difference):.2f} {span} {word} than {each.other} ({p_value(each.p)})"


def _against_dense(summary: Summary, first: SearchSummary) -> str:
    """At which densities it matches, or what is wanting."""
    where = [level.density for level in first.matching]
    asked = [level for level in first.levels if level.comparison]
    if not asked:
        return "was not compared"
    if where:
        every = len(where) == len(asked) > 1
        at = f"every tested density, {listed([plain(density) for density in where])}" if every else _at(where)
        runs = f"{_seeds(asked[0])} against {counted(len(summary.dense.scores), 'dense run')}"
        return f"matches at {at} ({runs})"
    typical = [level.density for level in asked if level.typical]
    said = [f"is typical at {_at(typical)}"] if typical else []
    undecided = [level for level in asked if level.matches is None]
    if undecided:
        densities = [level.density for level in undecided]
        there = "there" if densities == typical else f"at {_at(densities)}"
        at = "" if len(undecided) == len(asked) else f" {there}"
        shortage = next(level.comparison.shortage for level in undecided if level.comparison)
        said.append(f"has too few seeds for a match{at} ({shortage})")
        return listed([*said, "matches at no other"] if at else said)
    one = "one" if len(asked) > 1 else "it"
    missed = percent(1 - (summary.power.matches if summary.power else 0.0))
    said.append(f"matches at no tested density, where an agent exactly as good at {one} is missed in up to {missed}")
    return listed(said)


def _at(densities: list[float]) -> str:
    return f"{'density' if len(densities) == 1 else 'densities'} {listed([plain(density) for density in densities])}"


def _seeds(level: LevelSummary) -> str:
    return counted(len(level.scores), "seed")


def _doubt(summary: Summary) -> str:
    return f" Normalised returns mean little here: {summary.judge.doubt}." if summary.judge.doubt else ""


def _returns(summary: Summary) -> str:
    said = f"dense {number(summary.dense.returned)}"
    if summary.random_return is not None:
        said += f", random {number(summary.random_return)}"
    return f" (mean return: {said})"


def _spoken(search: SearchSummary) -> str:
    plan = search.described.plan
    return f"{plan} ({search.name})" if plan else search.name
