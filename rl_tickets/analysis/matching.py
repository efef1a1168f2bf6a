"""Matching the hidden units of two agents: networks that compute the same may have them in another order.

Weight matching of Ainsworth et al. 2022, "Git Re-Basin" (arXiv 2209.04836): one linear assignment for each hidden layer
after the other, until none changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.layers import Layer, WiringError
from rl_tickets.agents.wiring import wiring

Weights = Mapping[str, torch.Tensor]
SWEEPS = 100
"""Over all layers; each raises the similarity or ends the matching, so that few are needed."""


class UnitOrder:
    """The hidden units of an agent's networks, and how to put them in another order without changing what they compute.

    Args:
        model: any agent of linear and convolutional layers; it is left as it was.

    Raises:
        WiringError: LSTMs, gSDE, norms and other modules with a value for each unit, or whatever else `wiring` does not
            understand.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self._wiring = wiring(model)
        self._copies = anatomy.copies(model)
        for layer in self._wiring.hidden:
            _demand_plain(model, layer)
        if model.use_sde:
            raise WiringError(
                "units of an agent with gSDE cannot be matched: its exploration noise has a value for each"
            )

    @cached_property
    def layers(self) -> dict[str, int]:
        """Hidden layers with their numbers of units."""
        return {layer.name: layer.outputs for layer in self._wiring.hidden}

    @cached_property
    def covered(self) -> tuple[str, ...]:
        """Names of all weights and biases of the networks."""
        return tuple(name for layer in self._wiring.layers for name in (layer.name, *layer.biases))

    def permuted(self, weights: Weights, layer: str, order: Sequence[int]) -> dict[str, torch.Tensor]:
        """The same function with a layer's units in another order: unit i is what unit `order[i]` was.

        Args:
            weights: a `state_dict` of the policy.
            layer: its name.
            order: each of its units once.

        Raises:
            ValueError: `order` is no permutation of the units.
        """
        if sorted(order) != list(range(self.layers[layer])):
            raise ValueError(f"an order of {layer!r} has each of its {self.layers[layer]} units once")
        found, rows = dict(weights), torch.as_tensor(order)
        for name in (layer, *self._wiring.layer(layer).biases):
            self._set(found, name, weights[name][rows])
        for feed in self._wiring.out_of(layer):
            columns = _columns(feed.units, self.layers[layer])
            moved = found[feed.target].clone()
            moved[:, np.concatenate(columns)] = found[feed.target][:, np.concatenate([columns[unit] for unit in order])]
            self._set(found, feed.target, moved)
        return found

    def incoming(self, one: Weights, other: Weights, layer: str) -> np.ndarray:
        """Inner products of what each unit of `one` and each of `other` hears, shape (units, units)."""
        names, units = (layer, *self._wiring.layer(layer).biases), self.layers[layer]
        return sum(
            (_products(one[name].reshape(units, -1), other[name].reshape(units, -1)) for name in names),
            np.zeros((units, units)),
        )

    def outgoing(self, one: Weights, other: Weights, layer: str) -> np.ndarray:
        """The same of the weights by which each is heard."""
        units = self.layers[layer]
        total = np.zeros((units, units))
        for feed in self._wiring.out_of(layer):
            columns = _columns(feed.units, units)
            total += _products(
                *(torch.stack([of[feed.target][:, unit].flatten() for unit in columns]) for of in (one, other))
            )
        return total

    def _set(self, weights: dict[str, torch.Tensor], name: str, tensor: torch.Tensor) -> None:
        """Everywhere it stands: a shared layer has several names. Targets lag behind, and are brought into line."""
        for place in (name, *(copy for copy, origin in self._copies.items() if origin == name)):
            weights[place] = tensor.clone()


def match_units(model: BaseAlgorithm, one: Weights, other: Weights) -> dict[str, torch.Tensor]:
    """Weights that compute what `other` does, with hidden units in the order that makes them most like `one`.

    The paper's algorithm ends in a local optimum. It begins twice, from the order as it is and from one found layer by
    layer from the inputs, which is exact where both are the same network; the more alike end counts. Masks, if there
    are any, are permuted with the weights.

    Args:
        model: an agent of their architecture; it is left as it was.
        one: `state_dict` of a policy, which stays as it is.
        other: of another.

    Raises:
        WiringError: see `UnitOrder`.

    Example:
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", "CartPole-v1", seed=0)
        >>> weights, units = model.policy.state_dict(), UnitOrder(model)
        >>> turned = units.permuted(weights, "mlp_extractor.policy_net.0.weight", list(range(63, -1, -1)))
        >>> matched = match_units(model, weights, turned)
        >>> all(torch.equal(matched[name], weight) for name, weight in weights.items())
        True
    """
    units = UnitOrder(model)
    found = [_settled(units, one, start) for start in (dict(other), _from_inputs(units, one, other))]
    return max(found, key=lambda weights: sum(float((one[name] * weights[name]).sum()) for name in units.covered))


def _from_inputs(units: UnitOrder, one: Weights, other: Weights) -> dict[str, torch.Tensor]:
    """Each layer by what its units hear, once those below are in order: the same network is found exactly."""
    found = dict(other)
    for layer in units.layers:
        _, order = linear_sum_assignment(units.incoming(one, found, layer), maximize=True)
        found = units.permuted(found, layer, order.tolist())
    return found


def _settled(units: UnitOrder, one: Weights, start: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """One layer after the other by all of its weights, until none changes."""
    found = start
    for _ in range(SWEEPS):
        changed = False
        for layer in units.layers:
            similar = units.incoming(one, found, layer) + units.outgoing(one, found, layer)
            _, order = linear_sum_assignment(similar, maximize=True)
            gain = similar[np.arange(len(order)), order].sum() - np.trace(similar)
            # Ties and rounding would let it run in circles.
            if gain > 1e-9 * (1 + np.abs(similar).sum()):
                found, changed = units.permuted(found, layer, order.tolist()), True
        if not changed:
            break
    return found


def _demand_plain(model: BaseAlgorithm, layer: Layer) -> None:
    if layer.recurrent:
        raise WiringError(f"units of {layer.module!r} cannot be matched: an LSTM's are not understood here")
    for path in layer.after:
        module = model.policy.get_submodule(path)
        if [*module.parameters(), *module.buffers()]:
            raise WiringError(
                f"units of {layer.module!r} cannot be matched: {path!r} ({type(module).__name__}), which their outputs "
                "pass, has values of its own for each of them"
            )


def _columns(units: Sequence[int], count: int) -> list[np.ndarray]:
    """For each unit the columns that it feeds, in order."""
    fed = np.asarray(units)
    return [np.flatnonzero(fed == unit) for unit in range(count)]


def _products(one: torch.Tensor, other: torch.Tensor) -> np.ndarray:
    found: np.ndarray = (one.double() @ other.double().T).cpu().numpy()
    return found
