"""Pruning: from trained weights, a criterion and a density to a smaller mask."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from rl_tickets.tickets.competing import compete
from rl_tickets.tickets.criteria import Criterion, Weights, demand_criterion, lamp
from rl_tickets.tickets.densities import exponential
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.scopes import Scope
from rl_tickets.tickets.unit_criteria import UnitCriterion
from rl_tickets.tickets.units import Units


class LayerCollapseWarning(UserWarning):
    """A layer lost its last weight or unit, or would have if its best one had not been kept."""


@dataclass(frozen=True)
class Pruned:
    """A smaller mask, and the layers that the criterion alone would have emptied."""

    mask: Mask
    collapsed: tuple[str, ...]


def first_word(name: str) -> str:
    """The network of a layer, where nothing better is known: its name up to the first dot."""
    return name.split(".")[0]


def prune(
    weights: Weights,
    density: float,
    *,
    criterion: Criterion = lamp,
    scope: Scope = "global",
    within: Mask | None = None,
    start: Weights | None = None,
    units: Units | None = None,
    network_of: Callable[[str], str] = first_word,
    keep_last: bool = True,
    level: int = 0,
    rounds: int | None = None,
) -> Pruned:
    """Keeps the round(density * n) weights with the highest scores; ties go to the earlier weight.

    Args:
        weights: trained weights, name -> tensor; only those the mask `within` covers count.
        density: fraction of all n prunable weights to keep, in (0, 1]; with `units`, of all units.
        criterion: `(weights, start) -> scores`, or a `UnitCriterion`.
        scope: "global", "network", "layer", or a function from layer shapes and density to layer densities.
        within: the mask to shrink; dropped weights never come back, so masks nest. None: all weights.
        start: weights at the rewind point, for criteria that look at them; by default the weights themselves.
        units: weights to keep or drop together, see `select`. None: each weight on its own.
        network_of: the network a layer belongs to, for scope "network".
        keep_last: keep the best weight of a layer that would lose its last one.
        level: named in the warning.
        rounds: in how many the density is reached, falling exponentially, with new scores of what is left in each;
            None: as many as the criterion asks for (`criterion.rounds`), one where it asks for none.

    Raises:
        TypeError: a criterion that is no function, or gives no tensors or arrays.
        ValueError: impossible density, weights that are not the mask's, a criterion whose scores are not finite
            or misshapen, unknown scope, units that the mask does not cover, a criterion of units without units.

    Example:
        >>> prune({"w": torch.tensor([[3.0, -1.0], [0.5, 2.0]])}, 0.5).mask["w"].tolist()
        [[True, False], [False, True]]
    """
    demand_criterion(criterion)
    if isinstance(criterion, UnitCriterion):
        units = criterion.scored(units)
    within = Mask.full(weights) if within is None else within
    weights = _covered(weights, within)
    start = weights if start is None else _covered(start, within)
    collapsed: dict[str, None] = {}
    for each in exponential(within.density, density, getattr(criterion, "rounds", 1) if rounds is None else rounds):
        scores = criterion(within.apply(weights), start)
        pruned = _selected(scores, each, scope, within, units, network_of, keep_last)
        within = pruned.mask
        collapsed |= dict.fromkeys(pruned.collapsed)
    _warn(tuple(collapsed), density, units, keep_last, level)
    return Pruned(within, tuple(collapsed))


def select(
    scores: Weights,
    density: float,
    *,
    scope: Scope = "global",
    within: Mask | None = None,
    units: Units | None = None,
    network_of: Callable[[str], str] = first_word,
    keep_last: bool = True,
    level: int = 0,
) -> Pruned:
    """Keeps the round(density * n) weights, or whole units, with the highest scores; ties go to the earlier.

    Args:
        scores: name -> tensor, or NumPy array, of any dtype, finite where a weight is not yet gone.
        density: fraction to keep, in (0, 1], of all n prunable weights; with `units`, of all n units, so that the
            mask's own density is another one.
        scope: among which scores compete, see `prune`; a unit stands in the layer it is named for. A function is
            told `(number of units,)` as the shape of such a layer.
        within: the mask to shrink; what it dropped never comes back, a unit once it has lost all its weights.
        units: weights that are kept or dropped together, in the order of `units.score`. A weight of several units is
            kept only if all of them are; a weight of none stays.
        network_of: the network a layer belongs to, for scope "network".
        keep_last: keep the best weight (with units: the best unit) of a layer that would lose its last one.
        level: named in the warning.

    Raises:
        TypeError: scores that are no tensors or arrays.
        ValueError: impossible density, scores that are not finite or misshapen, unknown scope, units that the mask
            does not cover.

    Example:
        >>> select({"w": torch.tensor([[3.0, 1.0], [0.5, 2.0]])}, 0.5).mask["w"].tolist()
        [[True, False], [False, True]]
    """
    _demand_arrays(scores)
    within = Mask.full(scores) if within is None else within
    pruned = _selected(scores, density, scope, within, units, network_of, keep_last)
    _warn(pruned.collapsed, density, units, keep_last, level)
    return pruned


def _selected(
    scores: Weights,
    density: float,
    scope: Scope,
    within: Mask,
    units: Units | None,
    network_of: Callable[[str], str],
    keep_last: bool,
) -> Pruned:
    """Units compete just as weights do, each layer's units in place of its weights; then their weights follow."""
    flat = _scores(scores, within)
    if units is None:
        shapes = {name: tuple(kept.shape) for name, kept in within.items()}
        kept, collapsed = compete(flat, density, scope=scope, shapes=shapes, network_of=network_of, keep_last=keep_last)
        return Pruned(Mask({name: torch.from_numpy(kept[name].reshape(shapes[name])) for name in within}), collapsed)
    values = _unit_scores(units, within, flat)
    kept, collapsed = compete(
        values,
        density,
        scope=scope,
        shapes={layer: (count,) for layer, count in units.layers.items()},
        network_of=network_of,
        keep_last=keep_last,
        things="units",
    )
    stays = {layer: iter(bits.tolist()) for layer, bits in kept.items()}
    return Pruned(units.keep([next(stays[unit.layer]) for unit in units], within), collapsed)


