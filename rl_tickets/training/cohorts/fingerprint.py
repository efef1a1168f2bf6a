"""Fingerprints: whether two networks compute the same function of their inputs, parameters and buffers.

A network's `repr` and `state_dict` need not show all that its forward pass uses: numbers, lists, arrays, functions
that it keeps as attributes. All of them are built into what is compiled for it.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import types
import uuid
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.distributions import Distribution
from torch import nn
from torch.optim import Optimizer

Print = tuple[Hashable, ...]
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...), range, slice, torch.dtype, torch.device)
_GENERATORS = (np.random.Generator, np.random.RandomState, torch.Generator)
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
_PASSING = {
    "distribution",
    "distributions",
    "gaussian_actions",
    "weights_dist",
    "exploration_mat",
    "exploration_matrices",
    "_latent_sde",
}
"""What SB3's distributions hold of the last forward pass, and of noise that is drawn anew."""
_TORCHS_OWN = {*vars(nn.Module())} - {*_HOOKS}


def fingerprint(network: nn.Module) -> str:
    """Equal for networks that differ in the values of their parameters and buffers at most.

    What cannot be compared, such as an open file, makes a fingerprint that no other call gives.

    Example:
        >>> fingerprint(nn.Linear(2, 3)) == fingerprint(nn.Linear(2, 3))
        True
        >>> first, second = nn.Linear(2, 3), nn.Linear(2, 3)
        >>> first.factors, second.factors = [1.0, 2.0], [1.0, 3.0]
        >>> fingerprint(first) == fingerprint(second)
        False
    """
    try:
        found: object = _Reader(network).networks()
    except Exception:  # Whatever a user's own object does when it is looked at; too deep a nest, too.
        found = uuid.uuid4().hex
    return hashlib.sha256(repr(found).encode()).hexdigest()


def attributes(network: nn.Module, holders: Mapping[str, object]) -> dict[str, Hashable]:
    """What the attributes of objects are, by dotted name; what cannot be compared is left out.

    Args:
        network: to whose modules the attributes may point.
        holders: objects by name, modules of the network among them; of modules, torch's own attributes are left out.

    Example:
        >>> network = nn.Linear(2, 3)
        >>> network.calls = 7
        >>> attributes(network, {"extractor": network})["extractor.calls"]
        ('int', '7')
    """
    found, again = (_attributes(network, holders) for _ in range(2))
    return {name: value for name, value in found.items() if value == again.get(name)}


def _attributes(network: nn.Module, holders: Mapping[str, object]) -> dict[str, Hashable]:
    reader = _Reader(network)
    found: dict[str, Hashable] = {}
    for owner, holder in holders.items():
        found |= {f"{owner}.{name}": value for name, value in reader.attributes(holder) if name not in _TORCHS_OWN}
    return found


