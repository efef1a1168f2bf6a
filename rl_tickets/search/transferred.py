"""What a transfer gives: a ticket for another agent, and layer by layer what of the first one is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.planting import plant
from rl_tickets.tickets.ticket import Ticket

Model = TypeVar("Model", bound=BaseAlgorithm)


@dataclass(frozen=True)
class LayerTransfer:
    """What became of one layer of the target.

    Args:
        target: path of the module in the target's policy.
        source: path of the module in the ticket's that it was carried from; None where nothing was.
        density: of its weights now, in (0, 1].
        reason: why nothing was carried, or empty.
    """

    target: str
    source: str | None
    density: float
    reason: str = ""

    def __str__(self) -> str:
        told = f"{self.target} <- {self.source}" if self.source is not None else f"{self.target} is new, {self.reason}"
        return f"{told} (density {self.density:.3g})"


@dataclass(frozen=True, repr=False)
class Transferred:
    """A ticket for another agent, and what of the first one is in it.

    Args:
        ticket: for agents of the target's `make_model`.
        layers: what became of each layer of the target, from inputs to outputs.
        left: paths of the ticket's layers of which nothing was carried.
        beside: names of other tensors that were carried: norms, `log_std`, entropy coefficients; `normalizer` for
            VecNormalize's statistics.
    """

    ticket: Ticket
    layers: tuple[LayerTransfer, ...]
    left: tuple[str, ...]
    beside: tuple[str, ...]

    @property
    def carried(self) -> dict[str, str]:
        """Target module -> the source's."""
        return {layer.target: layer.source for layer in self.layers if layer.source is not None}

    def plant(self, model: Model) -> Model:
        """See `Ticket.plant`."""
        return plant(self.ticket, model)

    def __repr__(self) -> str:
        ticket = self.ticket
        came, went = (
            f"{of.get('algorithm')} on {of.get('environment')}" for of in (_origin(ticket), ticket.provenance)
        )
        lines = [f"Transferred from {came} to {went}, density {ticket.density:.3g}", *map(str, self.layers)]
        for told, names in (("left behind", self.left), ("carried beside", self.beside)):
            lines += [f"{told}: {', '.join(names)}"] if names else []
        return "\n  ".join(lines)


def _origin(ticket: Ticket) -> Mapping[str, Any]:
    found: Mapping[str, Any] = ticket.provenance["transferred"]["from"]
    return found
