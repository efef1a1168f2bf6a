"""What tickets read: which dimensions of the observation their first layers still look at (Vischer et al. 2022, arXiv
2105.01648)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rl_tickets.search.plan import DENSE

from .rows import LevelRow, Series
from .wording import plain

HEADS = ("search", "network", "density", "runs", "dimensions read", "read by most of its first-layer weights [95 %]")
MEANING = (
    "What tickets read: of a network's weights that read the observation and lie on a path to an output, the share "
    "that reads each dimension, at each search's sparsest density (*runs*: those that read anything). Mean over seeds, "
    "with Student's 95 % interval; dimensions read: those that at least one weight reads, mean over seeds."
)
TOLD = 4
"""Dimensions in a cell of the table."""

Numbers = NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """How a network's first-layer weights are spread over the dimensions of the observation, at a level of a search."""

    search: str
    network: str
    level: int
    density: float
    """Of the whole mask, mean over seeds."""
    dimensions: tuple[str, ...]
    shares: Numbers
    """Of the weights that read the observation in each run, those that read each dimension: (runs, dimensions)."""
    even: Numbers
    """The same of the dense network."""
    blind: int
    """Runs whose network reads nothing any more, and that have no shares."""

    @property
    def mean(self) -> Numbers:
        """Of the shares, over seeds."""
        return np.asarray(self.shares.mean(axis=0))

    @property
    def half(self) -> Numbers:
        """Half of Student's 95 % interval; not a number where one run leaves no spread."""
        count = len(self.shares)
        if count < 2:
            return np.full(len(self.dimensions), np.nan)
        error = self.shares.std(axis=0, ddof=1) / np.sqrt(count)
        return np.asarray(stats.t.ppf(0.975, count - 1) * error)

    def cells(self) -> tuple[str, ...]:
        """A row of text under HEADS."""
        order = np.argsort(-self.mean, kind="stable")[:TOLD]
        read = (self.shares > 0).sum(axis=1).mean()
        of = f"{len(self.shares)} of {len(self.shares) + self.blind}"
        told = ", ".join(f"{self.dimensions[place]} {self._share(place)}" for place in order if self.mean[place] > 0)
        count = f"{plain(float(read))} of {len(self.dimensions)}"
        return (self.search, self.network, plain(self.density), of, count, told)

    def _share(self, place: int) -> str:
        mean, half = self.mean[place], self.half[place]
        if not np.isfinite(half):
            return f"{mean:.2f}"
        return f"{mean:.2f} [{max(0.0, mean - half):.2f}, {min(1.0, mean + half):.2f}]"


def readings(
    rows: Sequence[Series], levels: Iterable[LevelRow], names: Sequence[str], settings: Mapping[str, Any]
) -> tuple[Reading, ...]:
    """Of every search, network and sparse level in order; none of older folders, which did not count.

    Args:
        rows: the table "inputs": network -> live weights that read each dimension.
        levels: the runs, with their densities.
        names: labels of the searches to tell of, in order.
        settings: of the experiment, where the dimensions may have names.
    """
    densities = {row.run: row.density for row in levels}
    dense = next((row for row in rows if row.run.search == DENSE and row.run.level == 0), None)
    if dense is None:
        return ()
    by_level: dict[tuple[str, int], list[Series]] = {}
    for row in sorted(rows, key=lambda row: row.run):
        if row.run.level > 0 and row.run in densities:
            by_level.setdefault((row.run.label, row.run.level), []).append(row)
    found = []
    for search, level in sorted(
        (key for key in by_level if key[0] in names), key=lambda key: (names.index(key[0]), key)
    ):
        group = by_level[search, level]
        for network, even in dense.columns.items():
            if all(network in row.columns for row in group):
                counts = np.array([row.columns[network] for row in group], dtype=np.float64)
                density = float(np.mean([densities[row.run] for row in group]))
                found.append(_reading(search, network, level, density, counts, np.array(even, dtype=float), settings))
    return tuple(found)


def telling(found: Sequence[Reading]) -> list[Reading]:
    """Of those searches that read some dimension more than another; those of whole neurons read all alike."""
    uneven = {reading.search for reading in found if not np.allclose(reading.shares, reading.even)}
    return [reading for reading in found if reading.search in uneven]


def sparsest(found: Sequence[Reading]) -> list[Reading]:
    """Of each search that tells anything, and network, the sparsest level at which some run still reads anything."""
    last: dict[tuple[str, str], Reading] = {}
    for reading in telling(found):
        if len(reading.shares):
            last[reading.search, reading.network] = reading
    return list(last.values())


def _reading(
    search: str, network: str, level: int, density: float, counts: Numbers, even: Numbers, settings: Mapping[str, Any]
) -> Reading:
    total = counts.sum(axis=1)
    shares = counts[total > 0] / total[total > 0, None]
    names = settings.get("input_names")
    named = isinstance(names, list) and len(names) == counts.shape[1]
    dimensions = tuple(map(str, names if named and isinstance(names, list) else range(counts.shape[1])))
    return Reading(search, network, level, density, dimensions, shares, even / even.sum(), int((total == 0).sum()))
