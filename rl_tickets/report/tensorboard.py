"""Tickets in TensorBoard, under `ticket/`, beside Stable-Baselines3's own tags."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rl_tickets.search.plan import DENSE

from .rows import LevelRow

PICTURE = (200, 600)
"""Least height and width, in pixels, to which the picture of a small mask is enlarged."""


def write_level(
    folder: Path,
    *,
    step: int,
    density: float,
    overall_density: float | None = None,
    mask_distance: float,
    eval_return: float,
    sampled_return: float | None = None,
    masks: Mapping[str, NDArray[np.bool_]],
    weights: Mapping[str, NDArray[np.floating[Any]]],
    live: Mapping[str, NDArray[np.bool_]] | None = None,
    live_units: Mapping[str, NDArray[np.bool_]] | None = None,
) -> None:
    """Add a level to the TensorBoard run that SB3 logged its training to; `step` is in environment steps.

    The first of `masks`, in their own order, counts as the input layer and is drawn. Written anew
    for the same step, it replaces what was written before, so a resumed experiment leaves no doubles.
    `live` are the weights, and `live_units` the hidden units, that lie on a path, layer by layer, where it is known.
    Call it when training is over: TensorBoard reads the files of a run one after the other.
    """
    with _writer(folder, f".ticket-{step}") as writer:
        writer.add_scalar("ticket/density", density, step)
        if overall_density is not None:
            writer.add_scalar("ticket/overall_density", overall_density, step)
        writer.add_scalar("ticket/mask_distance", mask_distance, step)
        writer.add_scalar("ticket/eval_return", eval_return, step)
        if sampled_return is not None:
            writer.add_scalar("ticket/eval_return_sampled", sampled_return, step)
        for name, of in (("effective_density", live), ("live_units", live_units)):
            if of:
                writer.add_scalar(f"ticket/{name}", float(np.mean(np.concatenate([*map(np.ravel, of.values())]))), step)
            for layer, bits in (of or {}).items():
                writer.add_scalar(f"ticket/layer_{name}/{layer}", float(np.mean(bits)), step)
        for layer, mask in masks.items():
            if mask.size:
                writer.add_scalar(f"ticket/layer_density/{layer}", float(np.mean(mask)), step)
            kept = weights[layer][mask] if layer in weights else np.empty(0)
            if kept.size and np.isfinite(kept).all():
                writer.add_histogram(f"ticket/kept/{layer}", kept, step)
        first = next(iter(masks.values()), None)
        if first is not None and first.size:
            writer.add_image("ticket/input_mask", picture(first), step, dataformats="HW")


def write_summary(folder: Path, rows: Sequence[LevelRow]) -> None:
    """One run per search (and variant) with its levels on the x axis, means over the seeds; replaces an older summary.

    Its tags stand under `by_level/`: charts under `ticket/` have environment steps on the x axis.
    Where a search has no level 0 of its own, dense stands for it.
    """
    older = [path for path in folder.rglob("events.out.tfevents.*") if path.is_file()]
    dense = [row for row in rows if row.run.label == DENSE and row.run.level == 0]
    for search, variant in sorted({(row.run.search, row.run.variant) for row in rows}):
        own = [row for row in rows if (row.run.search, row.run.variant) == (search, variant)]
        if all(row.run.level > 0 for row in own):
            own += dense
        with _writer(folder / search / variant, "") as writer:
            for level in sorted({row.run.level for row in own}):
                seeds = [row for row in own if row.run.level == level]
                writer.add_scalar("by_level/density", _mean([row.density for row in seeds]), level)
                writer.add_scalar("by_level/eval_return", _mean([row.mean_return for row in seeds]), level)
                writer.add_scalar("by_level/mask_distance", _mean([row.mask_distance for row in seeds]), level)
    for path in older:
        path.unlink(missing_ok=True)


def picture(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A mask as a black and white picture, inputs down, outputs across; a convolution's as [rest, out].

    Enlarged by whole numbers, a row's and a column's apart: an input layer is often a hundred times as wide as high.
    """
    flat = np.asarray(mask, dtype=bool).reshape(mask.shape[0] if mask.ndim > 1 else 1, -1).T
    scale = tuple(max(1, math.ceil(least / count)) for least, count in zip(PICTURE, flat.shape, strict=True))
    pixels: NDArray[np.uint8] = np.kron(flat, np.ones(scale, dtype=bool)).astype(np.uint8) * np.uint8(255)
    return pixels


@contextmanager
def _writer(folder: Path, suffix: str) -> Iterator[Any]:
    """A SummaryWriter whose file takes the place of older ones with the same suffix, if it has one."""
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and only this needs it

    older = list(folder.glob(f"events.out.tfevents.*{suffix}")) if suffix else []
    writer = SummaryWriter(str(folder), filename_suffix=suffix)
    try:
        yield writer
    finally:
        writer.close()
    for path in older:
        path.unlink(missing_ok=True)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan
