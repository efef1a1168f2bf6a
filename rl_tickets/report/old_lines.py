"""Results folders of format 1, which held a line per episode, layer, point of a curve, and pair of masks."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from .lines import Line, telling
from .rows import LayerRow, LevelRow, Row, Run, Series

NEIGHBOURS = 4
Record = dict[str, float | str]


def is_old(header: Sequence[str]) -> bool:
    """Whether a table was written before runs had variants."""
    return bool(header) and "variant" not in header


def renewed(path: Path, lines: Sequence[Line]) -> list[Line]:
    """The lines of an old table as they are written today, one for each run."""
    if path.stem not in _MERGED:
        missing = {"variant": "", "problem": ""} if path.stem == LevelRow.table else {"variant": ""}
        return [Line(line.number, {**line.cells, **missing}) for line in lines]
    runs: dict[Run, list[Line]] = {}
    for line in lines:
        with telling(path, line.number):
            runs.setdefault(Run.of({"level": "0", "variant": "", **line.cells}), []).append(line)
    return [_merged(path, run, group) for run, group in runs.items()]


def _merged(path: Path, run: Run, group: Sequence[Line]) -> Line:
    """All lines of one run in one, in the order of the columns that counted them."""
    order, parse = _MERGED[path.stem]
    records = []
    for line in group:
        with telling(path, line.number):
            records.append((tuple(int(line.cells[name]) for name in order), parse(line.cells)))
    records.sort(key=lambda record: record[0])
    found = [record for _, record in records]
    if path.stem == LayerRow.table:
        row: Row = LayerRow(run, {str(each["layer"]): (int(each["kept"]), int(each["total"])) for each in found})
    else:
        row = Series(path.stem, run, {name: [float(each[name]) for each in found] for name in found[0]})
    return Line(group[0].number, row.cells())


def _layer(cells: Mapping[str, str]) -> Record:
    return {"layer": cells["layer"], "kept": int(cells["kept"]), "total": int(cells["total"])}


def _episode(cells: Mapping[str, str]) -> Record:
    return {"returns": float(cells["episode_return"]), "lengths": int(cells["length"])}


def _point(cells: Mapping[str, str]) -> Record:
    mean, episodes = float(cells["mean_return"]), int(cells["episodes"])
    return {"timesteps": int(cells["timesteps"]), "total_return": total(mean, episodes), "episodes": episodes}


def _distance(cells: Mapping[str, str]) -> Record:
    steps = {name: int(cells[name]) for name in ("step", "other_step")}
    return {**steps, "distance": float(cells["distance"]), "chance": float(cells["chance"])}


_MERGED: dict[str, tuple[tuple[str, ...], Callable[[Mapping[str, str]], Record]]] = {
    "returns": (("episode",), _episode),
    "layers": (("position",), _layer),
    "curves": (("timesteps",), _point),
    "distances": (("step", "other_step"), _distance),
}
"""Table -> the columns its lines of one run are sorted by, and what one line says."""


def total(mean: float, episodes: int) -> float:
    """The sum whose mean is exactly this, the shortest to write: integral, else of the six decimals Monitor leaves.

    >>> total(-410.1666666666667, 6)
    -2461.0
    """
    if not math.isfinite(mean):
        return mean
    return next((each for each in _sums(mean * episodes) if each / episodes == mean), mean * episodes)


def _sums(product: float) -> Iterator[float]:
    yield float(round(product))
    yield round(product, 6)
    below = above = product
    yield product
    for _ in range(NEIGHBOURS):
        below, above = math.nextafter(below, -math.inf), math.nextafter(above, math.inf)
        yield from (below, above)
