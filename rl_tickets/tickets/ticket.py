"""A ticket: a mask, the weights of its rewind point, and where it came from (Frankle & Carbin 2019)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch

from rl_tickets.tickets import archive
from rl_tickets.tickets.mask import Mask

Model = TypeVar("Model")
FORMAT = 1
TOLD = ("algorithm", "environment", "seed", "level", "control")
"""What of its provenance a ticket's `repr` tells."""


@dataclass(frozen=True, eq=False)
class Ticket:
    """What another training run needs to start from this ticket.

    Args:
        mask: which weights are kept.
        weights: the policy's whole `state_dict` at the rewind point, before masking.
        state: other training state of the rewind point that was chosen to travel (optimizer moments, statistics
            of VecNormalize), as plain data and arrays.
        provenance: plain data: algorithm, environment, seed, steps, criterion, versions.

    Example:
        ticket.save("cartpole.ticket")
        Ticket.load("cartpole.ticket").plant(make_model(seed=1)).learn(100_000)
    """

    mask: Mask
    weights: Mapping[str, torch.Tensor]
    state: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        told = {key: self.provenance[key] for key in TOLD if key in self.provenance}
        overall = "" if self.overall_density is None else f" (of all weights {self.overall_density:.4g})"
        rest = "".join(f", {key}={value!r}" for key, value in told.items())
        return f"Ticket(density={self.density:.4g}{overall}, layers={len(self.mask)}{rest}, digest={self.digest[:8]})"

    @property
    def density(self) -> float:
        """Fraction of prunable weights kept, in (0, 1]."""
        return self.mask.density

    @property
    def overall_density(self) -> float | None:
        """Fraction kept of all the trained networks' parameters, biases and all else that is never pruned included.

        None in a ticket of an earlier version, which does not say how many there are.
        """
        parameters = self.provenance.get("parameters")
        return None if parameters is None else self.mask.density_among(parameters)

    @property
    def digest(self) -> str:
        """SHA-256 of mask and weights, as hex: equal for equal tickets, wherever they came from."""
        digest = hashlib.sha256(self.mask.digest.encode())
        for name, weight in self.weights.items():
            digest.update(name.encode())
            digest.update(archive.raw_bytes(weight))
        return digest.hexdigest()

    def save(self, path: str | Path) -> Path:
        """Writes the ticket to one safetensors file, whole or not at all."""
        tree = {
            "kind": "ticket",
            "format": FORMAT,
            "mask": dict(self.mask),
            "weights": dict(self.weights),
            "state": dict(self.state),
            "provenance": dict(self.provenance),
            "digest": self.digest,
        }
        archive.write(Path(path), tree)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> "Ticket":
        """Reads a ticket file; no code in it can run.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is truncated or altered, or holds something else than a ticket.
        """
        tree = archive.read(Path(path))
        if tree.get("kind") != "ticket":
            raise ValueError(f"{path} holds a {tree.get('kind', 'thing of unknown kind')}, not a ticket")
        if (found := tree.get("format")) != FORMAT:
            raise ValueError(f"{path} has ticket format {found}, this version reads {FORMAT}; update rl_tickets")
        return cls(Mask(tree["mask"]), tree["weights"], tree["state"], tree["provenance"])

    def plant(self, model: Model) -> Model:
        """Sets the weights in an SB3 agent, holds the mask there and gives the agent back, ready to `learn`.

        Raises:
            ValueError: the agent's architecture is another than the ticket's; the first difference is named.
        """
        from rl_tickets.agents.planting import plant

        # Model has no bound here: tickets do not know SB3.
        return plant(self, model)  # type: ignore[type-var]
