"""The rows an experiment leaves behind, and the CSV files they live in."""

import csv
import dataclasses
import io
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar


@dataclasses.dataclass(frozen=True, order=True)
class EpisodeRow:
    """One evaluation episode of a final policy (`returns.csv`)."""

    search: str
    seed: int
    level: int
    density: float
    episode: int
    episode_return: float
    length: int


@dataclasses.dataclass(frozen=True, order=True)
class LevelRow:
    """One full training run at one density (`levels.csv`)."""

    search: str
    seed: int
    level: int
    density: float
    mean_return: float
    timesteps: int
    """Environment steps trained at this level; smaller than the budget where early-bird stopped it."""
    start: int
    """Environment step the level started from: 0, or the rewind point."""
    mask_distance: float
    """Fraction of the previous level's kept weights that this level's mask drops or moves."""
    diverged: bool
    """Whether a weight became NaN or infinite."""
    collapsed: str
    """Layers that would have lost their last weight, separated by spaces."""
    ticket: str
    """The ticket's file, relative to the results folder, or empty."""


@dataclasses.dataclass(frozen=True, order=True)
class LayerRow:
    """How many weights of one layer a level keeps (`layers.csv`)."""

    search: str
    seed: int
    level: int
    position: int
    """Place of the layer in the network, counted from the input."""
    layer: str
    kept: int
    total: int


@dataclasses.dataclass(frozen=True, order=True)
class CurveRow:
    """Mean return of the training episodes that ended in one stretch of a level (`curves.csv`)."""

    search: str
    seed: int
    level: int
    timesteps: int
    mean_return: float
    episodes: int


@dataclasses.dataclass(frozen=True, order=True)
class DistanceRow:
    """Distance between two masks that early-bird drew at two steps of one run (`distances.csv`)."""

    search: str
    seed: int
    step: int
    other_step: int
    distance: float
    """Differing kept weights over kept weights, in [0, 1]."""
    chance: float
    """What two random masks of this density would give."""


@dataclasses.dataclass(frozen=True, order=True)
class TimingRow:
    """What may differ between two runs of the same level (`timings.csv`)."""

    search: str
    seed: int
    level: int
    seconds: float
    host: str


FILES: dict[type, str] = {
    EpisodeRow: "returns.csv",
    LevelRow: "levels.csv",
    LayerRow: "layers.csv",
    CurveRow: "curves.csv",
    DistanceRow: "distances.csv",
    TimingRow: "timings.csv",
}
"""Which file of a results folder holds which kind of row."""

Row = TypeVar("Row")


def to_csv(kind: type[Row], rows: Iterable[Row]) -> str:
    """The rows as CSV text, sorted, with a header line."""
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in sorted(rows):  # type: ignore[type-var]
        writer.writerow([getattr(row, name) for name in names])
    return text.getvalue()


def read_csv(kind: type[Row], folder: Path) -> list[Row]:
    """The rows of one kind in a results folder; none where the file is missing.

    Raises ValueError, naming file and line, where a row cannot be read.
    """
    path = folder / FILES[kind]
    if not path.exists():
        return []
    fields = dataclasses.fields(kind)  # type: ignore[arg-type]
    rows = []
    with path.open(newline="") as file:
        for number, record in enumerate(csv.DictReader(file), start=2):
            try:
                rows.append(kind(**{field.name: _parse(field.type, record[field.name]) for field in fields}))
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{path}, line {number}: not a {kind.__name__} ({error})") from error
    return rows


def _parse(kind: object, text: str) -> object:
    if kind is bool:
        if text not in ("True", "False"):
            raise ValueError(f"{text!r} is neither True nor False")
        return text == "True"
    assert isinstance(kind, type)
    return kind(text)
