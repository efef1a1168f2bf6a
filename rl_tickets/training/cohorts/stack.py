"""The weights, masks and moments of a cohort's members, stacked along a leading member axis."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from rl_tickets.agents.holding import Hold
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
        # Weights that a mask covers and no gradient reaches.
        self._idle = [name for name in masked if name in self.fixed]
        self._holds: list[Hold | None] = [None] * members
        self.moments = {name: _repeated(rule.moments(weight[0]), members) for name, weight in self.weights.items()}
        self.counts = torch.zeros(members)
        self._lent: list[_Lent | None] = [None] * members

    def place(self, slot: int, policy: nn.Module, optimizer: Optimizer) -> None:
        """Moves a member in; its mask is that of `follow`."""
        named = dict(policy.named_parameters())
        everything = {**named, **dict(policy.named_buffers())}
        for name, stacked in (*self.weights.items(), *self.fixed.items()):
            stacked[slot] = everything[name].detach()
        for name in self._idle:
            named[name].data = self.fixed[name][slot]
        for name, weight in self.weights.items():
            named[name].data = weight[slot]
            # Before its first step an optimizer has no state, and here it has none either.
            state = optimizer.state.get(named[name], {})
            for key, initial in self._rule.moments(weight[slot]).items():
                moment = self.moments[name][key][slot]
                moment.copy_(state.get(key, initial))
                if key in state:
                    state[key] = moment
            self.counts[slot] = float(state.get("step", 0))
        self._note(slot, policy, optimizer)

    def adopt(self, slot: int, policy: nn.Module, optimizer: Optimizer) -> None:
        """Takes over weights, moments or an optimizer that a callback has put in the place of what is stacked here."""
        lent = self._lent[slot]
        if (
            lent is None
            or lent.optimizer is not optimizer
            or not all(each.is_there(optimizer) for each in lent.tensors)
        ):
            self.place(slot, policy, optimizer)

    def follow(self, slot: int, held: Hold | None) -> None:
        """Masks a slot as this hold says, whatever it will change to; None keeps every weight.

        Raises:
            ValueError: the mask covers what the compiled functions do not mask.
        """
        if held is self._holds[slot]:
            return
        if held is not None:
            _demand_covered(held.mask, {*self.masks, *self._idle})
        for bits in self.masks.values():
            bits[slot] = 1
        if held is not None:
            held.lend({name: self.masks[name][slot] for name in held.mask if name in self.masks})
        self._holds[slot] = held

    def publish(self, slot: int, policy: nn.Module, optimizer: Optimizer) -> None:
        """Lets a member's optimizer see its moments and its count, from its first step on."""
        named = dict(policy.named_parameters())
        for name, moments in self.moments.items():
            state = optimizer.state[named[name]]
            state["step"] = self._rule.count(self.counts[slot])
            for key, moment in moments.items():
                state[key] = moment[slot]
        if (lent := self._lent[slot]) is None or not lent.published:
            self._note(slot, policy, optimizer)

    def _note(self, slot: int, policy: nn.Module, optimizer: Optimizer) -> None:
        named = dict(policy.named_parameters())
        states = {name: optimizer.state.get(named[name], {}) for name in self.weights}
        tensors = [
            _Tensor(named[name], key, tensor.data_ptr())
            for name, state in states.items()
            for key, tensor in ((None, named[name]), *((key, state.get(key)) for key in self.moments[name]))
            if tensor is not None
        ]
        self._lent[slot] = _Lent(optimizer, tensors, any(states.values()))

    def release(self, slot: int, policy: nn.Module, optimizer: Optimizer) -> None:
        """Gives a member tensors of its own again, with the values it has now; the slot is left empty."""
        named = dict(policy.named_parameters())
        if (held := self._holds[slot]) is not None:
            held.reclaim()
        self.follow(slot, None)
        self._lent[slot] = None
        for name in self._idle:
            named[name].data = named[name].data.clone()
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


class _Tensor(NamedTuple):
    """Where a member's weight, or a moment of it, lies."""

    weight: nn.Parameter
    moment: str | None
    address: int

    def is_there(self, optimizer: Optimizer) -> bool:
        if self.moment is None:
            return self.weight.data_ptr() == self.address
        found = optimizer.state.get(self.weight, {}).get(self.moment)
        return found is not None and bool(found.data_ptr() == self.address)


class _Lent(NamedTuple):
    """What a member was given: `published` tells whether its optimizer has a state."""

    optimizer: Optimizer
    tensors: list[_Tensor]
    published: bool


def _demand_covered(mask: Mask, names: Collection[str]) -> None:
    if beyond := [name for name in mask if name not in names]:
        raise ValueError(
            f"the mask covers {beyond[0]!r}, which this cohort does not mask: it was made for masks over "
            f"{', '.join(sorted(names))}; hold a mask over all layers before training, or train with plain SB3"
        )


def _stacked(tensor: torch.Tensor, members: int) -> torch.Tensor:
    return tensor.detach().expand(members, *tensor.shape).clone(memory_format=torch.contiguous_format)


def _repeated(moments: dict[str, torch.Tensor], members: int) -> dict[str, torch.Tensor]:
    return {key: _stacked(moment, members) for key, moment in moments.items()}
