"""Tracing a function into one graph of tensor operations, and compiling that graph where there is a C++ compiler."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_flatten, tree_unflatten

from rl_tickets.agents.validation import unvalidated

Tensors = tuple[torch.Tensor, ...]
Flat = Callable[..., Tensors]
"""A function of tensors."""

_COMPILED: dict[tuple[Any, ...], Flat] = {}
"""By graph and layout of the inputs: what is compiled serves every cohort of one shape in this process."""
_COMPILES = ContextVar("_COMPILES", default=True)


class Traced:
    """A function as one graph, for inputs of these shapes and strides; compiled when it is prepared, or first called.

    The compiler keeps a cache on disk, which makes compiling the same graph faster in later processes. Without a C++
    compiler, or with one that fails, the graph runs as it is.

    Args:
        function: of `standing`, then of tensors; may change them in place.
        standing: tensors in any nest of dicts, tuples and lists; read anew, and perhaps changed, at every call.
        inputs: examples of the other tensors; their values do not matter.

    Raises:
        Exception: whatever torch raises about a function that cannot be traced.
        Exception: when prepared, or first called, whatever the compiler raises about a graph that it mistakes.
        OSError: then, too, where the compiler's cache cannot be written.
    """

    def __init__(self, function: Flat, standing: Any, *inputs: torch.Tensor) -> None:
        self._standing, nest = tree_flatten(standing)
        count = len(self._standing)

        def of_flat(*flat: torch.Tensor) -> Tensors:
            return function(tree_unflatten(flat[:count], nest), *flat[count:])

        with _quiet():
            self._graph = make_fx(of_flat, tracing_mode="fake")(*self._standing, *inputs)
        layouts = tuple(map(_layout, (*self._standing, *inputs)))
        self._key = (self._graph.code, layouts, _constants(self._graph), torch.get_num_threads())
        self._compiled: Flat | None = None

    @torch.no_grad()
    def __call__(self, *inputs: torch.Tensor) -> Tensors:
        return self.prepare(*inputs)(*self._standing, *inputs)

    @torch.no_grad()
    def prepare(self, *inputs: torch.Tensor) -> Flat:
        """Compiles it now, if it is not yet, and runs it once on copies; the values of the inputs do not matter."""
        if not _COMPILES.get():
            return self._graph
        if self._compiled is None:
            if self._key not in _COMPILED:
                made = self._compile(*self._standing, *inputs)
                made(*(tensor.clone() for tensor in self._standing), *inputs)
                _COMPILED[self._key] = made
            self._compiled = _COMPILED[self._key]
        return self._compiled

    def _compile(self, *inputs: torch.Tensor) -> Flat:
        if compiler() is None:
            return self._graph
        try:
            # Not `torch.compile`, whose guards would cost a tenth of a gradient step: a graph needs none.
            with _quiet(), _trusting_the_processor():
                from torch._inductor import standalone_compile  # Takes a second, which plain training need not wait.

                made: Flat = standalone_compile(self._graph, list(inputs), dynamic_shapes="from_example_inputs")
        except torch._dynamo.exc.TorchDynamoException as error:
            inner = getattr(error, "inner_exception", error)
            if isinstance(inner, OSError):
                # A full disk will have room again, and what runs uncompiled differs in the last bit.
                raise inner from error
            reason = " ".join(str(inner).split())[:200]
            warnings.warn(f"cohorts run uncompiled, several times slower: {reason}", RuntimeWarning, stacklevel=2)
            return self._graph
        return made


def graph_of(function: Flat, *inputs: torch.Tensor) -> GraphModule:
    """A function of tensors as one graph that runs as it is, without the operations that change nothing.

    For what is too small, or called too seldom, to be worth compiling; it must change none of its inputs in place.

    Raises:
        Exception: whatever torch raises about a function that cannot be traced.
    """
    with _quiet():
        graph = make_fx(function, tracing_mode="fake")(*inputs)
    for node in graph.graph.nodes:
        if _changes_nothing(node):
            node.replace_all_uses_with(node.args[0])
            graph.graph.erase_node(node)
    graph.recompile()
    return graph


def _changes_nothing(node: Node) -> bool:
    """Whether it gives its first argument: what `vmap` makes of a layer has more of these than of others."""
    aten = torch.ops.aten
    if node.target in (aten.expand.default, aten.view.default, aten._unsafe_view.default):
        given: Any = node.args[0]
        return bool(given.meta["val"].shape == node.meta["val"].shape)
    return node.target is aten.mul.Scalar and bool(node.args[1] == 1)


@contextmanager
def uncompiled() -> Iterator[None]:
    """Meanwhile graphs run as they are, which is slower and needs no time to begin."""
    token = _COMPILES.set(False)
    try:
        yield
    finally:
        _COMPILES.reset(token)


@contextmanager
def _trusting_the_processor() -> Iterator[None]:
    """Vector instructions that the processor says it has need no trial programs, which take the compiler 7 seconds.

    Unless the user has said otherwise, by TORCHINDUCTOR_VEC_ISA_OK.
    """
    said = torch._inductor.config.cpp.vec_isa_ok
    with torch._inductor.config.patch({"cpp.vec_isa_ok": True if said is None else said}):
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    """Neither gradients, nor warnings of the compiler's own deprecations, nor its word that there is no GPU."""
    logger = logging.getLogger("torch.utils.cpp_extension")
    with unvalidated(), _one_hot_unvalidated(), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger.addFilter(_drop)
        try:
            yield
        finally:
            logger.removeFilter(_drop)


@contextmanager
def _one_hot_unvalidated() -> Iterator[None]:
    """Meanwhile `one_hot` does not look at the class numbers, which a graph does not know.

    See `classes`, which does.
    """
    before = torch.nn.functional.one_hot

    def one_hot(tensor: torch.Tensor, num_classes: int = -1) -> torch.Tensor:
        if num_classes == -1:
            return before(tensor)
        return (tensor.unsqueeze(-1) == torch.arange(num_classes)).long()

    torch.nn.functional.one_hot = one_hot
    try:
        yield
    finally:
        torch.nn.functional.one_hot = before


def _drop(record: logging.LogRecord) -> bool:
    return "No CUDA runtime is found" not in record.getMessage()


def _forget_threads() -> None:
    """The compiler's threads stay behind in a fork, where it would wait for them for ever."""
    if (compiling := sys.modules.get("torch._inductor.async_compile")) is not None:
        compiling.AsyncCompile.pool.cache_clear()


if hasattr(os, "register_at_fork"):  # Not on Windows, where nothing forks.
    os.register_at_fork(after_in_child=_forget_threads)


def _layout(tensor: torch.Tensor) -> tuple[Any, ...]:
    return tuple(tensor.shape), tensor.stride(), tensor.dtype


def _constants(graph: GraphModule) -> tuple[Any, ...]:
    return tuple((name, *_layout(value), value.numpy().tobytes()) for name, value in graph.named_buffers())


def compiler() -> str | None:
    """The C++ compiler that would be used, None if there is none."""
    return next((found for name in ("g++", "clang++", "c++") if (found := shutil.which(name))), None)
