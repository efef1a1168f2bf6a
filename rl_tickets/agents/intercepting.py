"""Intercepting an algorithm's losses in SB3's own `train`, whichever algorithm it is: no optimizer makes its step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.optim import Optimizer

from rl_tickets.agents import anatomy

Take = Callable[[torch.Tensor, Sequence[torch.nn.Parameter]], None]
"""Called with each loss, where its optimizer would have made a step, and the parameters it would have moved."""


@contextmanager
def intercepted(learner: Any, take: Take, wanted: set[int]) -> Iterator[None]:
    """Meanwhile the losses of a learner's `train` are taken, with their graphs, and no step is made.

    An optimizer's loss is the sum of what was differentiated since its last `zero_grad`, as its gradient is.

    Args:
        learner: an agent whose weights nothing else moves.
        take: see `Take`.
        wanted: identities of the parameters that are asked for.
    """
    optimizers = [*anatomy.optimizers(learner).values()]
    intercepting = _Intercepting(take, wanted, optimizers)
    with ExitStack() as changes:
        for optimizer in optimizers:
            changes.enter_context(_attribute(optimizer, "step", intercepting.step_of(optimizer)))
            changes.enter_context(_attribute(optimizer, "zero_grad", intercepting.zero_grad_of(optimizer)))
        changes.enter_context(_backwards(intercepting.on_backward))
        if (own := getattr(learner, "_compute_actor_grad", None)) is not None:
            changes.enter_context(_attribute(learner, "_compute_actor_grad", intercepting.actor_grad(own)))
        yield


class _Intercepting:
    """A `train` in which optimizers make no steps, and whose losses are taken where they would have made them."""

    def __init__(self, take: Take, wanted: set[int], optimizers: Iterable[Optimizer]) -> None:
        self._take, self._wanted = take, wanted
        self._pending: dict[int, list[torch.Tensor]] = {id(optimizer): [] for optimizer in optimizers}

    def on_backward(self, loss: torch.Tensor) -> None:
        for pending in self._pending.values():
            pending.append(loss)

    def step_of(self, optimizer: Optimizer) -> Callable[..., None]:
        def step(*_: object, **__: object) -> None:
            # Whose gradient was taken away again, as TRPO's critic step does, would not have moved.
            moved = [p for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
            parameters = [p for p in moved if id(p) in self._wanted]
            losses = [loss for loss in self._pending[id(optimizer)] if loss.requires_grad]
            if parameters and losses:
                self._take(torch.stack([loss.reshape(()) for loss in losses]).sum(), parameters)

        return step

    def zero_grad_of(self, optimizer: Optimizer) -> Callable[..., None]:
        own = optimizer.zero_grad

        def zero_grad(*args: Any, **kwargs: Any) -> None:
            self._pending[id(optimizer)].clear()
            own(*args, **kwargs)

        return zero_grad

    def actor_grad(self, own: Callable[..., Any]) -> Callable[..., Any]:
        """TRPO's actor has no optimizer's step: its loss is the surrogate objective."""

        def compute(kl_div: torch.Tensor, policy_objective: torch.Tensor) -> Any:
            parameters, gradients, *rest = own(kl_div, policy_objective)
            self._take(-policy_objective, [p for p in parameters if id(p) in self._wanted])
            # Only for a step that is not made, of a length that must not be divided by zero.
            return (parameters, torch.ones_like(gradients), *rest)

        return compute


@contextmanager
def _attribute(holder: Any, name: str, value: object) -> Iterator[None]:
    """An attribute of its own meanwhile, in place of its class's."""
    before = vars(holder).get(name)
    setattr(holder, name, value)
    try:
        yield
    finally:
        if before is None:
            delattr(holder, name)
        else:
            setattr(holder, name, before)


@contextmanager
def _backwards(seen: Callable[[torch.Tensor], None]) -> Iterator[None]:
    """Every loss that is differentiated meanwhile, whose graph then stays for more."""
    own: Any = torch.Tensor.backward

    def backward(self: torch.Tensor, *args: Any, **kwargs: Any) -> None:
        own(self, *args, **{**kwargs, "retain_graph": True})
        seen(self)

    torch.Tensor.backward = backward  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.backward = own  # type: ignore[method-assign]
