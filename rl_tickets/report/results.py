"""The results folder of one experiment, as read from disk."""

import csv
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from .rows import FILES, CurveRow, DistanceRow, LayerRow, LevelRow, read_csv

DENSE = "dense"
Row = TypeVar("Row")


@dataclasses.dataclass(frozen=True)
class Results:
    """All that the report needs from a results folder; everything else there is ignored."""

    folder: Path
    name: str
    command: str
    settings: Mapping[str, Any]
    levels: tuple[LevelRow, ...]
    layers: tuple[LayerRow, ...]
    curves: tuple[CurveRow, ...]
    distances: tuple[DistanceRow, ...]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder; ValueError, in one sentence, where no report can be made of it."""
        described = _describe(folder)
        levels = _rows(LevelRow, folder)
        path = folder / FILES[LevelRow]
        runs = [(row.search, row.seed, row.level) for row in levels]
        if not any(row.search == DENSE and row.level == 0 for row in levels):
            raise ValueError(
                f"{path} has no level 0 of search {DENSE!r}, with which a report compares: "
                "let the experiment finish at least one dense run, then make the report again."
            )
        if len(set(runs)) < len(runs):
            search, seed, level = next(run for run in runs if runs.count(run) > 1)
            raise ValueError(
                f"{path} has search {search!r}, seed {seed}, level {level} twice: "
                "delete one of the two rows, or run the experiment again into an empty folder."
            )
        settings = described.get("settings", {})
        return cls(
            folder=folder,
            name=str(described.get("name", folder.name)),
            command=str(described.get("command", "")),
            settings=settings if isinstance(settings, dict) else {},
            levels=tuple(sorted(levels)),
            layers=tuple(sorted(_rows(LayerRow, folder))),
            curves=tuple(sorted(_rows(CurveRow, folder))),
            distances=tuple(sorted(_rows(DistanceRow, folder))),
        )


def _describe(folder: Path) -> dict[str, Any]:
    path = folder / "experiment.json"
    if not path.is_file():
        raise ValueError(
            f"{folder} is not a results folder, for it has no experiment.json: "
            "run an experiment into it first, such as `python scripts/cartpole.py`, or name another folder."
        )
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as JSON ({error}): {_WAY_OUT}") from error
    if not isinstance(described, dict):
        raise ValueError(f"{path} holds no JSON object: {_WAY_OUT}")
    return described


def _rows(kind: type[Row], folder: Path) -> list[Row]:
    try:
        return read_csv(kind, folder)
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise ValueError(f"{folder / FILES[kind]} cannot be read as CSV ({error}): {_WAY_OUT}") from error
    except ValueError as error:
        raise ValueError(f"{error}: {_WAY_OUT}") from error


_WAY_OUT = "restore the file, or run the experiment again into an empty folder."
