"""A policy made linear: absolute weights, no biases, activations that pass their inputs on (Tanaka et al. 2020).

All values that flow through it are sums of products of weights along its paths, in double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from rl_tickets.agents.anatomy import prunable_weights
from rl_tickets.agents.constant_units import renorms
from rl_tickets.agents.layers import WiringError
from rl_tickets.agents.linear_modules import Leaves, linear_layer, linear_pass, replaced
from rl_tickets.agents.probing import Enough, Probe, on_observation, removed
from rl_tickets.tickets.mask import Prunable


class SaliencyError(ValueError):
    """A criterion does not understand a policy, so that its scores would be wrong."""


class Call(NamedTuple):
    """One call of a module in a forward pass."""

    path: str
    inputs: torch.Tensor
    outputs: torch.Tensor


class LinearPolicy:
    """What flows from an observation of ones through the trained networks of an agent, were they linear.

    Linear, convolutional and LSTM layers multiply with absolute weights and add no biases: a bias is never pruned, and
    would let flow begin in a unit that hears nothing. Activations pass their inputs on, norms multiply by their gain;
    an LSTM's unit is the sum of its four gates, over its inputs and its own last outputs, which are ones as the
    observation and the critics' actions are. Anything else runs as it is, and must neither have weights nor curve.
    Where the policy cuts the gradient (SAC's critic does, from an extractor that it shares), flow begins anew.

    Args:
        model: any torch `BaseAlgorithm`; it is left as it was.
        prunable: which weights have to be reached, see `Mask.dense`.

    Raises:
        SaliencyError: a part of the policy cannot be made linear, or is never called; it is named.
    """

    def __init__(self, model: BaseAlgorithm, prunable: Prunable | None = None) -> None:
        self.weights = prunable_weights(model, prunable)
        with _told(model):
            self._probe = Probe(model)
        self._policy = model.policy
        self._renorms = {id(module) for module in renorms(model)}
        self._name = type(model.policy).__name__
        self._demand_called()
        with _told(model):
            self._ends = self._survey()
            self._demand_linear()
            self._heads = self._find_heads()
        self._demand_reached()

    def outputs(self, leaves: Leaves) -> list[torch.Tensor]:
        """Of each head (a layer that feeds no other) the sum of what flows out of it.

        Args:
            leaves: absolute weights, see `leaves`.
        """
        calls, _ = self._run(leaves, 1.0)
        flows = dict.fromkeys(self._heads, torch.zeros((), dtype=torch.float64, device=self._policy.device))
        for call in calls:
            if call.path in flows and call.outputs.requires_grad:
                flows[call.path] = flows[call.path] + call.outputs.sum()
        return list(flows.values())

    def _find_heads(self) -> list[str]:
        """Paths of the layers that no other layer hears."""
        calls, _ = self._run(self.leaves({}), 1.0)
        traced = [call for call in calls if call.outputs.requires_grad]
        feeding: set[str] = set()
        for call in calls:
            if call.inputs.requires_grad:
                found = _gradient(call.inputs.sum(), [each.outputs for each in traced])
                feeding |= {each.path for each, part in zip(traced, found, strict=True) if part is not None}
        return [*dict.fromkeys(call.path for call in traced if call.path not in feeding)]

    def leaves(self, weights: Mapping[str, torch.Tensor]) -> dict[int, torch.Tensor]:
        """Absolute weights of all layers, differentiable, by identity of the policy's parameter.

        Args:
            weights: for some of the policy's parameters other values, by name.
        """
        given = {id(self._policy.get_parameter(name)): value for name, value in weights.items()}
        parameters = (p for layer in self._probe.layers.values() for p in layer.parameters())
        return {
            id(p): given.get(id(p), p).detach().to(p.device, torch.float64).abs().requires_grad_() for p in parameters
        }

    def _run(self, leaves: Leaves, fill: float) -> tuple[list[Call], list[Call]]:
        """The calls of layers, and of what is between them, with observation, actions and LSTM states of `fill`."""
        probe = self._probe
        calls: list[Call] = []
        passed: list[Call] = []

        def observe(observation: Mapping[str, torch.Tensor]) -> None:
            for part in observation.values():
                part.fill_(fill)

        def called(path: str, inputs: torch.Tensor, outputs: torch.Tensor) -> None:
            calls.append(Call(path, inputs, outputs))
            if len(calls) in self._ends:
                raise Enough  # What a distribution makes of the heads is no flow.

        with ExitStack() as changes, torch.enable_grad():
            for path, module in probe.layers.items():
                changes.enter_context(replaced(module, linear_layer(path, module, leaves, fill, called)))
            for module in self._policy.modules():
                if (gained := linear_pass(module, id(module) in self._renorms)) is not None:
                    changes.enter_context(replaced(module, gained))
            for path, module in probe.others.items():
                changes.enter_context(removed(module.register_forward_hook(_witness(path, passed))))
            for module in probe.extractors:
                changes.enter_context(removed(module.register_forward_pre_hook(on_observation(observe))))
            probe.run(1, torch.full((1, probe.actions), fill, device=self._policy.device))
        return calls, passed

    def _survey(self) -> set[int]:
        """How many layers have been called when each of the trained networks has called its last."""
        count = 0
        starts: list[int] = []

        def step(*_: object) -> None:
            nonlocal count
            count += 1

        with ExitStack() as hooks, torch.no_grad():
            for module in self._probe.layers.values():
                hooks.enter_context(removed(module.register_forward_hook(step)))
            for way in self._probe.ways:
                hooks.enter_context(removed(way.register_forward_pre_hook(lambda *_: starts.append(count))))
            self._probe.run(1, torch.zeros(1, self._probe.actions, device=self._policy.device))
        return {*starts[1:], count}

    def _demand_called(self) -> None:
        layers = (self._probe.layers[path] for path in self._probe.called)
        known = {id(p) for layer in layers for p in layer.parameters()}
        for name, weight in self.weights.items():
            if id(weight) not in known:
                path = name.rpartition(".")[0]
                module = type(self._policy.get_submodule(path)).__name__
                raise SaliencyError(
                    f"{name!r} (of a {module}) is no weight of a linear, ungrouped convolutional or one-way LSTM layer "
                    f"that {self._name} calls, so what flows through it is unknown; leave it out with `prunable`, or "
                    "use another criterion"
                )
        if not self._probe.observations:
            raise SaliencyError(
                f"{self._name} has no SB3 features extractor that is given the observation, so that ones cannot be put "
                "in its place; give it one, or use another criterion"
            )

    def _demand_linear(self) -> None:
        """Refuses what bends: twice the input must be twice the output everywhere."""
        leaves = self.leaves({})
        (once, between), (twice, after) = (self._run(leaves, fill) for fill in (1.0, 2.0))
        for one, two in zip(once, twice, strict=True):
            if not _doubled(one.inputs, two.inputs):
                bent = (
                    x.path
                    for x, y in zip(between, after, strict=True)
                    if _doubled(x.inputs, y.inputs) and not _doubled(x.outputs, y.outputs)
                )
                path = next(bent, "")
                what = f"{path!r} ({type(self._policy.get_submodule(path)).__name__})" if path else "a function"
                raise SaliencyError(
                    f"{what} on the way to {one.path!r} is not linear, and nothing is known that could stand in its "
                    "place; use one of torch's activations as a module, or another criterion"
                )
            if not one.outputs.isfinite().all():
                raise SaliencyError(f"what flows through {one.path!r} is more than double precision holds")

    def _demand_reached(self) -> None:
        """Refuses weights that no flow reaches, and parameters of modules that are not known."""
        leaves = self.leaves({})
        flow = torch.stack(self.outputs(leaves)).sum()
        names, parameters = zip(*self._policy.named_parameters(), strict=True)
        for name, found in zip(names, _gradient(flow, parameters), strict=True):
            if found is not None:
                raise SaliencyError(
                    f"{name!r} belongs to a module that cannot be made linear: linear, ungrouped convolutional and "
                    "one-way LSTM layers, norms and activations of torch's own can; use another criterion"
                )
        for name, found in zip(self.weights, _gradient(flow, self.of(leaves).values()), strict=True):
            if found is None:
                raise SaliencyError(f"no flow reaches {name!r}; leave it out with `prunable`, or use another criterion")

    def of(self, leaves: Leaves) -> dict[str, torch.Tensor]:
        """Those of the leaves that are prunable weights, by name."""
        return {name: leaves[id(p)] for name, p in self.weights.items()}


def _witness(path: str, passed: list[Call]) -> Callable[..., None]:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if len(args) == 1 and isinstance(args[0], torch.Tensor) and isinstance(output, torch.Tensor):
            passed.append(Call(path, args[0].detach(), output.detach()))

    return hook


def _doubled(one: torch.Tensor, two: torch.Tensor) -> bool:
    # In single precision where a policy casts.
    return torch.allclose(2.0 * one.double(), two.double(), rtol=1e-4, atol=0.0)


def _gradient(flow: torch.Tensor, inputs: Any) -> tuple[torch.Tensor | None, ...]:
    return torch.autograd.grad(flow, [*inputs], allow_unused=True, retain_graph=True)


@contextmanager
def _told(model: BaseAlgorithm) -> Iterator[None]:
    try:
        yield
    except WiringError as error:
        raise SaliencyError(
            f"the {type(model.policy).__name__} of this {type(model).__name__} cannot be made linear ({error}); use "
            "another criterion"
        ) from error
