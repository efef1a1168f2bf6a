"""Matrices of contrasts: a row for where tickets come from, a column for where they are trained, as heat maps."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, TwoSlopeNorm
from matplotlib.figure import Figure

from rl_tickets.evaluation.contrasts import Contrast, adjusted, contrast

from . import looks
from .judging import LevelSummary
from .looks import INK
from .markdown_table import markdown_table
from .shown import is_shown, p_or_few
from .summary import Summary
from .wording import between, p_value

COLOURS = "RdBu"
LEAST = 3.2
"""Inches that a figure is high at least, for its scale."""
SHORT = 6
"""Letters of a label that fits below its column."""
HEADS = ("densities", "seeds", "difference [95 %]", "p, Holm")

Place = tuple[str, str]
"""Where tickets come from, and where they are trained."""


@dataclasses.dataclass(frozen=True)
class Matrix:
    """What the tickets of every source return more than something else does, in every target.

    Args:
        title: what is less what.
        cells: contrasts in normalised return, averaged over densities, paired by seed.
        p: adjusted over all cells (Holm).
        densities: at how many densities each was trained.
        sources: of the rows, in order.
        targets: of the columns, in order.
        mean: over all cells whose tickets come from elsewhere, seed by seed: one test of the whole; None of a single
            cell, or of cells with different seeds.
        missing: targets without a scale that means much, and why: their cells are left out.
    """

    title: str
    cells: Mapping[Place, Contrast]
    p: Mapping[Place, float]
    densities: Mapping[Place, int]
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    mean: Contrast | None = None
    missing: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        title: str,
        targets: Mapping[str, Summary],
        pairs: Mapping[Place, Place],
        *,
        sources: Collection[str] | None = None,
        levels: Collection[int] | None = None,
    ) -> Self:
        """Of finished experiments.

        Args:
            title: see above.
            targets: what was found in each target; one in which dense is hardly better than a random policy has no
                scale.
            pairs: cell -> names of a search in its target, and of what it is held against there: a search, or dense.
            sources: of the rows, in order, of which those with a cell are shown; None: as `pairs` names them.
            levels: that are compared; None: all of the search.

        Raises:
            ValueError: a target without such a search, or without seeds or levels in common.
        """
        missing = {name: why for name, found in targets.items() if (why := found.problem or found.judge.doubt)}
        told = {at: names for at, names in pairs.items() if at[1] not in missing}
        found = {at: scores_of(targets[at[1]], *names, levels=levels) for at, names in told.items()}
        cells = {at: contrast(ours, theirs) for at, (ours, theirs) in found.items()}
        named = [source for source, _ in pairs]
        return cls(
            title,
            cells,
            dict(zip(cells, adjusted(list(cells.values())), strict=True)),
            {at: ours.shape[1] for at, (ours, _) in found.items()},
            tuple(source for source in sources or dict.fromkeys(named) if source in named),
            tuple(targets),
            _mean([scores for (source, target), scores in found.items() if source != target]),
            missing,
        )

    def row(self, at: Place) -> tuple[str, ...]:
        """One cell as text: its place, then what stands under HEADS."""
        cell = self.cells[at]
        counts = str(self.densities[at]), str(cell.seeds)
        return *at, *counts, between(cell.difference, cell.interval), p_or_few(cell, self.p[at])


def _mean(cells: Sequence[tuple[np.ndarray, np.ndarray]]) -> Contrast | None:
    """Over cells of the same seeds; see `Matrix`."""
    if len(cells) < 2 or len({len(ours) for ours, _ in cells}) > 1:
        return None
    ours, theirs = (np.stack([cell[side].mean(axis=1) for cell in cells], axis=1) for side in (0, 1))
    return contrast(ours, theirs)


def judged_together(matrices: Sequence[Matrix]) -> list[Matrix]:
    """The same with the p of their means adjusted over all of them (Holm)."""
    ps = iter(adjusted([matrix.mean for matrix in matrices if matrix.mean is not None]))
    return [
        matrix
        if matrix.mean is None
        else dataclasses.replace(matrix, mean=dataclasses.replace(matrix.mean, p=next(ps)))
        for matrix in matrices
    ]


def scores_of(
    summary: Summary, search: str, other: str, *, levels: Collection[int] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Normalised scores of both, each of shape (seeds, densities); dense is the same at all densities.

    Raises:
        ValueError: a search that is not there, other levels, no seed in common, or no scale.
    """
    ours = _levels(summary, search, levels)
    theirs = [summary.dense] * len(ours) if other == summary.dense.search else _levels(summary, other, levels)
    if [level.level for level in ours] != [level.level for level in theirs] and other != summary.dense.search:
        raise ValueError(f"{summary.name}: {search!r} and {other!r} were not trained at the same levels")
    if not ours:
        raise ValueError(f"{summary.name}: {search!r} was trained at none of the levels {levels}")
    seeds = sorted(set.intersection(*(set(level.normalised_scores) for level in (*ours, *theirs))))
    if not seeds:
        why = summary.problem or "they have no seed in common"
        raise ValueError(f"{summary.name}: {search!r} and {other!r} cannot be compared, since {why}")
    one, two = (np.array([[level.normalised_scores[seed] for level in of] for seed in seeds]) for of in (ours, theirs))
    return one, two


