"""A table of Markdown, in every report and page alike."""

from collections.abc import Collection, Iterable, Sequence


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, words: Collection[int] = (0,)) -> str:
    """Heads, and a row of cells below them for each row.

    Args:
        heads: of the columns.
        rows: cells, as many as heads.
        words: columns that hold words, which begin at the left; negative ones count from the last. Numbers end at the
            right.

    Raises:
        ValueError: a row that has more or fewer cells.

    Example:
        >>> print(markdown_table(("search", "density"), [("imp", "0.5")]))
        | search | density |
        | --- | ---: |
        | imp | 0.5 |
    """
    left = {column % len(heads) for column in words}
    rule = tuple("---" if column in left else "---:" for column in range(len(heads)))
    lines = [_line(heads), f"| {' | '.join(rule)} |"]
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f"a row of {len(row)} cells, {tuple(row)}, below {len(heads)} heads, {tuple(heads)}")
        lines.append(_line(row))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