def _covered(weights: Weights, mask: Mask) -> dict[str, torch.Tensor]:
    """The weights a mask covers, on the CPU and without gradients, in the mask's order."""
    for name, kept in mask.items():
        if name not in weights or weights[name].shape != kept.shape:
            raise ValueError(f"the mask covers {name!r} of shape {tuple(kept.shape)}, the weights given do not")
    return {name: weights[name].detach().cpu() for name in mask}


def _scores(given: Weights, within: Mask) -> dict[str, np.ndarray]:
    """Flat scores of each layer, minus infinity where the weight is already gone."""
    scores = {}
    _demand_arrays(given)
    for name, kept in within.items():
        if name not in given or tuple(given[name].shape) != tuple(kept.shape):
            raise ValueError(f"the criterion gave no scores of shape {tuple(kept.shape)} for {name!r}")
        alive = kept.numpy().ravel()
        found = given[name]
        numbers = found.detach().cpu().double().numpy() if isinstance(found, torch.Tensor) else found
        flat = np.asarray(numbers, dtype=np.float64).ravel()
        if not np.isfinite(flat[alive]).all():
            raise ValueError(f"the criterion's scores for {name!r} are not finite; did the weights diverge?")
        scores[name] = np.where(alive, flat, -np.inf)
    return scores


def _demand_arrays(given: object) -> None:
    """Raises TypeError where scores are no tensors or arrays by layer, naming the first that is none."""
    if not isinstance(given, Mapping):
        raise TypeError(
            f"the criterion gave a {type(given).__name__}; it must give scores for each layer: {{name: tensor}}"
        )
    for name, found in given.items():
        if not isinstance(found, torch.Tensor | np.ndarray):
            raise TypeError(
                f"the criterion gave a {type(found).__name__} as the scores of {name!r}; it must give a tensor or an "
                "array with a score for each weight"
            )


def _unit_scores(units: Units, within: Mask, scores: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each layer's scores of the units named for it, minus infinity where a unit is already gone."""
    # Zero, so that a unit's sum is over the weights it still has.
    flat = {name: torch.from_numpy(np.where(layer > -np.inf, layer, 0.0)) for name, layer in scores.items()}
    values: dict[str, list[float]] = {layer: [] for layer in units.layers}
    for unit, alive in zip(units, units.alive(within), strict=True):
        score = float(units.score(unit, flat)) if alive else -np.inf
        if alive and not np.isfinite(score):
            raise ValueError(
                f"the score of unit {unit.index} of {unit.layer!r} is not finite; did the weights diverge?"
            )
        values[unit.layer].append(score)
    return {layer: np.array(found) for layer, found in values.items()}


def _warn(collapsed: tuple[str, ...], density: float, units: Units | None, keep_last: bool, level: int) -> None:
    if collapsed:
        thing = "weight" if units is None else "unit"
        end = f"its best {thing} was kept" if keep_last else "the layer is empty from here on"
        warnings.warn(
            f"level {level}: {', '.join(collapsed)} lost the last {thing} at density {density:.3g}; {end}",
            LayerCollapseWarning,
            stacklevel=3,
        )
