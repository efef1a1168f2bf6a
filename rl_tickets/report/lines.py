"""A CSV file as lines of text: what a table is before anyone asks what its cells mean."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

LONGEST_CELL = 2**31 - 1


class Line(NamedTuple):
    """One line of a table, and where in its file it ends, for messages."""

    number: int
    cells: dict[str, str]


def read_lines(path: Path) -> tuple[list[str], list[Line]]:
    """The header and all lines below it; nothing where the file is missing.

    Raises:
        ValueError: it is no CSV file, or a line has other cells than its header.
    """
    if not path.exists():
        return [], []
    limit = csv.field_size_limit(LONGEST_CELL)  # A cell holds a whole column.
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.reader(file)
            header = next(reader, [])
            return header, [_line(path, reader.line_num, header, cells) for cells in reader]
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ValueError(f"{path} cannot be read as CSV ({error})") from error
    finally:
        csv.field_size_limit(limit)


def _line(path: Path, number: int, header: Sequence[str], cells: Sequence[str]) -> Line:
    with telling(path, number):
        return Line(number, dict(zip(header, cells, strict=True)))


@contextmanager
def telling(path: Path, number: int) -> Iterator[None]:
    """Names file and line where a cell is missing or cannot be read."""
    try:
        yield
    except (KeyError, ValueError) as error:
        what = f"no column {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path}, line {number}: not a row of {path.stem} ({what})") from error


def csv_text(lines: Iterable[Sequence[str]]) -> str:
    """Lines of cells as the text of a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
