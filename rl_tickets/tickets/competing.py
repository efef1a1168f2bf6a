"""A competition of scores: which of every layer's weights, or units, stay at a density."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from rl_tickets.tickets.mask import kept_count
from rl_tickets.tickets.scopes import Scope, apportion, demand_scope, layer_densities

Flat = dict[str, np.ndarray]


def compete(
    scores: Flat,
    density: float,
    *,
    scope: Scope,
    shapes: Mapping[str, tuple[int, ...]],
    network_of: Callable[[str], str],
    keep_last: bool,
    things: str = "weights",
) -> tuple[Flat, tuple[str, ...]]:
    """Which things win, as flat bools, and the layers that the scores alone would have emptied.

    Args:
        scores: flat scores of each layer, minus infinity where a thing is already gone.
        density: fraction of all things, those gone included, that stays.
        scope, network_of, keep_last: see `prune`.
        shapes: what a scope that is a function is told.
        things: what they are called in messages.

    Raises:
        ValueError: impossible density, unknown scope.
    """
    demand_scope(scope)
    limits = {name: int((layer > -np.inf).sum()) for name, layer in scores.items()}
    size = sum(len(layer) for layer in scores.values())
    total = kept_count(density, size, things)
    alive = [name for name, count in limits.items() if count]
    if total > sum(limits.values()):
        above = f"density {density:g} is above the mask's {sum(limits.values()) / size:g}"
        raise ValueError(f"{above}: pruned {things} never return")
    if keep_last and total < len(alive):
        raise ValueError(
            f"density {density:g} keeps {total} {things}, fewer than the {len(alive)} layers; "
            f"the lowest that leaves each layer one is {len(alive) / size:.3g}"
        )
    budgets = _budgets(scope, limits, total, density, shapes, network_of)
    kept: Flat = {}
    for layers, count in budgets:
        kept |= _best({name: scores[name] for name in layers}, count)
    collapsed = tuple(name for name in alive if not kept[name].any())
    if collapsed and keep_last:
        for layers, _ in budgets:
            _keep_best_of([name for name in layers if name in collapsed], layers, kept, scores)
    return kept, collapsed


def _budgets(
    scope: Scope,
    limits: Mapping[str, int],
    total: int,
    density: float,
    shapes: Mapping[str, tuple[int, ...]],
    network_of: Callable[[str], str],
) -> list[tuple[list[str], int]]:
    """Groups of layers whose scores compete, each with the number of things it keeps."""
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    if scope == "global":
        return [(list(sizes), total)]
    if scope == "network":
        groups: dict[str, list[str]] = {}
        for name in sizes:
            groups.setdefault(network_of(name), []).append(name)
    else:
        groups = {name: [name] for name in sizes}
    densities = layer_densities(scope, shapes, density) if callable(scope) else dict.fromkeys(sizes, density)
    counts = apportion(
        {group: sum(densities[name] * sizes[name] for name in names) for group, names in groups.items()},
        {group: sum(limits[name] for name in names) for group, names in groups.items()},
        total,
    )
    return [(names, counts[group]) for group, names in groups.items()]


def _best(scores: Mapping[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """For each layer, which weights are among the `count` highest of all."""
    flat = np.concatenate(list(scores.values()))
    kept = np.zeros(len(flat), dtype=bool)
    if count:
        threshold = np.partition(flat, len(flat) - count)[len(flat) - count]
        kept = flat > threshold
        kept[np.flatnonzero(flat == threshold)[: count - int(kept.sum())]] = True
    ends = np.cumsum([len(layer) for layer in scores.values()])
    return dict(zip(scores, np.split(kept, ends[:-1]), strict=True))


def _keep_best_of(
    collapsed: Sequence[str],
    group: Sequence[str],
    kept: dict[str, np.ndarray],
    scores: Mapping[str, np.ndarray],
) -> None:
    """Gives each collapsed layer its best weight; the lowest kept weights of layers with several make room.

    Of equally low ones the later goes. They come from the layer's own group as long as one there has several.
    """
    for name in collapsed:
        kept[name][int(np.argmax(scores[name]))] = True
        donors = [other for other in group if kept[other].sum() > 1]
        donors = donors or [other for other in kept if kept[other].sum() > 1]
        lowest = {other: np.where(kept[other], scores[other], np.inf)[::-1] for other in reversed(donors)}
        loser = min(lowest, key=lambda other: float(lowest[other].min()))
        kept[loser][-1 - int(np.argmin(lowest[loser]))] = False
