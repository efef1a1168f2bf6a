"""Tracing a function into one graph of tensor operations, and compiling that graph where there is a C++ compiler."""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch._inductor import compile as inductor_compile
from torch.distributions import Distribution
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

Flat = Callable[..., tuple[torch.Tensor, ...]]
"""A function of tensors that returns tensors."""

_COMPILED: dict[tuple[Any, ...], Flat] = {}
"""By graph and layout of the inputs: what is compiled serves every cohort of one shape in this process."""


def compiled(function: Flat, *inputs: torch.Tensor) -> Flat:
    """The same function as one compiled graph, for inputs of these shapes and strides; without a compiler, uncompiled.

    The compiler keeps a cache of its own on disk, which makes compiling the same graph faster in later processes.

    Raises:
        Exception: whatever torch raises about a function that cannot be traced.
    """
    with unvalidated(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = make_fx(function, tracing_mode="fake")(*inputs)
        key = (graph.code, tuple(map(_layout, inputs)), _constants(graph), torch.get_num_threads())
        if key not in _COMPILED:
            _COMPILED[key] = graph if compiler() is None else inductor_compile(graph, list(inputs))
    return _COMPILED[key]


def _layout(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype


def _constants(graph: GraphModule) -> tuple[Any, ...]:
    return tuple((name, *_layout(value), value.numpy().tobytes()) for name, value in graph.named_buffers())


def compiler() -> str | None:
    """The C++ compiler that would be used, None if there is none."""
    return next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)


@contextmanager
def unvalidated() -> Iterator[None]:
    """Without torch's checks of distributions' arguments, which depend on values and cannot be traced."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
