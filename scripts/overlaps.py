"""How alike the tickets of two searches are: how many weights one keeps that the other keeps too, and by chance.

A table for a results folder whose tickets are still there. Chance knows how many weights each keeps of each layer.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import tyro

import rl_tickets as rt
from rl_tickets.evaluation.contrasts import mean_over_seeds
from rl_tickets.lab.user_errors import mendable
from rl_tickets.report.markdown_table import markdown_table
from rl_tickets.tickets.archive import write_whole
from rl_tickets.tickets.densities import same_density

PAGE = "overlaps.md"


Masks = Mapping[int, list[rt.Mask]]
"""Seed -> masks of a search, from dense to sparse."""


def masks(folder: Path) -> Masks:
    """Of the tickets of one search."""
    return {
        int(seed.name.removeprefix("seed-")): [rt.Ticket.load(path).mask for path in sorted(seed.glob("*.ticket"))]
        for seed in sorted(folder.glob("seed-*"))
    }


def pairs(ours: Masks, theirs: Masks, density: float) -> Iterator[tuple[rt.Mask, rt.Mask]]:
    """Of the seeds that both have, at one density."""
    for seed in sorted({*ours} & {*theirs}):
        found = [_at(of[seed], density) for of in (ours, theirs)]
        if found[0] is not None and found[1] is not None:
            yield found[0], found[1]


def _at(several: list[rt.Mask], density: float) -> rt.Mask | None:
    return next((mask for mask in several if same_density(mask.density, density)), None)


def by_chance(one: rt.Mask, other: rt.Mask) -> float:
    """The share that two masks would have in common, were each drawn at random with its own layer counts."""
    layers = zip(one.layers.values(), other.layers.values(), strict=True)
    return 2 * sum(ours.kept * theirs.kept / ours.total for ours, theirs in layers) / (one.kept + other.kept)


def table(folder: Path, of: str, others: list[str]) -> str:
    """As Markdown: a row for each other search and density."""
    summary = rt.Summary.read(folder)
    ours = masks(folder / "tickets" / of)
    levels = summary.search(of).levels
    rows = []
    for other in others:
        theirs = masks(folder / "tickets" / other)
        for level in levels:
            if found := list(pairs(ours, theirs, level.density)):
                shared = mean_over_seeds([1 - one.kept_distance(two) for one, two in found])
                span = f"{shared.difference:.3f} [{shared.interval.low:.3f}, {shared.interval.high:.3f}]"
                chance = np.mean([by_chance(one, two) for one, two in found])
                rows.append((other, f"{level.density:.3g}", str(len(found)), span, f"{chance:.3f}"))
    return markdown_table(("beside", "density", "seeds", "shared [95 %]", "by chance"), rows)


def main(folder: tyro.conf.Positional[Path], of: str = "imp") -> None:
    """Writes overlaps.md into a results folder, and prints it.

    Args:
        folder: of an experiment that has just been run: its tickets are needed.
        of: the search that all others are held against.
    """
    with mendable():
        kept = sorted(path.name for path in (folder / "tickets").glob("*") if path.name != "dense")
        if of not in kept:
            there = f"it has those of {', '.join(kept)}" if kept else "run the experiment again, which writes them"
            raise ValueError(f"{folder} has no tickets of {of!r}: {there}")
        shared = table(folder, of, [name for name in kept if name != of])
        flag = "" if of == "imp" else f" --of {of}"
        text = (
            f"# What tickets of {of} share with others\n\n"
            f"Made by `python scripts/overlaps.py results/{folder.name}{flag}`. Share of the weights that {of} keeps "
            "which the other search keeps too, mean over seeds; by chance is that of random masks with as many weights "
            "in each layer.\n\n" + shared + "\n"
        )
        write_whole(folder / PAGE, text.encode())
        print(text)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
