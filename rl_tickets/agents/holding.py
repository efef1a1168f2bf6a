"""Holding a mask: pruned weights of an SB3 agent stay exactly zero, whatever trains it."""

from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, ref

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn
from torch.optim import Optimizer

from rl_tickets.agents import anatomy
from rl_tickets.tickets.mask import Mask

Model = TypeVar("Model", bound=BaseAlgorithm)


class LeakError(RuntimeError):
    """A pruned weight became non-zero in spite of its mask."""


class Hold:
    """A mask at work in one agent; made by `hold`, ended by `remove`."""

    def __init__(self, model: BaseAlgorithm, mask: Mask) -> None:
        self.mask = mask
        self._class = type(model)
        # Weak: the hold is kept for as long as its agent lives, and must not keep the agent alive itself.
        self._model = ref(model)
        named = dict(model.policy.named_parameters())
        self._bits = {id(named[name]): mask[name].to(named[name].device, named[name].dtype) for name in mask}
        online = [named[name] for name in mask]
        copies = [(copy, self._bits[id(p)]) for p, copy in anatomy.twins(model) if id(p) in self._bits]
        self._pairs = [(p, self._bits[id(p)]) for p in online] + copies
        self._handles: list[Any] = [
            p.register_hook(_multiply_by(self._bits[id(p)]))  # type: ignore[no-untyped-call]
            for p in online
        ]
        for optimizer in anatomy.optimizers(model).values():
            self._hold_optimizer(optimizer)
        self.enforce()

    def _hold_optimizer(self, optimizer: Optimizer) -> None:
        """Zeroes the moments of pruned weights, and the weights after each of this optimizer's steps."""
        params = [p for group in optimizer.param_groups for p in group["params"] if id(p) in self._bits]
        if not params:
            return
        pairs = [(p, self._bits[id(p)]) for p in params]
        for p, kept in pairs:
            for moment in optimizer.state.get(p, {}).values():
                if isinstance(moment, torch.Tensor) and moment.shape == p.shape:
                    moment.mul_(kept)

        # Only its own parameters: another optimizer's may be part of a graph that is still to be differentiated.
        def after_step(*_: object) -> None:
            _zero(pairs)

        self._handles.append(optimizer.register_step_post_hook(after_step))

    def enforce(self) -> None:
        """Sets every pruned weight, target networks' included, to exactly zero."""
        _zero(self._pairs)

    def check(self) -> None:
        """Raises LeakError, naming the layer, where a pruned weight is not exactly zero."""
        names = {id(p): name for name, p in self._agent().policy.named_parameters()}
        for p, bits in self._pairs:
            pruned = p.detach()[bits == 0]
            if pruned.isnan().any():  # The agent diverged, nothing leaked.
                p.detach().masked_fill_(bits == 0, 0)
                continue
            leaked = int(pruned.count_nonzero())
            if leaked:
                raise LeakError(
                    f"{leaked} pruned weights of {names.get(id(p), 'a target network')} are no longer zero after "
                    f"training this {self._class.__name__}; something writes weights past the optimizer"
                )

    def remove(self) -> BaseAlgorithm:
        """Takes every hook out and gives the agent back as it is: zeros stay until training moves them."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        model = self._agent()
        if _HOLDS.get(model) is self:
            model.__class__ = self._class
            del _HOLDS[model]
        return model

    def _agent(self) -> BaseAlgorithm:
        model = self._model()
        if model is None:
            raise ReferenceError("the agent this mask was held in is gone; keep a reference to it")
        return model


_HOLDS: "WeakKeyDictionary[BaseAlgorithm, Hold]" = WeakKeyDictionary()
"""Kept beside the agents, not on them: `model.save` pickles an agent's attributes."""


def hold(model: BaseAlgorithm, mask: Mask) -> Hold:
    """Holds a mask in an agent from now on; an earlier hold on the same agent is replaced.

    Pruned weights, their gradients (so that norm clipping sees kept weights only), their optimizer moments and their
    copies in target networks are exactly zero. `model.save` goes on to write a plain SB3 file; a model loaded from
    one must be held again.

    Args:
        model: any torch `BaseAlgorithm` with at least one optimizer.
        mask: over names of `model.policy.named_parameters()`.

    Raises:
        ValueError: the agent has no optimizer, or the mask is of another architecture.

    Example:
        held = rt.hold(model, mask); model.learn(10_000); held.remove()
    """
    _demand_fit(dict(model.policy.named_parameters()), mask, anatomy.trained_parameters(model))
    if model in _HOLDS:
        _HOLDS[model].remove()
    held = Hold(model, mask)
    _HOLDS[model] = held
    model.__class__ = _held_class(type(model))
    return held


def held_mask(model: BaseAlgorithm) -> Mask | None:
    """The mask an agent is held to, or None."""
    return _HOLDS[model].mask if model in _HOLDS else None


def class_of(model: BaseAlgorithm) -> type[BaseAlgorithm]:
    """The agent's class as its user knows it, held or not."""
    return _HOLDS[model]._class if model in _HOLDS else type(model)


def check_held(model: BaseAlgorithm) -> None:
    """Raises LeakError if the agent is held and a pruned weight is not exactly zero."""
    if model in _HOLDS:
        _HOLDS[model].check()


def _held_class(cls: type[Model]) -> type[Model]:
    """The same algorithm, whose `train`, `learn` and `set_parameters` keep the mask; what it loads is not held.

    A subclass, since attributes set on the agent would end in its saved file.
    """

    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = cls.train(self, *args, **kwargs)  # type: ignore[attr-defined]
        # TRPO and algorithms of users' own write weights past the optimizer.
        _hold_of(self).enforce()
        return result

    def learn(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = cls.learn(self, *args, **kwargs)
        _hold_of(self).check()
        return result

    def set_parameters(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = cls.set_parameters(self, *args, **kwargs)
        _hold_of(self).enforce()
        return result

    def load(_: Any, *args: Any, **kwargs: Any) -> Any:
        return cls.load(*args, **kwargs)

    methods: dict[str, Any] = {"learn": learn, "set_parameters": set_parameters, "load": classmethod(load)}
    if hasattr(cls, "train"):
        methods["train"] = train
    return type(cls.__name__, (cls,), {**methods, "__module__": cls.__module__, "__qualname__": cls.__qualname__})


def _hold_of(model: BaseAlgorithm) -> Hold:
    if model not in _HOLDS:
        raise LeakError(f"this {type(model).__name__} is a copy of a held agent, without hooks; hold the mask again")
    return _HOLDS[model]


def _demand_fit(named: dict[str, nn.Parameter], mask: Mask, owned: set[int]) -> None:
    for name in mask:
        if name not in named:
            raise ValueError(f"the mask covers {name!r}, which this policy lacks: it is of another architecture")
        if named[name].shape != mask[name].shape:
            raise ValueError(
                f"the mask's {name!r} has shape {tuple(mask[name].shape)}, the policy's {tuple(named[name].shape)}: "
                "it is of another architecture"
            )
        if id(named[name]) not in owned:
            raise ValueError(f"no optimizer trains {name!r}, so there is nothing to hold there")


# Multiplied, not filled: about ten times as fast. Only in an agent that diverged is zero times NaN not zero.
def _multiply_by(bits: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda gradient: gradient * bits


@torch.no_grad()
def _zero(pairs: list[tuple[nn.Parameter, torch.Tensor]]) -> None:
    torch._foreach_mul_([p for p, _ in pairs], [bits for _, bits in pairs])
