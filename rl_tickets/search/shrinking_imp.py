"""A search over neurons that gets cheaper with every level: each trains the smaller agent that its ticket leaves."""

from __future__ import annotations

from dataclasses import dataclass, replace

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.neurons import neurons
from rl_tickets.agents.trimmed import Trimmed
from rl_tickets.search.imp import IMP
from rl_tickets.search.plan import Setup
from rl_tickets.tickets.mask import Mask
from rl_tickets.training.drawing import MakeUnits
from rl_tickets.training.requests import Training


@dataclass(frozen=True)
class ShrinkingIMP(IMP):
    """`IMP` over whole neurons, each level of which trains the rewound ticket without the neurons that are gone.

    The smaller agent makes the same updates but for rounding, of narrower layers. Tickets, masks and trained weights
    are the dense agent's, so that files, controls (which train trimmed, too) and reports are as `IMP`'s; callbacks see
    the smaller agent. Seeds train in lock-step where their layers come out equally wide, as with scope "layer".

    Args:
        rewind, criterion, scope, early_bird, keep_last, densities: as of `IMP`.
        units: what is pruned; `rt.neurons`, or units of one's own whose loss leaves others unheard.

    Raises:
        TypeError, ValueError: as `IMP`; also where no units are pruned.

    Example:
        >>> from rl_tickets.tickets.unit_criteria import path_magnitude
        >>> ShrinkingIMP(criterion=path_magnitude, scope="layer").units.__name__
        'neurons'
    """

    units: MakeUnits | None = neurons

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.units is None:
            raise ValueError("single weights leave no smaller agent; prune whole units, such as units=rt.neurons")

    def check_agent(self, model: BaseAlgorithm, setup: Setup) -> None:
        """See `Plan`; the agent must be one that can be made smaller."""
        super().check_agent(model, setup)
        Trimmed(model, Mask.full(anatomy.prunable_weights(model, setup.prunable)))

    def _asked(self, request: Training) -> Training:
        return replace(request, trim=Trimmed)
