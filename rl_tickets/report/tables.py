"""The CSV files of a results folder: rows are appended while it trains, sorted when it is done, and read."""

from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from rl_tickets.tickets.archive import write_whole

from .lines import Line, csv_text, read_lines, telling
from .old_lines import is_old, renewed
from .rows import RUN_COLUMNS, LayerRow, LevelRow, Row, Run, Series, TimingRow, header_of

Read = TypeVar("Read")


def path_of(folder: Path, table: str) -> Path:
    """The file a table lives in."""
    return folder / f"{table}.csv"


def tables(folder: Path) -> tuple[str, ...]:
    """Names of all tables in a folder; other people's CSV files are not among them."""
    start = f"{','.join(RUN_COLUMNS[:2])},".encode()
    return tuple(sorted(path.stem for path in folder.glob("*.csv") if _starts_with(path, start)))


def _starts_with(path: Path, start: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(start)) == start


# Reading ------------------------------------------------------------------------------------------------------------


def read_levels(folder: Path) -> list[LevelRow]:
    """One row for each run; like the other tables, none where the file is missing.

    Raises:
        ValueError: a line cannot be read; file and line are named.
    """
    return _read(folder, LevelRow.table, LevelRow.of)


def read_timings(folder: Path) -> list[TimingRow]:
    """What each run took."""
    return _read(folder, TimingRow.table, TimingRow.of)


def read_layers(folder: Path) -> list[LayerRow]:
    """What each run kept, layer by layer."""
    return _read(folder, LayerRow.table, LayerRow.of)


def read_series(folder: Path, table: str) -> list[Series]:
    """What each run left in a table of columns, such as "returns", "curves" or "distances"."""
    return _read(folder, table, partial(Series.of, table))


def _read(folder: Path, table: str, make: Callable[[dict[str, str]], Read]) -> list[Read]:
    path = path_of(folder, table)
    rows = []
    for line in _lines(path)[1]:
        with telling(path, line.number):
            rows.append(make(line.cells))
    return rows


def _lines(path: Path) -> tuple[list[str], list[Line]]:
    """Header and lines as they are written today, whenever they were."""
    header, lines = read_lines(path)
    if not is_old(header):
        return header, lines
    lines = renewed(path, lines)
    columns = header_of(path.stem)
    for line in lines:
        columns = _joined(columns, line.cells)
    return columns, lines


# Writing ------------------------------------------------------------------------------------------------------------


def append_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Adds rows to their tables, each of which appears whole or not at all; a series without numbers leaves no line.

    Older lines are not read again, unless the rows bring columns that their table does not have yet. levels.csv comes
    last: whatever stands there has all its other rows.
    """
    fresh: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        if not isinstance(row, Series) or len(row):
            fresh.setdefault(row.table, []).append(row.cells())
    for table in sorted(fresh, key=lambda table: (table == LevelRow.table, table)):
        _append(path_of(folder, table), fresh[table])


def _append(path: Path, fresh: Sequence[dict[str, str]]) -> None:
    content = path.read_bytes() if path.exists() else b""
    header = content.split(b"\n", 1)[0].decode().split(",") if content else []
    if content.endswith(b"\n") and all({*RUN_COLUMNS, *cells} <= {*header} for cells in fresh):
        added = csv_text([cells.get(column, "") for column in header] for cells in fresh)
        write_whole(path, content + added.encode())
        return
    header, lines = _lines(path)
    for cells in fresh:
        header = _joined(header, cells)
    _write(path, header, [*(line.cells for line in lines), *fresh])


def settle(folder: Path) -> None:
    """Brings every table into its final form, whatever the order its rows came in: sorted, with one line for each run.

    Of two lines of one run the later one stays. A table that is in this form already is not written again.

    Raises:
        ValueError: a line does not say which run it is about.
    """
    for table in tables(folder):
        path = path_of(folder, table)
        header, lines = _lines(path)
        runs: dict[Run, dict[str, str]] = {}
        for line in lines:
            with telling(path, line.number):
                runs[Run.of(line.cells)] = line.cells
        ordered = [cells for _, cells in sorted(runs.items())]
        used = (column for cells in ordered for column in header if cells.get(column))
        _write(path, list(dict.fromkeys((*header_of(table), *used))), ordered)


def drop_rows(folder: Path, runs: Collection[Run]) -> None:
    """Takes the lines of these runs out of every table."""
    for table in tables(folder) if runs else ():
        header, lines = _lines(path_of(folder, table))
        kept = [line.cells for line in lines if Run.of(line.cells) not in runs]
        if len(kept) < len(lines):
            _write(path_of(folder, table), header, kept)


def _write(path: Path, header: Sequence[str], lines: Iterable[dict[str, str]]) -> None:
    text = csv_text([header, *([cells.get(column, "") for column in header] for cells in lines)])
    if not path.exists() or path.read_bytes() != text.encode():
        write_whole(path, text.encode())


def _joined(header: Sequence[str], columns: Iterable[str]) -> list[str]:
    """All columns in one order that keeps both: a network's layers stay in order beside those of another."""
    joined = list(header)
    place = 0
    for column in columns:
        if column in joined:
            place = joined.index(column) + 1
        else:
            joined.insert(place, column)
            place += 1
    return joined
