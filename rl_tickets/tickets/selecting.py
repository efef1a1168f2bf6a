"""Pruning: from trained weights, a criterion and a density to a smaller mask."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from rl_tickets.tickets.criteria import Criterion, Weights, lamp
from rl_tickets.tickets.mask import Mask, kept_count
from rl_tickets.tickets.scopes import Scope, apportion


class LayerCollapseWarning(UserWarning):
    """A layer lost its last weight, or would have if its best weight had not been kept."""


@dataclass(frozen=True)
class Pruned:
    """A smaller mask, and the layers that the criterion alone would have emptied."""

    mask: Mask
    collapsed: tuple[str, ...]


def prune(
    weights: Weights,
    density: float,
    *,
    criterion: Criterion = lamp,
    scope: Scope = "global",
    within: Mask | None = None,
    start: Weights | None = None,
    network_of: Callable[[str], str] = lambda name: name.split(".")[0],
    keep_last: bool = True,
    level: int = 0,
) -> Pruned:
    """Keeps the round(density * n) weights with the highest scores; ties go to the earlier weight.

    Args:
        weights: trained weights, name -> tensor; only those the mask `within` covers count.
        density: fraction of all n prunable weights to keep, in (0, 1].
        criterion: `(weights, start) -> scores`.
        scope: "global", "network", "layer", or a function from layer shapes and density to layer densities.
        within: the mask to shrink; dropped weights never come back, so masks nest. None: all weights.
        start: weights at the rewind point, for criteria that look at them; by default the weights themselves.
        network_of: the network a layer belongs to, for scope "network".
        keep_last: keep the best weight of a layer that would lose its last one.
        level: named in the warning.

    Raises:
        ValueError: impossible density, weights that are not the mask's, a criterion whose scores are not finite
            or misshapen, unknown scope.

    Example:
        >>> prune({"w": torch.tensor([[3.0, -1.0], [0.5, 2.0]])}, 0.5).mask["w"].tolist()
        [[True, False], [False, True]]
    """
    within = Mask.full(weights) if within is None else within
    weights = _covered(weights, within)
    start = weights if start is None else _covered(start, within)
    total = kept_count(density, within.total)
    alive = [name for name, count in within.layers.items() if count.kept]
    if total > within.kept:
        raise ValueError(f"density {density:g} is above the mask's {within.density:g}: pruned weights never return")
    if keep_last and total < len(alive):
        raise ValueError(
            f"density {density:g} keeps {total} weights, fewer than the {len(alive)} layers; "
            f"the lowest that leaves each layer one is {len(alive) / within.total:.3g}"
        )
    scores = _scores(criterion, weights, start, within)
    budgets = _budgets(scope, within, total, density, network_of)
    kept: dict[str, np.ndarray] = {}
    for layers, count in budgets:
        kept |= _best({name: scores[name] for name in layers}, count)
    collapsed = tuple(name for name in alive if not kept[name].any())
    if collapsed and keep_last:
        for layers, _ in budgets:
            _keep_best_of([name for name in layers if name in collapsed], layers, kept, scores)
    if collapsed:
        end = "its best weight was kept" if keep_last else "the layer is empty from here on"
        warnings.warn(
            f"level {level}: {', '.join(collapsed)} lost the last weight at density {density:.3g}; {end}",
            LayerCollapseWarning,
            stacklevel=2,
        )
    mask = {name: torch.from_numpy(kept[name].reshape(tuple(weights[name].shape))) for name in within}
    return Pruned(Mask(mask), collapsed)


def _covered(weights: Weights, mask: Mask) -> dict[str, torch.Tensor]:
    """The weights a mask covers, on the CPU and without gradients, in the mask's order."""
    for name, kept in mask.items():
        if name not in weights or weights[name].shape != kept.shape:
            raise ValueError(f"the mask covers {name!r} of shape {tuple(kept.shape)}, the weights given do not")
    return {name: weights[name].detach().cpu() for name in mask}


def _scores(criterion: Criterion, weights: Weights, start: Weights, within: Mask) -> dict[str, np.ndarray]:
    """Flat scores of each layer, minus infinity where the weight is already gone."""
    given = criterion(within.apply(weights), start)
    scores = {}
    for name in within:
        if name not in given or given[name].shape != weights[name].shape:
            raise ValueError(f"the criterion gave no scores of shape {tuple(weights[name].shape)} for {name!r}")
        alive = within[name].numpy().ravel()
        flat = given[name].detach().cpu().double().numpy().ravel()
        if not np.isfinite(flat[alive]).all():
            raise ValueError(f"the criterion's scores for {name!r} are not finite; did the weights diverge?")
        scores[name] = np.where(alive, flat, -np.inf)
    return scores


def _budgets(
    scope: Scope, within: Mask, total: int, density: float, network_of: Callable[[str], str]
) -> list[tuple[list[str], int]]:
    """Groups of layers whose scores compete, each with the number of weights it keeps."""
    sizes = {name: count.total for name, count in within.layers.items()}
    limits = {name: count.kept for name, count in within.layers.items()}
    if scope == "global":
        return [(list(within), total)]
    if scope == "network":
        groups: dict[str, list[str]] = {}
        for name in within:
            groups.setdefault(network_of(name), []).append(name)
    elif scope == "layer" or callable(scope):
        groups = {name: [name] for name in within}
    else:
        raise ValueError(f'scope must be "global", "network", "layer" or a function such as erk, got {scope!r}')
    if callable(scope):
        densities = dict(scope({name: tuple(kept.shape) for name, kept in within.items()}, density))
        for name in within:
            if not (math.isfinite(densities.get(name, math.nan)) and densities[name] >= 0):
                raise ValueError(f"the scope gave {name!r} the density {densities.get(name)!r}, which is none")
    else:
        densities = dict.fromkeys(sizes, density)
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
