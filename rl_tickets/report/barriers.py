"""Barriers between copies: their table, and the barrier against the step from which copies trained apart."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rl_tickets.analysis.stability import Stability, judged_together, stability
from rl_tickets.evaluation.contrasts import mean_over_seeds
from rl_tickets.tickets.archive import write_whole

from . import looks
from .looks import INK, MUTED
from .markdown_table import markdown_table
from .wording import number, p_cell, plain, spanned

HEADS = (
    "search",
    "density",
    "copied at",
    "seeds",
    "barrier [95 %]",
    "noise floor",
    "excess [95 %]",
    "nats [95 %]",
    "p, Holm",
    "",
)
DIGITS = 3
"""Significant digits in which densities of several seeds agree."""


@dataclasses.dataclass(frozen=True)
class BarrierRow:
    """What was seen between two copies of one run.

    Args:
        search: whose ticket was copied.
        density: of the ticket, in (0, 1].
        seed: training seed.
        step: from which the copies trained apart, in environment steps.
        barrier: in units of the return.
        floor: what noise shows as one, in the same units.
        policy_barrier: in nats.
        returns: means on the line, from the first copy to the second.
    """

    search: str
    density: float
    seed: int
    step: int
    barrier: float
    floor: float
    policy_barrier: float
    returns: tuple[float, ...]

    @property
    def of(self) -> tuple[str, float, int]:
        """What several seeds are replicates of."""
        return self.search, rounded_density(self.density), self.step

    @classmethod
    def from_cells(cls, cells: Mapping[str, str]) -> Self:
        """A row of the file."""
        return cls(
            search=cells["search"],
            density=float(cells["density"]),
            seed=int(cells["seed"]),
            step=int(cells["step"]),
            barrier=float(cells["barrier"]),
            floor=float(cells["floor"]),
            policy_barrier=float(cells["policy_barrier"]),
            returns=tuple(float(value) for value in cells["returns"].split()),
        )


def rounded_density(density: float) -> float:
    """In digits that several seeds share."""
    return float(plain(density, DIGITS))


def write_barriers(path: Path, rows: Iterable[BarrierRow]) -> None:
    """One line for each pair of copies, sorted, whole or not at all."""
    text = io.StringIO()
    names = [field.name for field in dataclasses.fields(BarrierRow)]
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    for row in sorted(rows, key=lambda row: (row.search, -row.density, row.step, row.seed)):
        writer.writerow({**vars(row), "returns": " ".join(f"{value:.6g}" for value in row.returns)})
    write_whole(path, text.getvalue().encode())


def read_barriers(path: Path) -> list[BarrierRow]:
    """What `write_barriers` wrote; nothing where there is no such file yet."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [BarrierRow.from_cells(cells) for cells in csv.DictReader(file)]


def stabilities(rows: Sequence[BarrierRow], margin: float) -> dict[tuple[str, float, int], Stability]:
    """By search, density and step, over seeds; all judged together, each by the margin, in units of the return."""
    groups = _replicates(rows)
    found = [stability([row.barrier for row in of], [row.floor for row in of], margin=margin) for of in groups.values()]
    return dict(zip(groups, judged_together(found), strict=True))


def _replicates(rows: Sequence[BarrierRow]) -> dict[tuple[str, float, int], list[BarrierRow]]:
    """By search, density and step a row of each seed: where pruning stalled, a seed has several of one density."""
    groups: dict[tuple[str, float, int], dict[int, BarrierRow]] = {}
    order = list(dict.fromkeys(row.search for row in rows))
    for row in sorted(rows, key=lambda row: (order.index(row.search), -row.density, row.step, row.seed)):
        groups.setdefault(row.of, {}).setdefault(row.seed, row)
    return {of: list(seeds.values()) for of, seeds in groups.items()}


def barrier_table(rows: Sequence[BarrierRow], margin: float) -> str:
    """As Markdown: a row for each search, density and step; for the margin see `stabilities`."""
    lines = []
    groups = _replicates(rows)
    for (search, density, step), each in stabilities(rows, margin).items():
        policies = _nats([row.policy_barrier for row in groups[search, density, step]])
        barrier, excess = spanned(each.barrier, each.interval), spanned(each.excess.difference, each.excess.interval)
        told = (barrier, number(each.floor), excess, policies, _p(each), each.verdict)
        lines.append((search, plain(density), f"{step:,}", str(each.seeds), *told))
    return markdown_table(HEADS, lines, words=(0, -1))


def _nats(seeds: Sequence[float]) -> str:
    """Mean over seeds and its interval."""
    if not np.isfinite(seeds).all():
        return "–"
    mean = mean_over_seeds(seeds)
    return spanned(mean.difference, mean.interval)


def _p(found: Stability) -> str:
    return p_cell(found.p) if found.excess.enough else "–"


def barrier_plot(rows: Sequence[BarrierRow], title: str, margin: float) -> Figure:
    """A panel for each search, a line for each density with its interval; shaded are noise floor and margin."""
    found = stabilities(rows, margin)
    searches = list(dict.fromkeys(search for search, _, _ in found))
    densities = sorted({density for _, density, _ in found}, reverse=True)
    steps = sorted({step for _, _, step in found})
    figure, panels = looks.panels(searches, "copied at step", "barrier in return")
    for search, axes in zip(searches, panels, strict=True):
        own = {key[1:]: each for key, each in found.items() if key[0] == search}
        axes.axhspan(0, margin + max(each.floor for each in own.values()), color=MUTED, alpha=0.15, linewidth=0)
        for place, density in enumerate(densities):
            colour = INK if density == 1 else looks.ramp()(place / max(len(densities) - 1, 1))
            _line(axes, [(steps.index(k), each) for (at, k), each in own.items() if at == density], colour, density)
        axes.set_xticks(range(len(steps)), [looks.short(step) for step in steps])
    known = {
        line.get_label(): line
        for axes in panels
        for line in axes.get_lines()
        if not str(line.get_label()).startswith("_")
    }
    order = [plain(density) for density in densities]
    figure.legend(
        [known[name] for name in order], order, loc="outside right center", frameon=False, fontsize=9, title="density"
    )
    looks.title(figure, title)
    return figure


def _line(axes: Axes, points: Sequence[tuple[int, Stability]], colour: Any, density: float) -> None:
    """Filled where the copies are unstable."""
    if not points:
        return
    axes.plot([at for at, _ in points], [each.barrier for _, each in points], color=colour, label=plain(density))
    for at, each in points:
        face = colour if each.stable is False else looks.PAPER
        axes.plot(at, each.barrier, "o", markersize=5, markerfacecolor=face, markeredgecolor=colour)
        if np.isfinite(each.interval.low):
            axes.plot([at, at], [each.interval.low, each.interval.high], color=colour, linewidth=1, alpha=0.6)
