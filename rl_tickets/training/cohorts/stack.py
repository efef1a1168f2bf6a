"""The weights, masks and moments of a cohort's members, stacked along a leading member axis."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from rl_tickets.tickets.mask import Mask
from rl_tickets.training.cohorts.optimizers import Rule


class Stack:
    """While a member is placed here its own tensors are views of the stacked ones: it always sees its latest weights.

    Args:
        policy: of any member; gives names and shapes.
        trained: names of the parameters that training moves.
        masked: names of the parameters that a mask may cover.
        rule: of the optimizer.
        members: number of slots.
    """

    def __init__(
        self, policy: nn.Module, trained: Iterable[str], masked: Iterable[str], rule: Rule, members: int
    ) -> None:
        self._rule = rule
        named = dict(policy.named_parameters())
        self.weights = {name: _stacked(named[name], members) for name in trained}
        others = {**named, **dict(policy.named_buffers())}
        self.fixed = {name: _stacked(tensor, members) for name, tensor in others.items() if name not in self.weights}
        self.masks = {name: torch.ones_like(self.weights[name]) for name in masked if name in self.weights}
        self.moments = {name: _repeated(rule.moments(weight[0]), members) for name, weight in self.weights.items()}
        self.counts = torch.zeros(members)

    def place(self, slot: int, policy: nn.Module, optimizer: Optimizer, mask: Mask) -> None:
        """Moves a member in."""
        named = dict(policy.named_parameters())
        everything = {**named, **dict(policy.named_buffers())}
        for name, stacked in (*self.weights.items(), *self.fixed.items()):
            stacked[slot] = everything[name].detach()
        for name, bits in self.masks.items():
            bits[slot] = mask.get(name, torch.ones(()))
        for name, weight in self.weights.items():
            named[name].data = weight[slot]
            state = optimizer.state.get(named[name], {})
            for key, initial in self._rule.moments(weight[slot]).items():
                self.moments[name][key][slot] = state.get(key, initial)
            self.counts[slot] = float(state.get("step", 0))

    def publish(self, slot: int, policy: nn.Module, optimizer: Optimizer) -> None:
        """Lets a member's optimizer see its moments, from its first step on."""
        named = dict(policy.named_parameters())
        for name, moments in self.moments.items():
            state = optimizer.state[named[name]]
            state["step"] = self._rule.count(self.counts[slot])
            for key, moment in moments.items():
                state[key] = moment[slot]

    def release(self, slot: int, policy: nn.Module, optimizer: Optimizer) -> None:
        """Gives a member tensors of its own again, with the values it has now; the slot is left empty."""
        named = dict(policy.named_parameters())
        for name, weight in self.weights.items():
            named[name].data = named[name].data.clone()
            weight[slot] = 0
            state: dict[str, Any] = optimizer.state.get(named[name], {})
            for key, value in state.items():
                if isinstance(value, torch.Tensor):
                    state[key] = value.clone()

    def finite(self) -> list[bool]:
        """For each slot, whether all its trained weights are numbers."""
        sums = sum(weight.flatten(1).sum(1, dtype=torch.float64) for weight in self.weights.values())
        assert isinstance(sums, torch.Tensor)
        return [bool(each) for each in torch.isfinite(sums)]


def _stacked(tensor: torch.Tensor, members: int) -> torch.Tensor:
    return tensor.detach().expand(members, *tensor.shape).clone(memory_format=torch.contiguous_format)


def _repeated(moments: dict[str, torch.Tensor], members: int) -> dict[str, torch.Tensor]:
    return {key: _stacked(moment, members) for key, moment in moments.items()}
