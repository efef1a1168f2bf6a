"""Fingerprints: networks are alike only if all they compute with is, but for parameters and buffers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from rl_tickets.training.cohorts.fingerprint import fingerprint


@dataclass
class Factor:
    value: float


class Plain:
    def __init__(self, value: Any) -> None:
        self.value = value


def times(factor: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: x * factor


def local_class(factor: float) -> type:
    class Local:
        def __call__(self, x: torch.Tensor) -> torch.Tensor:
            return x * factor

    return Local


def seeded(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Linear(2, 2)


def circle(value: float) -> list[Any]:
    found: list[Any] = [value]
    found.append(found)
    return found


DIFFERENT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "numbers": (lambda: 1.0, lambda: 2.0),
    "number and text": (lambda: 1, lambda: "1"),
    "lists": (lambda: [1.0, 2.0], lambda: [1.0, 3.0]),
    "list and tuple": (lambda: [1], lambda: (1,)),
    "dicts": (lambda: {"a": [1]}, lambda: {"a": [2]}),
    "sets": (lambda: {"a", "b"}, lambda: {"a", "c"}),
    "arrays": (lambda: np.arange(2000.0), lambda: np.arange(2000.0) + (np.arange(2000) == 1000)),
    "tensors": (lambda: torch.zeros(3), lambda: torch.ones(3)),
    "tensors of other types": (lambda: torch.zeros(2), lambda: torch.zeros(2, dtype=torch.float64)),
    "constants of functions": (lambda: lambda x: x + 1, lambda: lambda x: x + 2),
    "names in functions": (lambda: lambda x: x.sin(), lambda: lambda x: x.cos()),
    "closures": (lambda: times(1.0), lambda: times(2.0)),
    "functions in functions": (lambda: lambda x: (lambda: x + 1)(), lambda: lambda x: (lambda: x + 2)()),
    "torch's functions": (lambda: torch.sin, lambda: torch.cos),
    "partials": (lambda: partial(torch.clamp, min=0.0), lambda: partial(torch.clamp, min=1.0)),
    "methods": (lambda: Factor(1.0).__eq__, lambda: Factor(2.0).__eq__),
    "dataclasses": (lambda: Factor(1.0), lambda: Factor(2.0)),
    "objects": (lambda: Plain([Plain(1)]), lambda: Plain([Plain(2)])),
    "classes": (lambda: torch.nn.ReLU, lambda: torch.nn.Tanh),
    "classes made in functions": (lambda: local_class(1.0), lambda: local_class(2.0)),
    "networks that are no part": (lambda: [seeded(0)], lambda: [seeded(1)]),
    "circles": (lambda: circle(1.0), lambda: circle(2.0)),
    "spaces": (lambda: spaces.Box(0, np.full(3, 1, np.float32)), lambda: spaces.Box(0, np.arange(1, 4, dtype="f"))),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_a_fingerprint_shows_every_attribute(kind: str) -> None:
    def network(value: Any, name: str = "_value") -> torch.nn.Module:
        found = torch.nn.Sequential(torch.nn.Linear(2, 2))
        setattr(found[0], name, value)
        return found

    one, other = DIFFERENT[kind]
    assert fingerprint(network(one())) == fingerprint(network(one()))
    assert fingerprint(network(one())) != fingerprint(network(other()))
    assert fingerprint(network(one())) != fingerprint(network(one(), "value"))


def test_what_cannot_be_compared_is_like_nothing_else() -> None:
    def deep() -> Any:
        found: Any = 0
        for _ in range(10_000):
            found = [found]
        return found

    for opaque in (object(), iter([1]), threading.Lock(), deep()):
        network = torch.nn.Linear(2, 2)
        network.opaque = opaque
        assert fingerprint(network) != fingerprint(network)


def test_a_fingerprint_knows_hooks_and_shared_layers() -> None:
    def hooked(factor: float) -> torch.nn.Module:
        network = torch.nn.Linear(2, 2)
        network.register_forward_hook(lambda *given: given[-1] * factor)
        return network

    assert fingerprint(hooked(1.0)) == fingerprint(hooked(1.0)) != fingerprint(hooked(2.0))
    layers = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    mirrored = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    layers.order, mirrored.order = [layers[0], layers[1]], [mirrored[1], mirrored[0]]  # type: ignore[assignment]
    assert fingerprint(layers) != fingerprint(mirrored)
    mirrored.order.reverse()  # type: ignore[operator, union-attr]
    assert fingerprint(layers) == fingerprint(mirrored)
