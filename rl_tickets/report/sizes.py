"""Agents of another size than the experiment's: how wide they are, and how many weights they and the tickets have."""

from collections.abc import Mapping, Sequence

from .rows import Series
from .wording import listed


def sizes(rows: Sequence[Series]) -> list[str]:
    """A sentence for each search that trained such agents; `rows` are those of `sizes.csv`."""
    found: dict[str, dict[int, dict[str, None]]] = {}
    for row in sorted(rows, key=lambda row: row.run):
        told = found.setdefault(row.run.label, {}).setdefault(row.run.level, {})
        told[_size({name: int(values[0]) for name, values in row.columns.items()})] = None
    return [
        f"`{search}` trained dense agents of {listed([size for told in levels.values() for size in told])}."
        for search, levels in found.items()
    ]


def _size(size: Mapping[str, int]) -> str:
    ticket = f"{size['ticket_weights']:,} in the ticket"
    return f"width {size['width']:,} ({size['weights']:,} weights, {ticket})"
