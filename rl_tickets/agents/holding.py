"""Holding a mask: pruned weights of an SB3 agent stay exactly zero, whatever trains it."""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary, ref

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch.optim import Optimizer

from rl_tickets.agents import anatomy
from rl_tickets.agents.constant_units import renorms, silence_constant_units
from rl_tickets.agents.enforcing import LeakError as LeakError
from rl_tickets.agents.enforcing import demand_zeros, held_class, zero
from rl_tickets.agents.fitting import demand_fit, demand_mask, demand_same_layers, demand_values
from rl_tickets.agents.moments import moments_of
from rl_tickets.agents.watching import DenseGradient
from rl_tickets.tickets.mask import Mask


class Hold:
    """A mask at work in one agent, and its one owner; made by `hold`, ended by `remove`.

    Example:
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16, n_epochs=1, seed=0, device="cpu")
        >>> held = hold(model, Mask.dense(model))
        >>> held.watch()
        >>> _ = model.learn(16)
        >>> gradient = held.gradient
        >>> held.change(Mask({name: g.abs() > 1e-3 for name, g in gradient.items()}))
        >>> 0 < held.mask.density < 1
        True
    """

    def __init__(self, model: BaseAlgorithm, mask: Mask) -> None:
        self._mask = mask
        self._class = type(model)
        # Weak: the hold is kept for as long as its agent lives, and must not keep the agent alive itself.
        self._model = ref(model)
        named = dict(model.policy.named_parameters())
        self._weights = {name: named[name] for name in mask}
        self._bits = {name: mask[name].to(p.device, p.dtype) for name, p in self._weights.items()}
        names = {id(p): name for name, p in self._weights.items()}
        self._twins = [(copy, names[id(p)]) for p, copy in anatomy.twins(model) if id(p) in names]
        everywhere = [*((p, name) for name, p in self._weights.items()), *self._twins]
        self._pairs = [(p, self._bits[name]) for p, name in everywhere]
        self._seen: DenseGradient | None = None
        self._handles: list[Any] = [
            p.register_hook(self._on_gradient(name))  # type: ignore[no-untyped-call]
            for name, p in self._weights.items()
        ]
        self._handles += [silence_constant_units(module) for module in renorms(model)]
        for optimizer in anatomy.optimizers(model).values():
            self._hold_optimizer(optimizer, names)
        for name, moment, _ in moments_of(self._agent(), self._weights):
            moment.masked_fill_(self._bits[name] == 0, 0)
        self.enforce()

    @property
    def mask(self) -> Mask:
        """The mask that is held now."""
        return self._mask

    # Multiplied, not filled: about ten times as fast. Only in an agent that diverged is zero times NaN not zero.
    def _on_gradient(self, name: str) -> Callable[[torch.Tensor], torch.Tensor]:
        bits = self._bits[name]

        def mask(gradient: torch.Tensor) -> torch.Tensor:
            if self._seen is not None:
                self._seen.pass_by(name, gradient)
            return gradient * bits

        return mask

    def _hold_optimizer(self, optimizer: Optimizer, names: Mapping[int, str]) -> None:
        """Zeroes pruned weights after each of this optimizer's steps."""
        params = [p for group in optimizer.param_groups for p in group["params"] if id(p) in names]
        if not params:
            return
        pairs = [(p, self._bits[names[id(p)]]) for p in params]

        # Only its own parameters: another optimizer's may be part of a graph that is still to be differentiated.
        def after_step(*_: object) -> None:
            if self._seen is not None:
                self._seen.freeze(names[id(p)] for p in params if p.grad is not None)
            zero(pairs)

        self._handles.append(optimizer.register_step_post_hook(after_step))

    @torch.no_grad()
    def change(self, mask: Mask, values: Mapping[str, torch.Tensor] | None = None) -> None:
        """Holds another mask over the same layers from now on; at any moment outside a backward pass.

        Weights that go, and their moments, become exactly zero. Weights that come start at zero, or at `values`,
        with the moments that their optimizer begins with; all others, and the optimizer's count of steps, stay. Copies
        in target networks follow at once: they become zero, or start at the same values.

        Args:
            mask: over the same layers as the one held now.
            values: for some of the layers a tensor of the layer's shape, read where weights come; zero elsewhere.

        Raises:
            ValueError: other layers, or values that fit none.
            RuntimeError: this hold has ended.

        Example:
            rt.hold(model, mask).change(other, values={"action_net.weight": torch.randn(2, 64)})
        """
        if not self._handles:
            raise RuntimeError("this hold has ended; hold a mask again with `hold(model, mask)`")
        values = values or {}
        demand_same_layers(self._mask, mask)
        demand_values(mask, values)
        come = {name: (mask[name] & ~self._mask[name]).to(p.device) for name, p in self._weights.items()}
        gone = {name: ~mask[name].to(p.device) for name, p in self._weights.items()}
        for p, name in [*((p, name) for name, p in self._weights.items()), *self._twins]:
            p.masked_fill_(gone[name] | come[name], 0)
            if name in values:
                p.copy_(torch.where(come[name], values[name].to(p.device, p.dtype), p))
        for name, moment, initial in moments_of(self._agent(), self._weights):
            moment.masked_fill_(gone[name], 0).masked_fill_(come[name], initial)
        for name, p in self._weights.items():
            # In place: hooks, and where an agent is one of several trained in lock-step, share these tensors.
            self._bits[name].copy_(mask[name])
            if p.grad is not None:
                p.grad.masked_fill_(gone[name], 0)
        self._mask = mask

    def watch(self) -> None:
        """From now on `gradient` has the dense gradient; costs a little while it is watched, nothing otherwise."""
        self._seen = self._seen or DenseGradient()

    def unwatch(self) -> None:
        """Ends `watch`, and forgets what was seen."""
        self._seen = None

    @property
    def watched(self) -> bool:
        """Whether somebody watches the gradient."""
        return self._seen is not None

    @property
    def seen(self) -> dict[str, torch.Tensor] | None:
        """What a checkpoint needs, so that `watch` and `take_gradient` go on from there; None where nobody watches."""
        return None if self._seen is None else self._seen.so_far()

    @property
    def gradient(self) -> dict[str, torch.Tensor]:
        """The gradient of the loss, of pruned weights too, before masking and norm clipping, by name: copies.

        Of each weight it is that of the last minibatch with which its optimizer made a step (where several losses
        reach a weight, as SAC's two reach the critic, of the loss that its optimizer used).

        Raises:
            RuntimeError: `watch` was not called, or nothing was trained since.
        """
        if self._seen is None:
            raise RuntimeError("nobody watches the gradient; call `watch()` before training")
        return self._seen.of(self._weights)

    def take_gradient(self, gradient: Mapping[str, torch.Tensor]) -> None:
        """For trainers that make gradient steps themselves: the dense gradient of their last step, if watched."""
        if self._seen is not None:
            self._seen.take(gradient)

    def lend(self, places: Mapping[str, torch.Tensor]) -> None:
        """For trainers that mask by themselves: keeps the mask's bits in these tensors, so that `change` is seen."""
        for name, place in places.items():
            place.copy_(self._bits[name])
            self._bits[name].data = place

    def reclaim(self) -> None:
        """Ends `lend`: the bits are the hold's own again."""
        for bits in self._bits.values():
            bits.data = bits.data.clone()

    def enforce(self) -> None:
        """Sets every pruned weight, target networks' included, to exactly zero."""
        zero(self._pairs)

    def check(self) -> None:
        """Raises LeakError, naming the layer, where a pruned weight is not exactly zero, or its layer was replaced."""
        policy = dict(self._agent().policy.named_parameters())
        for name, p in self._weights.items():
            if policy.get(name) is not p:
                raise LeakError(
                    f"{name} of this {self._class.__name__} is no longer the tensor that was held: its policy was "
                    "built anew, or replaced; hold the mask again"
                )
        names = {id(p): name for name, p in policy.items()}
        for p, bits in self._pairs:
            demand_zeros(p, bits, names.get(id(p), "a target network"), self._class)

    def remove(self) -> BaseAlgorithm:
        """Takes every hook out and gives the agent back as it is: zeros stay until training moves them.

        Pruned weights then have the moments that their optimizer begins with.
        """
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        model = self._agent()
        if _HOLDS.get(model) is self:
            for name, moment, initial in moments_of(self._agent(), self._weights):
                moment.masked_fill_(self._bits[name] == 0, initial)
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
    copies in target networks are exactly zero. `model.save` checks that, and goes on to write a plain SB3 file. What
    SB3 loads from one is not held, and trains its pruned weights: load it with `rt.load`.

    Args:
        model: any torch `BaseAlgorithm` with at least one optimizer.
        mask: over names of `model.policy.named_parameters()`.

    Raises:
        TypeError: the mask is none.
        ValueError: the agent has no optimizer, or the mask is of another architecture.

    Example:
        >>> from stable_baselines3 import A2C
        >>> model = A2C("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
        >>> half = Mask({name: torch.rand(kept.shape) < 0.5 for name, kept in Mask.dense(model).items()})
        >>> held = hold(model, half)
        >>> weight = model.learn(20).policy.action_net.weight
        >>> bool(weight[~half["action_net.weight"]].any()), held.remove() is model
        (False, True)
    """
    demand_mask(mask)
    demand_fit(dict(model.policy.named_parameters()), mask, anatomy.trained_parameters(model))
    if model in _HOLDS:
        _HOLDS[model].remove()
    held = Hold(model, mask)
    _HOLDS[model] = held
    model.__class__ = held_class(type(model), hold_of)
    return held


def hold_of(model: BaseAlgorithm) -> Hold | None:
    """What holds a mask in this agent, or None."""
    return _HOLDS.get(model)


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
