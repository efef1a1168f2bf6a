"""Dissecting an agent: which weights of which layers are there, in trained and target networks together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from rl_tickets.agents import anatomy
from rl_tickets.agents.exact import Exact, Observations, take
from rl_tickets.agents.layers import Layer, WiringError, by_unit
from rl_tickets.agents.trimming import demand_stateless
from rl_tickets.agents.widths import widths
from rl_tickets.agents.wiring import Wiring
from rl_tickets.deploy.inactive import Connections, Inactive

MEASURED = 64
"""Observations on which the values of constant units are read off."""


class Dissected:
    """An agent's weights by layer, over trained and target networks, and what constant units say in each of them.

    Args:
        model: the agent.
        found: its wiring.
        observations: on which the values of constant units are read off.

    Raises:
        WiringError: units pass a module that has a state, or differs in training.
    """

    def __init__(self, model: BaseAlgorithm, found: Wiring, observations: Observations) -> None:
        self._policy, self._found = model.policy, found
        self._state: Mapping[str, torch.Tensor] = model.policy.state_dict()
        self.copies = anatomy.copies(model)
        self.widths = widths(model, found)
        removable = {layer for width in self.widths for layer in width.layers}
        for layer in found.layers:
            if layer.name in removable:
                demand_stateless(model.policy, layer)
        self._places = {layer.name: self._places_of(layer.name) for layer in found.layers}
        self.heads = [
            self._module(p) for layer in found.layers if not found.out_of(layer.name) for p in self._places[layer.name]
        ]
        self._given = self._listen(model, observations)
        self.connections = {layer.name: self._connections(layer, layer.name in removable) for layer in found.layers}

    def zero(self, target: str, column: int) -> bool:
        """Whether a constant input is zero, in every network; of an LSTM's units only such are constant."""
        sources = [feed.source for feed in self._found.into(target) if feed.units[column] >= 0]
        if any(self._found.layer(s).kind == "lstm" for s in sources if not s.startswith(("observation", "action"))):
            return True
        return all(not self._given[self._module(place)][column].any() for place in self._places[target])

    def folded(self, gone: Inactive) -> dict[str, torch.Tensor]:
        """The policy's `state_dict`, in which biases hold what constant units add."""
        state = dict(self._state)
        for layer in self._found.layers:
            still = np.zeros(layer.inputs, dtype=bool)
            for feed in self._found.into(layer.name):
                if feed.source in gone.constant and self._found.layer(feed.source).kind != "lstm":
                    units = np.array(feed.units)
                    still |= (units >= 0) & gone.constant[feed.source][units]
            if layer.biases and still.any():
                for place in self._places[layer.name]:
                    bias = f"{self._module(place)}.{layer.biases[0].rpartition('.')[2]}"
                    state[bias] = self._with_constants(place, bias, still)
        return state

    def _with_constants(self, place: str, bias: str, still: npt.NDArray[np.bool_]) -> torch.Tensor:
        low, high = self._given[self._module(place)][still].T
        if not (high - low <= 1e-9 * (1 + np.abs(low))).all():
            raise WiringError(f"inputs of {place!r} are constant by their weights, but they vary; prune single weights")
        weight = self._state[place].flatten(2).sum(2) if self._state[place].ndim > 2 else self._state[place]
        more = weight.double()[:, torch.as_tensor(still, device=weight.device)] @ torch.as_tensor(low).to(weight.device)
        return (self._state[bias].double() + more).to(self._state[bias].dtype)

    def _connections(self, layer: Layer, removable: bool) -> Connections:
        incoming = self._nonzero(self._places[layer.name])
        recurrent = silent = None
        if layer.recurrent:
            recurrent = self._nonzero(self._places_of(layer.recurrent))
            cell = slice(2 * layer.outputs, 3 * layer.outputs)
            biases = [self._state[name] for bias in layer.biases for name in self._places_of(bias)]
            silent = np.all(
                [(b[cell] == 0).numpy(force=True) for b in biases] or [np.ones(layer.outputs, bool)], axis=0
            )
        module: Any = self._policy.get_submodule(layer.module)
        pads = isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and (
            module.padding == "same" or (module.padding != "valid" and any(module.padding))
        )
        return Connections(layer, incoming, recurrent, silent, bool(layer.biases) and not pads, removable)

    def _nonzero(self, places: Sequence[str]) -> npt.NDArray[np.bool_]:
        every = [(self._state[place].flatten(1) != 0).numpy(force=True) for place in places]
        rows, columns = self._state[places[0]].shape[:2]
        found: npt.NDArray[np.bool_] = np.logical_or.reduce(every).reshape(rows, columns, -1).any(2)
        return found

    def _listen(self, model: BaseAlgorithm, observations: Observations) -> dict[str, npt.NDArray[np.float64]]:
        """Smallest and largest value that each column of a module is given, over observations and pixels."""
        paths = list(dict.fromkeys(self._module(place) for places in self._places.values() for place in places))
        heard = Exact(model).hear(paths, take(observations, slice(MEASURED)))
        given = {}
        for path in paths:
            module = self._policy.get_submodule(path)
            columns = [by_unit(module, part).transpose(0, 1).flatten(1) for part in heard.inputs[path]]
            every = torch.cat(columns, dim=1).numpy(force=True)
            given[path] = np.stack([every.min(1), every.max(1)], axis=1)
        return given

    def _places_of(self, name: str) -> list[str]:
        return [name, *(copy for copy, origin in self.copies.items() if origin == name)]

    @staticmethod
    def _module(place: str) -> str:
        return place.rpartition(".")[0]
