"""What every search that prunes can tell before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.saliency import AgentCriterion
from rl_tickets.tickets.criteria import demand_criterion
from rl_tickets.tickets.mask import Mask, Prunable, kept_count
from rl_tickets.tickets.unit_criteria import NO_UNITS, UnitCriterion
from rl_tickets.training.drawing import MakeUnits
from rl_tickets.training.early_bird import EarlyBird


def demand_scores(criterion: object, units: object) -> None:
    """Raises TypeError for what scores nothing, ValueError for what scores units where none are said."""
    if not isinstance(criterion, AgentCriterion):
        demand_criterion(criterion)
    if units is None and scores_units(criterion):
        raise ValueError(NO_UNITS)


def scores_units(criterion: object) -> bool:
    """Whether a criterion scores whole units."""
    return isinstance(criterion, UnitCriterion) or (isinstance(criterion, AgentCriterion) and criterion.of_units)


def demand_early_scores(bird: EarlyBird, criterion: object) -> None:
    """Raises ValueError where early-bird would draw its masks by a criterion that looks at more than weights."""
    of = bird.criterion or criterion
    if isinstance(of, AgentCriterion) or scores_units(of):
        raise ValueError(
            "early-bird draws masks while an agent trains, by scores of single weights alone; give it a "
            "criterion of its own: EarlyBird(criterion=rt.magnitude)"
        )


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
