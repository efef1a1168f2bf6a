"""Choices as plain data: two that may train differently are described differently, and the same one always alike."""

from __future__ import annotations

import enum
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import rl_tickets as rt
from rl_tickets.tickets.identity import describe, text_of


@dataclass(frozen=True)
class SynFlow:
    """A criterion of a user's own."""

    rounds: int
    activation: Any = torch.nn.Tanh

    def __call__(self, weights: Any, start: Any) -> Any:
        return weights


class Bare:
    """Another, whose parameters nobody can see."""

    def __call__(self, weights: Any, start: Any) -> Any:
        return weights


class Colour(enum.Enum):
    RED = 1


def made(factor: float) -> Callable[[float], float]:
    return lambda x: factor * x


DIFFERENT: dict[str, tuple[object, object]] = {
    "fields of a dataclass": (SynFlow(1), SynFlow(100)),
    "a class in a field": (SynFlow(1), SynFlow(1, torch.nn.ReLU)),
    "arguments of a partial": (partial(rt.random_scores, seed=1), partial(rt.random_scores, seed=2)),
    "functions": (rt.lamp, rt.magnitude),
    "the body of a lambda": (lambda x: 1e-3 * x, lambda x: 1e-4 * x),
    "what a lambda calls": (lambda x: x.min(), lambda x: x.max()),
    "what a function closes over": (made(1.0), made(2.0)),
    "defaults of a lambda": (lambda x, y=1: x, lambda x, y=2: x),
    "methods of different objects": (SynFlow(1).__call__, SynFlow(2).__call__),
    "arrays": (np.zeros(2), np.ones(2)),
    "tensors of another shape": (torch.zeros(2, 1), torch.zeros(1, 2)),
    "enumerations": (Colour.RED, 1),
    "nested": ({"a": [1, (2.0, SynFlow(3))]}, {"a": [1, (2.0, SynFlow(4))]}),
}


@pytest.mark.parametrize("kind", DIFFERENT)
def test_different_choices_are_described_differently_and_as_plain_data(kind: str) -> None:
    one, other = DIFFERENT[kind]
    assert describe(one) != describe(other)
    assert json.loads(json.dumps(describe(one))) == describe(one)


@pytest.mark.parametrize("kind", DIFFERENT)
def test_no_description_holds_an_address(kind: str) -> None:
    for choice in DIFFERENT[kind]:
        assert " at 0x" not in json.dumps(describe(choice))


def test_a_description_is_the_same_in_every_process() -> None:
    """Sets of strings in a function's constants have another order in every process."""
    program = (
        "from rl_tickets.tickets.identity import describe; "
        "print(describe([lambda x: x in {'a', 'b', 'c', 'd'}, {'x', 'y', 'z'}]))"
    )
    command = [sys.executable, "-c", program]
    seeds = [os.environ | {"PYTHONHASHSEED": seed} for seed in "12"]
    told = {subprocess.run(command, env=seed, capture_output=True, text=True).stdout for seed in seeds}
    assert len(told) == 1
    assert "<lambda>" in told.pop()


@pytest.mark.parametrize("choice", [Bare(), {"deep": [Bare()]}, partial(made, Bare()), object()])
def test_what_cannot_be_described_is_refused_with_the_way_out(choice: object) -> None:
    with pytest.raises(ValueError, match=r"criterion.* is a (Bare|object) that cannot be described.* frozen dataclass"):
        describe(choice, "criterion")


def test_an_experiment_with_such_a_choice_is_refused() -> None:
    with pytest.raises(ValueError, match=r"IMP.criterion is a Bare that cannot be described"):
        rt.IMP(criterion=Bare()).settings()


def test_as_a_line_of_text() -> None:
    assert text_of(describe(rt.erk)) == "erk"
    assert text_of(describe("global")) == "global"
    assert text_of(describe(partial(rt.random_scores, seed=3))) == "random_scores(seed=3)"
    assert text_of(describe(SynFlow(2))) == "SynFlow(rounds=2, activation=Tanh)"
