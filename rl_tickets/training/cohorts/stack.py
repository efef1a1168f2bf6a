"""The weights, masks and moments of a cohort's members, stacked along a leading member axis."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from operator import attrgetter
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.optim import Optimizer

from rl_tickets.agents.holding import Hold
from rl_tickets.tickets.mask import Mask
from rl_tickets.training.cohorts.optimizers import Rule


class Part(NamedTuple):
    """What one optimizer of an agent trains.

    Args:
        rule: of the optimizer.
        names: of the tensors that it moves.
    """

    rule: Rule
    names: tuple[str, ...]


class Stack:
    """While a member is placed here its own tensors are views of the stacked ones: it always sees its latest weights.

    Tensors have the names of the policy's parameters and buffers; a loose one has that of the agent's attribute.

    Args:
        model: any member; gives names and shapes.
        parts: what its optimizers train, by the optimizer's attribute path.
        masked: names of the parameters that a mask may cover.
        members: number of slots.
        loose: attributes of an agent that are tensors and belong to no network, as SAC's `log_ent_coef`.
    """

    def __init__(
        self, model: Any, parts: Mapping[str, Part], masked: Iterable[str], members: int, loose: tuple[str, ...] = ()
    ) -> None:
        self.parts, self.members, self._loose = parts, members, loose
        self._optimizers = {path: attrgetter(path) for path in parts}
        tensors = self._tensors(model)
        self.joined = [tensor.requires_grad for tensor in tensors.values()]
        """See `differentiated`: what it was when the cohort was made."""
        rules = {name: part.rule for part in parts.values() for name in part.names}
        self.weights = {name: _stacked(tensors[name], members) for name in rules}
        self.fixed = {name: _stacked(tensor, members) for name, tensor in tensors.items() if name not in rules}
        self.masks = {name: torch.ones_like(self.weights[name]) for name in masked if name in self.weights}
        # A member keeps its own: what changes them in a forward pass is seen to differ when it is rehearsed.
        self._buffers = {name for name, _ in model.policy.named_buffers()}
        # Weights that a mask covers and no gradient reaches.
        self._idle = [name for name in masked if name in self.fixed]
        self._holds: list[Hold | None] = [None] * members
        self.moments = {name: _repeated(rule.moments(self.weights[name][0]), members) for name, rule in rules.items()}
        self.counts = {path: torch.zeros(members) for path in parts}
        self.even = [True] * members
        """For each slot, whether an optimizer has made as many steps with each of its tensors: none was ever frozen."""
        self._lent: list[_Lent | None] = [None] * members

    def _tensors(self, model: Any) -> dict[str, torch.Tensor]:
        policy: nn.Module = model.policy
        loose = {name: getattr(model, name) for name in self._loose}
        return {**dict(policy.named_parameters()), **dict(policy.named_buffers()), **loose}

    def optimizer(self, path: str, model: Any) -> Optimizer:
        """An agent's, as it is now."""
        found: Optimizer = self._optimizers[path](model)
        return found

    def differentiated(self, slot: int) -> list[bool]:
        """Of each tensor of the member there, whether it requires a gradient."""
        lent = self._lent[slot]
        assert lent is not None, "nobody is there"
        return [tensor.requires_grad for tensor in lent.tensors.values()]

    def place(self, slot: int, model: Any) -> None:
        """Moves a member in; its mask is that of `follow`."""
        tensors = self._tensors(model)
        self.even[slot] = True
        for name, stacked in (*self.weights.items(), *self.fixed.items()):
            stacked[slot] = tensors[name].detach()
            if name not in self._buffers:
                tensors[name].data = _of_slot(stacked, slot)
        for path, part in self.parts.items():
            optimizer = self.optimizer(path, model)
            states = [optimizer.state.get(tensors[name], {}) for name in part.names]
            # Read before it is written: a member that is placed again counts here already.
            counts = {float(state.get("step", 0)) for state in states}
            self.counts[path][slot] = max(counts, default=0.0)
            even = len(counts) <= 1
            self.even[slot] = self.even[slot] and even
            for name, state in zip(part.names, states, strict=True):
                # Before its first step an optimizer has no state, and here it has none either.
                for key, initial in part.rule.moments(self.weights[name][slot]).items():
                    moment = _of_slot(self.moments[name][key], slot)
                    moment.copy_(state.get(key, initial))
                    if key in state:
                        state[key] = moment
                if even and "step" in state:
                    state["step"] = self._count(path, slot)
        self._note(slot, model, tensors)

    def adopt(self, slot: int, model: Any) -> None:
        """Takes over tensors, moments or an optimizer that a callback has put in the place of what is stacked here."""
        lent = self._lent[slot]
        if lent is None or not lent.is_there({path: find(model) for path, find in self._optimizers.items()}):
            self.place(slot, model)

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

    def publish(self, slot: int, model: Any) -> None:
        """Lets a member's optimizers see their moments and counts, each from its first step on."""
        lent = self._lent[slot]
        assert lent is not None, "publish follows place"
        for path, part in self.parts.items():
            begun = bool(self.counts[path][slot])
            if not begun or (path in lent.published and not isinstance(self._count(path, slot), int)):
                continue  # A tensor is a view, and counts by itself.
            optimizer = self.optimizer(path, model)
            for name in part.names:
                moments = {key: _of_slot(moment, slot) for key, moment in self.moments[name].items()}
                count = self._count(path, slot)
                if kept := moments if count is None else {"step": count, **moments}:
                    optimizer.state[lent.tensors[name]].update(kept)
            if path not in lent.published:
                self._note(slot, model, lent.tensors)

    def _count(self, path: str, slot: int) -> torch.Tensor | int | None:
        """How many steps an optimizer has made, as it keeps that: a tensor for each weight, a number, or nothing."""
        return self.parts[path].rule.count(_of_slot(self.counts[path], slot))

    def _note(self, slot: int, model: Any, tensors: dict[str, torch.Tensor]) -> None:
        optimizers: dict[str, Optimizer] = {path: find(model) for path, find in self._optimizers.items()}
        found = [
            _State(
                path, tensors[name], state, {key: state[key].data_ptr() for key in self.moments[name] if key in state}
            )
            for path, part in self.parts.items()
            for name in part.names
            if (state := optimizers[path].state.get(tensors[name])) is not None
        ]
        self._lent[slot] = _Lent(optimizers, {**tensors}, found)

    def release(self, slot: int, model: Any) -> None:
        """Gives a member tensors of its own again, with the values it has now; the slot is left empty."""
        tensors = self._tensors(model)
        if (held := self._holds[slot]) is not None:
            held.reclaim()
        self.follow(slot, None)
        self._lent[slot] = None
        for name in {*self.weights, *self.fixed} - self._buffers:
            tensors[name].data = tensors[name].data.clone()
        for path, part in self.parts.items():
            optimizer = self.optimizer(path, model)
            for name in part.names:
                self.weights[name][slot] = 0
                state: dict[str, Any] = optimizer.state.get(tensors[name], {})
                for key, value in state.items():
                    if isinstance(value, torch.Tensor):
                        state[key] = value.clone()

    def finite(self) -> list[bool]:
        """For each slot, whether all its trained weights are numbers."""
        sums = sum(weight.flatten(1).sum(1, dtype=torch.float64) for weight in self.weights.values())
        assert isinstance(sums, torch.Tensor)
        return [bool(each) for each in torch.isfinite(sums)]