def _levels(summary: Summary, search: str, levels: Collection[int] | None) -> Sequence[LevelSummary]:
    told = (level for level in summary.search(search).levels if levels is None or level.level in levels)
    return sorted(told, key=lambda level: level.level)


def heat_maps(
    matrices: Sequence[Matrix], title: str, *, up: str = "tickets from", across: str = "trained in"
) -> Figure:
    """A map for each matrix, on one scale: blue where tickets return more, red where less, bold where it is shown."""
    rows = max(len(matrix.sources) for matrix in matrices)
    columns = max(len(matrix.targets) for matrix in matrices)
    figure = looks.sheet(len(matrices) * (1.05 * columns + 1.0) + 1.2, max(0.62 * rows + 1.7, LEAST))
    grid = list(figure.subplots(1, len(matrices), squeeze=False).flat)
    most = max((abs(cell.difference) for matrix in matrices for cell in matrix.cells.values()), default=0.0) or 1.0
    norm = TwoSlopeNorm(0.0, -most, most)
    long = any(len(target) > SHORT for matrix in matrices for target in matrix.targets)
    slanted: dict[str, Any] = {"rotation": 30, "ha": "right"} if long else {}
    for axes, matrix in zip(grid, matrices, strict=True):
        image = axes.imshow(_values(matrix), cmap=COLOURS, norm=norm, aspect="auto")
        axes.set_title(matrix.title, fontsize=10, color=INK, loc="left", fontweight="bold")
        axes.set_xticks(range(len(matrix.targets)), matrix.targets, **slanted, fontsize=9)
        axes.set_yticks(range(len(matrix.sources)), matrix.sources, fontsize=9)
        axes.set_xlabel(across, color=INK)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        _write(axes, matrix, norm, image.get_cmap())
    grid[0].set_ylabel(up, color=INK)
    figure.colorbar(image, ax=grid, label="difference in\nnormalised return", shrink=0.85)
    looks.title(figure, title)
    return figure


def _values(matrix: Matrix) -> np.ma.MaskedArray:
    """Differences by source and target; cells without one are masked, and stay white."""
    values = np.full((len(matrix.sources), len(matrix.targets)), np.nan)
    for (source, target), cell in matrix.cells.items():
        values[matrix.sources.index(source), matrix.targets.index(target)] = cell.difference
    return np.ma.masked_invalid(values)


def _write(axes: Axes, matrix: Matrix, norm: TwoSlopeNorm, colours: Colormap) -> None:
    for place, cell in matrix.cells.items():
        at = (matrix.targets.index(place[1]), matrix.sources.index(place[0]))
        red, green, blue, _ = colours(norm(cell.difference))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        axes.annotate(
            f"{cell.difference:+.2f}",
            at,
            ha="center",
            va="center",
            fontsize=8.5,
            fontweight="bold" if is_shown(cell, matrix.p[place]) else "normal",
            color="white" if dark else INK,
        )


def matrix_table(matrix: Matrix, *, up: str = "from", across: str = "to") -> Iterator[str]:
    """The same numbers with their intervals, as paragraphs of Markdown."""
    if matrix.cells:
        yield markdown_table((up, across, *HEADS), map(matrix.row, matrix.cells), words=(0, 1))
    if matrix.mean is not None and matrix.mean.enough:
        mean = between(matrix.mean.difference, matrix.mean.interval)
        yield f"Mean over the map, seed by seed: {mean} ({p_value(matrix.mean.p)})."
    for target, why in matrix.missing.items():
        yield f"{target} is left out, since {why}."
