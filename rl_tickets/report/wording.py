"""Numbers as people read them, one way in every table, plot and sentence."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Protocol


class Span(Protocol):
    """Anything with two ends, such as an interval of confidence."""

    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def plain(density: float, digits: int = 3) -> str:
    """A density to so many significant digits, never as a power of ten: 0.168, 0.0042, 1."""
    rounded = float(f"{density:.{digits}g}")
    decimals = max(0, digits - 1 - math.floor(math.log10(rounded))) if rounded > 0 else 0
    text = f"{rounded:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def sparsity(density: float) -> str:
    """How many of the weights are gone: 83 %, and near the end 99.6 %."""
    decimals = max(0, math.ceil(-math.log10(density)) - 2) if density > 0 else 0
    return f"{100 * (1 - density):.{decimals}f} %"


def number(value: float) -> str:
    """A return with as many decimals as its size deserves."""
    if not math.isfinite(value):
        return str(value)
    decimals = 1 if abs(value) >= 100 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{decimals}f}"


def spanned(value: float, span: Span | None) -> str:
    """A return with its interval, or alone where too few seeds give none."""
    return number(value) if span is None else f"{number(value)} [{number(span.low)}, {number(span.high)}]"


def ratio(value: float | None) -> str:
    """A normalised score or probability with two decimals, a dash where there is none."""
    return "–" if value is None else f"{value:.2f}"


def signed(value: float | None) -> str:
    """A difference of normalised scores, fine enough to hold against the margin."""
    return "–" if value is None else f"{value:+.3f}"


def by_density(columns: Sequence[Sequence[tuple[float, str]]]) -> list[tuple[str, ...]]:
    """Rows of a table, from dense to sparse: the density, then a cell of each column, or a dash.

    A column that tells twice of one density, where pruning stalled, has two rows.

    >>> by_density([[(0.5, "a"), (0.25, "b"), (0.25, "c")], [(0.25, "d")]])
    [('0.5', 'a', '–'), ('0.25', 'b', 'd'), ('0.25', 'c', '–')]
    """
    cells: list[dict[tuple[str, int], str]] = []
    for column in columns:
        times = Counter[str]()
        cells.append({})
        for density, text in column:
            name = plain(density)
            cells[-1][name, times[name]] = text
            times[name] += 1
    rows = sorted({key for column in cells for key in column}, key=lambda key: (-float(key[0]), key[1]))
    return [(key[0], *(column.get(key, "–") for column in cells)) for key in rows]


def listed(parts: list[str]) -> str:
    """Parts of a sentence: a, b and c."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def shortened(text: str, most: int) -> str:
    """So many characters at most, safe inside a code span of Markdown.

    >>> shortened("a sentence that goes on and on", 10)
    'a sentence…'
    """
    text = text.replace("`", "'")
    return text if len(text) <= most else text[:most].rstrip() + "…"


def counted(count: int, noun: str) -> str:
    """1 seed, 2 seeds."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def p_value(value: float) -> str:
    """A p value with its sign of relation: p < 0.001, p = 0.03.

    >>> p_value(0.0312), p_value(1e-9), p_value(0.4)
    ('p = 0.031', 'p < 0.001', 'p = 0.40')
    """
    found = p_cell(value)
    return f"p {found}" if found.startswith("<") else f"p = {found}"


def p_cell(value: float) -> str:
    """The same under a column's heading.

    >>> p_cell(0.0312), p_cell(1e-9), p_cell(0.4)
    ('0.031', '< 0.001', '0.40')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def percent(share: float) -> str:
    """A share of runs or trials: 5 %.

    >>> percent(0.05)
    '5 %'
    """
    return f"{100 * share:.0f} %"


def between(value: float, span: Span) -> str:
    """A difference of normalised scores with its interval, fine enough to show on which side of 0 it ends.

    Without ends where one seed leaves no spread.
    """
    if not math.isfinite(span.low):
        return signed(value)
    return f"{signed(value)} [{signed(span.low)}, {signed(span.high)}]"


def ranged(counts: list[int]) -> str:
    """How many, where it may differ: 13, or 3 to 13."""
    return str(counts[0]) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
