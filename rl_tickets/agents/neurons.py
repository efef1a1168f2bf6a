"""Units of an agent: its hidden neurons, channels and LSTM units, and the inputs of its observation."""

from collections.abc import Mapping

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import prunable_weights
from rl_tickets.agents.layers import Layer, WiringError
from rl_tickets.agents.wiring import Wiring, wiring
from rl_tickets.tickets.mask import Prunable
from rl_tickets.tickets.units import Unit, Units


def neurons(model: BaseAlgorithm, prunable: Prunable | None = None) -> Units:
    """Every hidden neuron, convolution channel and LSTM unit, with its incoming and outgoing weights.

    Outputs of heads (actions, values, standard deviations) are never units. Biases are not prunable and stay: a
    dropped neuron is constant, and no layer hears it (gSDE's exploration noise, whose `log_std` is no weight, may).

    Args:
        model: any torch `BaseAlgorithm`.
        prunable: the mask's, see `Mask.dense`; weights that may not be pruned belong to no unit.

    Raises:
        WiringError: units cannot be told apart, or the policy has no hidden layer.

    Example:
        >>> from stable_baselines3 import PPO
        >>> neurons(PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [5]})).layers
        {'mlp_extractor.policy_net.0.weight': 5, 'mlp_extractor.value_net.0.weight': 5}
    """
    weights, found = prunable_weights(model, prunable), wiring(model, prunable)
    grids = _grids(weights)
    units = [
        Unit(layer.name, unit, incoming, outgoing)
        for layer in found.hidden
        for unit in range(layer.outputs)
        if (incoming := _incoming(layer, unit, grids)) | (outgoing := _outgoing(layer.name, unit, found, grids))
    ]
    if not units:
        raise WiringError(f"this {type(model).__name__} policy has no hidden units to prune; prune single weights")
    return Units(units)


def inputs(model: BaseAlgorithm, prunable: Prunable | None = None) -> Units:
    """Every dimension of the observation, with its columns in the first layers of actors and critics.

    Dimensions are those that the networks see: entries of a one-hot vector, channels where a convolution looks.
    Actions that critics take are none. The units are named for `observation`, or `observation.<key>`.

    Args:
        model: any torch `BaseAlgorithm`.
        prunable: the mask's, see `Mask.dense`.

    Raises:
        WiringError: dimensions cannot be told apart, or none of their weights may be pruned.

    Example:
        >>> from stable_baselines3 import PPO
        >>> inputs(PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [5]})).layers
        {'observation': 4}
    """
    weights, found = prunable_weights(model, prunable), wiring(model, prunable)
    grids = _grids(weights)
    units = [
        Unit(name, index, {}, outgoing)
        for name, count in found.observations.items()
        for index in range(count)
        if (outgoing := _outgoing(name, index, found, grids))
    ]
    if not units:
        raise WiringError("no weight that sees the observation may be pruned; check `prunable`")
    return Units(units)


Grids = dict[str, torch.Tensor]
"""Each weight's flat index in its layer, in the layer's own shape; only of weights that may be pruned."""


def _grids(weights: Mapping[str, torch.Tensor]) -> Grids:
    return {name: torch.arange(weight.numel()).reshape(weight.shape) for name, weight in weights.items()}


def _incoming(layer: Layer, unit: int, grids: Grids) -> dict[str, torch.Tensor]:
    """A unit's rows; of an LSTM's unit all four gates'."""
    names = [name for name in (layer.name, layer.recurrent) if name in grids]
    return {name: grids[name][unit :: layer.outputs].flatten() for name in names if name}


def _outgoing(source: str, unit: int, found: Wiring, grids: Grids) -> dict[str, torch.Tensor]:
    """The columns that a unit feeds, its own in an LSTM's recurrent weights among them."""
    columns = {feed.target: np.flatnonzero(np.array(feed.units) == unit) for feed in found.out_of(source)}
    columns |= {layer.recurrent: np.array([unit]) for layer in found.layers if layer.name == source and layer.recurrent}
    return {name: grids[name][:, of].flatten() for name, of in columns.items() if name in grids and len(of)}
