"""The identity of a choice as plain data: two choices that may train differently are described differently."""

from __future__ import annotations

import dataclasses
import enum
import hashlib
import math
from collections.abc import Mapping, Sequence, Set
from functools import partial
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

Plain = None | bool | int | float | str | list[Any] | dict[str, Any]
"""What JSON can hold."""
ADDED_LATER: Mapping[str, bool] = {"rl_tickets: added later": True}
"""Metadata of a dataclass field that older versions did not have: its default is what they did, and is not told."""


def describe(choice: object, name: str = "this setting") -> Plain:
    """A choice as plain data, the same in every process and never an address in memory.

    Dataclasses are described by their fields, partials by function and arguments, functions and classes by name;
    functions without a name of their own (lambdas, functions made by functions) also by their code, their defaults and
    the variables they close over.

    Args:
        choice: what a user chose: a criterion, a scope, an activation function, a number.
        name: what the error calls it.

    Raises:
        ValueError: it cannot be described, so that a change of it could go unnoticed; the way out is named.

    Example:
        >>> describe(partial(max, 3, key=abs))
        {'partial': 'max', 'args': [3], 'key': 'abs'}
    """
    match choice:
        case enum.Enum():
            return f"{type(choice).__qualname__}.{choice.name}"
        case None | bool() | int() | str():
            return choice
        case float():
            return choice if math.isfinite(choice) else repr(choice)
        case np.generic():
            return describe(choice.item(), name)
        case np.ndarray() | torch.Tensor():
            return _array(choice)
        case torch.dtype() | torch.device() | np.dtype() | range():
            return str(choice)
        case partial():
            given = {key: describe(value, f"{name}'s {key}") for key, value in choice.keywords.items()}
            args = {"args": [describe(value, name) for value in choice.args]} if choice.args else {}
            return {"partial": describe(choice.func, name), **args, **given}
        case MethodType():
            return {"method": choice.__func__.__qualname__, "of": describe(choice.__self__, name)}
        case FunctionType():
            return _function(choice, name)
        case type() | BuiltinFunctionType():
            return choice.__qualname__
        case ModuleType():
            return choice.__name__
        case Mapping():
            return {str(key): describe(value, f"{name}[{key!r}]") for key, value in choice.items()}
        case Set():
            return sorted((describe(item, name) for item in choice), key=repr)
        case Sequence():
            return [describe(item, f"{name}[{index}]") for index, item in enumerate(choice)]
    if dataclasses.is_dataclass(choice):
        # A choice not made is not told, so that a field that a later version adds makes no other thing of it.
        made = [f for f in dataclasses.fields(choice) if not _untold(f, getattr(choice, f.name))]
        fields = {f.name: describe(getattr(choice, f.name), f"{name}.{f.name}") for f in made}
        return {"type": type(choice).__qualname__, **fields}
    raise ValueError(
        f"{name} is a {type(choice).__qualname__} that cannot be described, so a change of it would go unnoticed: make "
        "it a frozen dataclass, a function, or a functools.partial of one"
    )


def _untold(field: dataclasses.Field[Any], value: object) -> bool:
    return (field.default is None or field.metadata == ADDED_LATER) and value is field.default


def _array(values: Any) -> dict[str, Plain]:
    array = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else values
    digest = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return {"array": digest, "shape": list(array.shape), "dtype": str(array.dtype)}


def _function(function: FunctionType, name: str) -> Plain:
    called = function.__qualname__
    if "<" not in called:
        return called
    # A lambda, or made by another function: its name alone tells nothing.
    told: dict[str, Plain] = {"code": _digest_of(function.__code__)}
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        value = _contents(cell)
        # A function that calls itself closes over itself.
        told[variable] = called if value is function else describe(value, f"{name}'s variable {variable}")
    given = {"defaults": function.__defaults__, **(function.__kwdefaults__ or {})}
    told |= {key: describe(value, f"{name}'s {key}") for key, value in given.items() if value is not None}
    return {"function": called, **told}


def _contents(cell: Any) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # Not set yet.
        return None


def _digest_of(code: CodeType) -> str:
    """Of what a function does, wherever its file lies."""
    constants = [_constant(each) for each in code.co_consts]
    return hashlib.sha256(repr((code.co_code, constants, code.co_names)).encode()).hexdigest()[:16]


def _constant(value: object) -> object:
    if isinstance(value, CodeType):
        return _digest_of(value)
    return sorted(map(repr, value)) if isinstance(value, frozenset) else repr(value)


def text_of(described: Plain) -> str:
    """What was described, as a line of text: `lamp`, `random_scores(seed=3)`, `Rewind(at=0, weights=True)`.

    Example:
        >>> text_of(describe(partial(round, ndigits=2)))
        'round(ndigits=2)'
    """
    if isinstance(described, list):
        return f"[{', '.join(map(text_of, described))}]"
    if not isinstance(described, dict):
        return str(described)
    rest = dict(described)
    called = next((rest.pop(key) for key in ("type", "partial", "function", "method") if key in rest), "")
    args = [text_of(value) for value in rest.pop("args", [])]
    args += [f"{key}={text_of(value)}" for key, value in rest.items()]
    return f"{text_of(called)}({', '.join(args)})"


def name_of(choice: object) -> str:
    """What a choice is called where it is only told, not compared: a function's name, or a line with its settings.

    Example:
        >>> name_of(max), name_of(partial(max, key=abs)), name_of("global")
        ('max', 'max(key=abs)', 'global')
    """
    if isinstance(choice, FunctionType | MethodType):
        return choice.__qualname__
    try:
        return text_of(describe(choice))
    except ValueError:
        return type(choice).__qualname__
