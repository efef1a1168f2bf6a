"""report.md: the verdict, the numbers behind it, the plots, and the command that made them."""

import math
from collections.abc import Sequence

from rl_tickets.evaluation.failures import EXCESS

from . import effective, reading, speed
from .contrasts import Beside
from .costs import COSTS, cheapest, cost_rows, costed
from .explaining import AT_EACH, CONTRASTS, levels, power
from .headline import headline, while_training
from .judging import LevelSummary
from .markdown_table import markdown_table
from .notes import notes
from .shown import emphasised, p_or_few
from .summary import Summary
from .turning import turning
from .wording import (
    between,
    by_density,
    listed,
    p_cell,
    p_value,
    plain,
    ratio,
    signed,
    spanned,
    sparsity,
)

COLUMNS = (
    "search",
    "density",
    "sparsity",
    "seeds",
    "return: IQM [95 %]",
    "normalised [95 %]",
    "difference",
    "lower bound",
    "typical",
    "failed",
    "more than dense, at most",
    "reliable",
    "matches dense",
)
BESIDE = ("search", "less", "densities", "seeds", "difference [95 %]", "p", "p, Holm")


def markdown(summary: Summary, plots: Sequence[tuple[str, str]]) -> str:
    """The whole report; `plots` are (caption, file name), in order."""
    parts = [f"# {summary.name}", f"**{headline(summary)}**"]
    parts += [turned] if (turned := turning(summary)) else []
    parts += [sentence] if (sentence := while_training(summary)) else []
    found = summary.contrasts
    parts += [_contrasts(found, summary), CONTRASTS] if found else []
    parts += [_at_each(found), AT_EACH] if any(len(each.levels) > 1 for each in found) else []
    parts += _while_training(summary)
    parts += [_levels(summary), levels(summary)]
    parts += _effective(summary)
    parts += _readings(summary)
    parts += [power(summary)] if summary.power else []
    described = [
        f"- `{search.name}`: {search.described.settings}" for search in summary.searches if search.described.settings
    ]
    if described:
        parts.append("\n".join(["Searches:", "", *described]))
    if searches := costed(summary):
        parts += [markdown_table(*cost_rows(searches)), COSTS]
        parts += [sentence] if (sentence := cheapest(summary, searches)) else []
    parts += [savings.sentence for savings in summary.savings]
    if found_notes := notes(summary):
        parts.append("\n".join(["Notes:", "", *(f"- {note}" for note in found_notes)]))
    parts += [f"![{caption}]({file})" for caption, file in plots]
    if summary.command:
        parts.append(f"Made by\n\n```\n{summary.command}\n```")
    return "\n\n".join(parts) + "\n"


def cells(level: LevelSummary) -> tuple[str, ...]:
    """One level as a row of text under COLUMNS."""
    found = level.comparison
    typical, reliable, matches = level.verdicts
    if found and typical == "no" and found.lower > -found.margin:
        typical = f"no ({p_value(found.p_typical)})"
    if found and reliable == "no" and found.upper < EXCESS:
        reliable = f"no ({p_value(found.p_reliable)})"
    if found and matches == "no" and typical == reliable == "yes":
        matches = f"no ({p_value(found.p)})"
    return (
        level.search,
        plain(level.density),
        sparsity(level.density),
        str(len(level.scores)),
        spanned(level.returned, level.returned_interval),
        _normalised(level),
        signed(found.difference if found else None),
        signed(found.lower if found and math.isfinite(found.lower) else None),
        typical,
        "–" if level.failed is None else f"{level.failed} of {len(level.scores)}",
        f"{100 * found.upper:+.1f}" if found else "–",
        reliable,
        matches,
    )


def _while_training(summary: Summary) -> list[str]:
    """Contrasts of what was returned while training, where it is known."""
    if summary.training is None or not summary.training.contrasts:
        return []
    found, told = summary.training.contrasts, {search.name for search in summary.training.searches}
    tables = [markdown_table(BESIDE, [_beside(each) for each in found]), speed.MEANING]
    if missing := [f"`{search.name}`" for search in summary.searches if search.name not in told]:
        tables[-1] += f" Left out, since other steps were trained: {listed(missing)}."
    return [*tables, _at_each(found)] if any(len(each.levels) > 1 for each in found) else tables


def _effective(summary: Summary) -> list[str]:
    """What masks leave connected, where it is known."""
    rows = [each.effective.cells(each.search, each.density) for each in summary.levels if each.effective]
    return [markdown_table(effective.HEADS, rows), effective.MEANING] if rows else []


def _readings(summary: Summary) -> list[str]:
    """What tickets read of the observation, where it is known."""
    rows = [each.cells() for each in reading.sparsest(summary.readings)]
    return [markdown_table(reading.HEADS, rows), reading.MEANING] if rows else []


def _levels(summary: Summary) -> str:
    """A row for each search and level; returns of policies played as trained stand beside those played greedily."""
    rows = [cells(level) for level in summary.levels]
    if summary.sampled is None:
        return markdown_table(COLUMNS, rows)
    column = [spanned(level.returned, level.returned_interval) for level in summary.sampled.levels]
    at = COLUMNS.index("return: IQM [95 %]") + 1
    rows = [(*row[:at], cell, *row[at:]) for row, cell in zip(rows, column, strict=True)]
    return markdown_table((*COLUMNS[:at], "as trained: IQM [95 %]", *COLUMNS[at:]), rows)


def _contrasts(found: Sequence[Beside], summary: Summary) -> str:
    """Averages over all densities, a row for each that stands beside a search."""
    heads = (*BESIDE[:2], "sparsest typical", *BESIDE[2:])
    rows = []
    for each in found:
        one, other, *rest = _beside(each)
        rows.append((one, other, " / ".join(each.sparsest_typical), *rest))
    if summary.sampled is None or not summary.sampled.contrasts:
        return markdown_table(heads, rows)
    as_trained = {(each.search, each.other): _averaged(each) for each in summary.sampled.contrasts}
    columns = [as_trained.get((each.search, each.other), ("–", "–", "–")) for each in found]
    rows = [(*row, *column) for row, column in zip(rows, columns, strict=True)]
    return markdown_table((*heads, "as trained [95 %]", "p", "p, Holm"), rows)


def _beside(each: Beside) -> tuple[str, ...]:
    return each.search, each.other, str(len(each.levels)), str(each.mean.seeds), *_averaged(each)


def _averaged(each: Beside) -> tuple[str, str, str]:
    """Difference, p, and p adjusted."""
    alone = p_cell(each.mean.p) if each.mean.enough else "–"
    return between(each.mean.difference, each.mean.interval), alone, p_or_few(each.mean, each.p)


def _at_each(found: Sequence[Beside]) -> str:
    """A row for each density, a column for each pair of searches."""
    heads = ("density", *(f"{each.search} − {each.other}" for each in found))
    return markdown_table(
        heads, by_density([[(at.density, emphasised(at.contrast, at.p)) for at in each.levels] for each in found])
    )


def _normalised(level: LevelSummary) -> str:
    if level.normalised is None or level.normalised_interval is None:
        return ratio(level.normalised)
    span = level.normalised_interval
    return f"{level.normalised:.2f} [{span.low:.2f}, {span.high:.2f}]"
