"""Enforcing a mask: pruned weights are zero again after whatever writes weights, and a leak is an error."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch
from stable_baselines3.common.base_class import BaseAlgorithm

Model = TypeVar("Model", bound=BaseAlgorithm)
Pairs = list[tuple[torch.nn.Parameter, torch.Tensor]]
"""Parameters, each with the bits of its mask in its own dtype."""


class LeakError(RuntimeError):
    """A pruned weight became non-zero in spite of its mask."""


class Enforced(Protocol):
    """What holds a mask in an agent."""

    def enforce(self) -> None: ...

    def check(self) -> None: ...


@torch.no_grad()
def zero(pairs: Pairs) -> None:
    """Sets pruned weights to zero; in an agent that diverged NaN stays."""
    torch._foreach_mul_([p for p, _ in pairs], [bits for _, bits in pairs])


def demand_zeros(p: torch.nn.Parameter, bits: torch.Tensor, name: str, cls: type[BaseAlgorithm]) -> None:
    """Raises LeakError where a pruned weight is not exactly zero."""
    pruned = p.detach()[bits == 0]
    if pruned.isnan().any():  # The agent diverged, nothing leaked.
        p.detach().masked_fill_(bits == 0, 0)
    elif leaked := int(pruned.count_nonzero()):
        raise LeakError(
            f"{leaked} pruned weights of {name} are no longer zero in this {cls.__name__}: something wrote weights "
            "past the optimizer, as `policy.load_state_dict` does; hold the mask again to set them to zero"
        )


def held_class(cls: type[Model], hold_of: Callable[[BaseAlgorithm], Enforced | None]) -> type[Model]:
    """The same algorithm, whose `train`, `learn` and `set_parameters` keep the mask, and whose `save` checks it.

    What it loads is not held: see `rl_tickets.load`.

    A subclass, since attributes set on the agent would end in its saved file.

    Args:
        cls: the algorithm.
        hold_of: what holds a mask in an agent, or None.
    """

    def demand_hold(model: BaseAlgorithm) -> Enforced:
        if (held := hold_of(model)) is None:
            raise LeakError(f"this {cls.__name__} is a copy of a held agent, without hooks; hold the mask again")
        return held

    # A callback may have ended the hold, or begun another, by the time the method returns.
    def train(self: Any, *args: Any, **kwargs: Any) -> Any:
        demand_hold(self)
        result = cls.train(self, *args, **kwargs)  # type: ignore[attr-defined]
        # TRPO and algorithms of users' own write weights past the optimizer.
        if (held := hold_of(self)) is not None:
            held.enforce()
        return result

    def learn(self: Any, *args: Any, **kwargs: Any) -> Any:
        demand_hold(self)
        result = cls.learn(self, *args, **kwargs)
        if (held := hold_of(self)) is not None:
            held.check()
        return result

    def set_parameters(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = cls.set_parameters(self, *args, **kwargs)
        demand_hold(self).enforce()
        return result

    def save(self: Any, *args: Any, **kwargs: Any) -> None:
        # Before a file is written: whoever loads it has no mask to check it with.
        if (held := hold_of(self)) is not None:
            held.check()
        cls.save(self, *args, **kwargs)

    def load(_: Any, *args: Any, **kwargs: Any) -> Any:
        return cls.load(*args, **kwargs)

    methods: dict[str, Any] = {"learn": learn, "set_parameters": set_parameters, "save": save}
    methods["load"] = classmethod(load)
    if hasattr(cls, "train"):
        methods["train"] = train
    return type(cls.__name__, (cls,), {**methods, "__module__": cls.__module__, "__qualname__": cls.__qualname__})