class _Reader:
    """Reads one network; what it has read once it names by its number, so that circles end."""

    def __init__(self, network: nn.Module) -> None:
        self._modules = {id(module): number for number, module in enumerate(network.modules())}
        self._network = network
        # Kept: the number of an object that is gone would be another's.
        self._seen: dict[int, tuple[int, object]] = {}

    def networks(self) -> Print:
        return tuple((*self._class(type(module)), *self.attributes(module)) for module in self._network.modules())

    def attributes(self, holder: object) -> Iterator[Print]:
        # Of a network that is no part of this one, the parameters are no input either.
        hidden = _TORCHS_OWN if id(holder) in self._modules else set()
        if isinstance(holder, spaces.Space):
            hidden = {"_np_random", "low_repr", "high_repr"}  # A Box keeps its `repr` once somebody asks.
        if isinstance(holder, Distribution):
            hidden = _PASSING
        for name, value in sorted(_held(holder).items()):
            if name in _HOOKS and isinstance(value, Mapping):
                value = list(value.values())  # torch numbers the hooks of all networks in one row.
            if name not in hidden:
                yield name, self._read(value)

    def _read(self, value: object) -> Print:
        if type(value) in _PLAIN or isinstance(value, np.generic | np.dtype):
            return type(value).__name__, repr(value)
        if id(value) in self._modules:
            return "module", self._modules[id(value)]
        if isinstance(value, (*_GENERATORS, Optimizer)):
            return (type(value).__qualname__,)
        if isinstance(value, types.ModuleType | logging.Logger):
            return type(value).__name__, value.name if isinstance(value, logging.Logger) else value.__name__
        if isinstance(value, type):
            return self._class(value)
        if id(value) in self._seen:
            return "again", self._seen[id(value)][0]
        self._seen[id(value)] = len(self._seen), value
        return type(value).__module__, type(value).__qualname__, *self._parts(value)

    def _parts(self, value: Any) -> Print:
        """Of a value that is made of others."""
        match value:
            case torch.Tensor():
                return tuple(value.shape), str(value.dtype), _digest(value.detach().cpu().contiguous().numpy())
            case np.ndarray() if value.dtype != object:
                return value.shape, str(value.dtype), _digest(value)
            case np.ndarray():
                return value.shape, self._read(value.tolist())
            case Enum():
                return (value.name,)
            case Mapping():
                return tuple((self._read(key), self._read(item)) for key, item in value.items())
            case set() | frozenset():
                return tuple(sorted((self._read(item) for item in value), key=repr))
            case list() | tuple() | deque():
                return (*map(self._read, value), *self.attributes(value))
            case functools.partial():
                return self._read(value.func), self._read(value.args), self._read(value.keywords)
            case types.FunctionType():
                return self._function(value)
            case types.MethodType():
                return self._read(value.__func__), self._read(value.__self__)
            case types.BuiltinFunctionType() | types.MethodDescriptorType() | np.ufunc():
                return str(getattr(value, "__module__", "")), value.__name__
            case types.CodeType():
                return value.co_code, value.co_names, value.co_freevars, self._read(value.co_consts)
            case types.CellType():
                return (self._read(value.cell_contents),) if _is_full(value) else ("empty",)
            case property() | staticmethod() | classmethod():
                return tuple(self._read(getattr(value, part, None)) for part in ("__func__", "fget"))
        if _is_python(value) and (hasattr(value, "__dict__") or _held(value)):
            return tuple(self.attributes(value))
        return (uuid.uuid4().hex,)  # Nobody knows what is inside.

    def _function(self, function: types.FunctionType) -> Print:
        name = function.__module__, function.__qualname__
        inside = function.__defaults__, function.__kwdefaults__, function.__closure__
        return *name, self._read(function.__code__), *map(self._read, inside)

    def _class(self, cls: type) -> Print:
        """By name; a class that was made inside a function, where each call makes another, by its methods too."""
        if "<locals>" not in cls.__qualname__ or id(cls) in self._seen:
            return cls.__module__, cls.__qualname__
        self._seen[id(cls)] = len(self._seen), cls
        own = {name: item for name, item in vars(cls).items() if name not in ("__dict__", "__weakref__", "__doc__")}
        return cls.__module__, cls.__qualname__, *((name, self._read(item)) for name, item in sorted(own.items()))


def _held(value: object) -> dict[str, object]:
    """The attributes of an object, in `__dict__` or in slots."""
    slots = [name for cls in type(value).__mro__ for name in _names(vars(cls).get("__slots__", ()))]
    found = {name: getattr(value, name) for name in slots if name != "__dict__" and hasattr(value, name)}
    return {**found, **getattr(value, "__dict__", {})}


def _names(slots: str | Iterable[str]) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


def _is_python(value: object) -> bool:
    """Whether all of an object is in its attributes: its class was made in Python, and so were the bases."""
    made_in_python = 1 << 9
    return all(cls.__flags__ & made_in_python for cls in type(value).__mro__[:-1])


def _is_full(cell: types.CellType) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:
        return False


def _digest(array: np.ndarray[Any, Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
