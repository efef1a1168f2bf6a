"""What every search that prunes can tell before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.tickets.mask import Mask, kept_count


def demand_learning(model: BaseAlgorithm, total_timesteps: int) -> None:
    """Raises ValueError for an agent that would begin to learn after its budget."""
    if (starts := getattr(model, "learning_starts", 0)) >= total_timesteps:
        raise ValueError(
            f"nothing would be trained: learning_starts={starts} is not below the budget of "
            f"{total_timesteps} environment steps; choose an earlier start or a larger budget"
        )


def demand_a_weight_a_layer(mask: Mask, densities: Sequence[float]) -> None:
    """Raises ValueError for a density that leaves fewer weights than there are layers, each of which is to keep one."""
    total, layers = mask.total, len(mask)
    for density in densities:
        if kept_count(density, total) < layers:
            raise ValueError(
                f"density {density:g} keeps {kept_count(density, total)} weights, fewer than the {layers} layers; "
                f"the lowest that leaves each layer one is {layers / total:.3g}"
            )