class _State(NamedTuple):
    """The state that an optimizer keeps of one tensor, and where its moments lie."""

    optimizer: str
    tensor: torch.Tensor
    state: dict[str, Any]
    addresses: dict[str, int]

    def is_there(self, optimizer: Optimizer) -> bool:
        if optimizer.state.get(self.tensor) is not self.state:
            return False
        for key, address in self.addresses.items():
            if (moment := self.state.get(key)) is None or moment.data_ptr() != address:
                return False
        return True


class _Lent:
    """What a member was given.

    Args:
        optimizers: by attribute path.
        tensors: by name.
        states: those that its optimizers have.
    """

    def __init__(
        self, optimizers: dict[str, Optimizer], tensors: dict[str, torch.Tensor], states: list[_State]
    ) -> None:
        self.tensors = tensors
        self.published = {each.optimizer for each in states}
        """Optimizers that have a state."""
        self._sizes = {path: (optimizer, len(optimizer.state)) for path, optimizer in optimizers.items()}
        self._addresses = [tensor.data_ptr() for tensor in tensors.values()]
        self._states = states

    def is_there(self, optimizers: dict[str, Optimizer]) -> bool:
        """Whether everything still is where it was; asked before every rollout and update, so in few calls."""
        for path, (optimizer, count) in self._sizes.items():
            if optimizers[path] is not optimizer or len(optimizer.state) != count:
                return False
        if [tensor.data_ptr() for tensor in self.tensors.values()] != self._addresses:
            return False
        return all(each.is_there(optimizers[each.optimizer]) for each in self._states)


def _demand_covered(mask: Mask, names: Collection[str]) -> None:
    if beyond := [name for name in mask if name not in names]:
        raise ValueError(
            f"the mask covers {beyond[0]!r}, which this cohort does not mask: it was made for masks over "
            f"{', '.join(sorted(names))}; hold a mask over all layers before training, or train with plain SB3"
        )


def _of_slot(stacked: torch.Tensor, slot: int) -> torch.Tensor:
    """A view of one member's, whose storage ends where it does: `torch.save` writes whole storages."""
    return torch.from_numpy(stacked[slot : slot + 1].numpy()).squeeze(0)


def _stacked(tensor: torch.Tensor, members: int) -> torch.Tensor:
    return tensor.detach().expand(members, *tensor.shape).clone(memory_format=torch.contiguous_format)


def _repeated(moments: dict[str, torch.Tensor], members: int) -> dict[str, torch.Tensor]:
    return {key: _stacked(moment, members) for key, moment in moments.items()}
