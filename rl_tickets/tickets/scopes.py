"""Scopes: over which weights scores compete, and how many each group may keep."""

from collections.abc import Callable, Mapping
from typing import Literal

import numpy as np

Densities = Callable[[Mapping[str, tuple[int, ...]], float], Mapping[str, float]]
"""From layer shapes and an overall density to a density for each layer."""
Scope = Literal["global", "network", "layer"] | Densities


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
    """Whole numbers near the wanted ones that sum to `total`, none above its limit.

    Largest remainders first (Hamilton's method); ties go to the earlier layer. What a limit cuts off goes to
    the layers that still have room, in proportion to what they wanted.
    """
    if total > sum(limits.values()):
        raise ValueError(f"{total} weights cannot be kept: only {sum(limits.values())} survive")
    counts = {name: min(int(wanted[name]), limits[name]) for name in wanted}
    while (missing := total - sum(counts.values())) != 0:
        step = 1 if missing > 0 else -1
        room = [name for name in wanted if (counts[name] < limits[name] if step > 0 else counts[name] > 0)]
        # A stable sort, so that equal remainders keep the policy's order.
        room.sort(key=lambda name: -step * (wanted[name] - counts[name]))
        share = max(1, abs(missing) // len(room))
        for name in room[: abs(missing)]:
            bound = limits[name] - counts[name] if step > 0 else counts[name]
            counts[name] += step * min(share, bound, abs(total - sum(counts.values())))
    return counts
