"""Scopes: over which weights scores compete, and how many each group may keep."""

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Literal

import numpy as np

Densities = Callable[[Mapping[str, tuple[int, ...]], float], Mapping[str, float]]
"""From layer shapes and an overall density to a density for each layer, in [0, 1]; their sum is set right."""
Scope = Literal["global", "network", "layer"] | Densities


def demand_scope(scope: object) -> None:
    """Raises ValueError for what is no scope, before anything is trained for it."""
    if not (scope in ("global", "network", "layer") if isinstance(scope, str) else callable(scope)):
        raise ValueError(f'scope must be "global", "network", "layer" or a function such as erk, got {scope!r}')


def layer_densities(scope: Densities, shapes: Mapping[str, tuple[int, ...]], density: float) -> dict[str, float]:
    """What a scope that is a function gives each layer.

    Raises:
        TypeError: it gives no mapping.
        ValueError: a layer has no density, or one that is no number in [0, 1].
    """
    given = scope(shapes, density)
    if not isinstance(given, Mapping):
        raise TypeError(f"the scope gave {given!r}; it must give a density for each layer: {{name: density}}")
    for name in shapes:
        value = given.get(name)
        if not (isinstance(value, Real) and math.isfinite(value) and value >= 0):
            raise ValueError(f"the scope gave {name!r} the density {value!r}, which is none")
        # ERK's own arithmetic may end a bit above 1.
        if value > 1 + 1e-9:
            raise ValueError(
                f"the scope gave {name!r} the density {value!r}, more than all of it; densities are fractions of a "
                "layer in [0, 1]"
            )
    return {name: float(given[name]) for name in shapes}


def erk(shapes: Mapping[str, tuple[int, ...]], density: float) -> dict[str, float]:
    """Erdős-Rényi-Kernel densities: proportional to sum(shape) / prod(shape), none above 1.

    Small layers stay denser than large ones (Evci et al. 2020, RigL, arXiv 1911.11134). Give it as `scope=erk`.

    Example:
        >>> densities = erk({"wide": (100, 100), "narrow": (2, 100)}, density=0.1)
        >>> densities["narrow"] > densities["wide"]
        True
    """
    sizes = {name: float(np.prod(shape)) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    full: set[str] = set()
    while True:
        budget = density * sum(sizes.values()) - sum(sizes[name] for name in full)
        free = [name for name in shapes if name not in full]
        scale = budget / sum(raw[name] * sizes[name] for name in free) if free else 0.0
        over = {name for name in free if scale * raw[name] > 1}
        if not over:
            return {name: 1.0 if name in full else scale * raw[name] for name in shapes}
        full |= over


def apportion(wanted: Mapping[str, float], limits: Mapping[str, int], total: int) -> dict[str, int]:
    """Whole numbers in proportion to the wanted ones that sum to `total`, none above its limit.

    Largest remainders first (Hamilton's method); ties go to the earlier layer. What a limit cuts off goes to
    the layers that still have room, in proportion to what they wanted.

    Raises:
        ValueError: the limits sum to less than `total`.

    Example:
        >>> apportion({"a": 5.5, "b": 3.5, "c": 1.0}, {"a": 2, "b": 9, "c": 9}, 10)
        {'a': 2, 'b': 6, 'c': 2}
    """
    if total > sum(limits.values()):
        raise ValueError(f"{total} weights cannot be kept: only {sum(limits.values())} survive")
    shares = _shares(wanted, limits, total)
    counts = {name: min(int(shares[name]), limits[name]) for name in wanted}
    room = [name for name in wanted if counts[name] < limits[name]]
    # A stable sort, so that equal remainders keep the policy's order; rounded, so that they are equal.
    room.sort(key=lambda name: round(counts[name] - shares[name], 9))
    for name in room[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


def _shares(wanted: Mapping[str, float], limits: Mapping[str, int], total: int) -> dict[str, float]:
    """The total in proportion to the wanted numbers, cut at the limits; in proportion to limits if none is wanted."""
    shares: dict[str, float] = {}
    free = list(wanted)
    while free:
        rest = total - sum(shares.values())
        claims = wanted if any(wanted[name] for name in free) else limits
        whole = sum(claims[name] for name in free)
        over = [name for name in free if whole and claims[name] * rest > limits[name] * whole]
        if not over:
            return shares | {name: claims[name] * rest / whole if whole else 0.0 for name in free}
        shares |= {name: float(limits[name]) for name in over}
        free = [name for name in free if name not in over]
    return shares
