"""What every search that prunes can tell before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.tickets.mask import Mask, Prunable, kept_count
from rl_tickets.training.drawing import MakeUnits


def demand_learning(model: BaseAlgorithm, total_timesteps: int) -> None:
    """Raises ValueError for an agent that would begin to learn after its budget."""
    if (starts := getattr(model, "learning_starts", 0)) >= total_timesteps:
        raise ValueError(
            f"nothing would be trained: learning_starts={starts} is not below the budget of "
            f"{total_timesteps} environment steps; choose an earlier start or a larger budget"
        )


def demand_one_a_layer(
    model: BaseAlgorithm, prunable: Prunable | None, units: MakeUnits | None, densities: Sequence[float]
) -> None:
    """Raises ValueError for a density that leaves fewer weights, or units, than layers, each of which keeps one."""
    total, layers, things = _things(model, prunable, units)
    for density in densities:
        if kept_count(density, total) < layers:
            raise ValueError(
                f"density {density:g} keeps {kept_count(density, total)} {things}, fewer than the {layers} layers; "
                f"the lowest that leaves each layer one is {layers / total:.3g}"
            )


def _things(model: BaseAlgorithm, prunable: Prunable | None, units: MakeUnits | None) -> tuple[int, int, str]:
    """How much there is to prune, in how many layers, and what it is."""
    if units is None:
        mask = Mask.dense(model, prunable)
        return mask.total, len(mask), "weights"
    found = units(model, prunable)
    return len(found), len(found.layers), "units"
