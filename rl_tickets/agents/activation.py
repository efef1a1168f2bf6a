"""Activation over visited states: how much of what a layer says each of its units says (Sokar et al. 2023, "The Dormant
Neuron Phenomenon in Deep Reinforcement Learning", arXiv 2302.12902)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BaseModel
from torch import nn

from rl_tickets.agents.exact import answered
from rl_tickets.agents.layers import WiringError, by_unit
from rl_tickets.agents.probing import States
from rl_tickets.agents.rebuilding import policy_like
from rl_tickets.agents.saliency import AgentCriterion
from rl_tickets.agents.validation import unvalidated
from rl_tickets.agents.visiting import Visit, demand_environments, visits
from rl_tickets.agents.wiring import Wiring, wiring
from rl_tickets.tickets.criteria import magnitude
from rl_tickets.tickets.mask import Prunable
from rl_tickets.tickets.unit_criteria import UnitCriterion
from rl_tickets.tickets.units import Unit

Means = Mapping[str, NDArray[np.float64]]
"""Name of a layer, or of a part of the observation -> a number for each of its units."""


@dataclass(frozen=True)
class Activation(AgentCriterion):
    """A unit's mean absolute activation over states that the agent visits, divided by its layer's mean (Sokar et al.
    2023, arXiv 2302.12902): 0 is a unit that never fires, 1 an average one, whatever its layer.

    What counts is what the next layers hear, after activation functions, pooling and norms; of a channel it is the mean
    over its places. States are those of the agent's own environments, in which a copy of its policy acts as it was
    trained to; critics see the actions that it takes. Units that were pruned already, so that nobody hears them, are
    not part of their layer's mean. A dimension of the observation (`rt.inputs`) scores in the same way.

    Args:
        timesteps: environment steps to visit, rounded up to whole steps of all environments; they are counted as
            `spent`.

    Example:
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [5]}, seed=0, device="cpu")
        >>> criterion = Activation(timesteps=100).of(model, seed=1)
        >>> scores = criterion.means["mlp_extractor.policy_net.0.weight"]
        >>> len(scores), round(float(scores.mean()), 6), criterion.timesteps
        (5, 1.0, 100)
    """

    timesteps: int = 2_048
    of_units: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if isinstance(self.timesteps, bool) or not isinstance(self.timesteps, int) or self.timesteps < 1:
            raise ValueError(f"timesteps must be a whole number of at least 1 environment step, got {self.timesteps!r}")

    def of(self, model: BaseAlgorithm, *, seed: int = 0, prunable: Prunable | None = None) -> Activations:
        """See `AgentCriterion`; visits `timesteps` environment steps with a copy of the agent's policy.

        Raises:
            ValueError: the agent has no environment.
            WiringError: units cannot be told apart, or heard.
        """
        hearing, taken = Hearing(model, prunable), 0
        for visit in visits(model, self.timesteps, seed):
            hearing.hear(visit)
            taken += len(visit.starts)
        means = hearing.relative()
        return Activations(magnitude, partial(_score, means), means, taken)

    def check(self, model: BaseAlgorithm, prunable: Prunable | None = None) -> None:
        """See `AgentCriterion`."""
        demand_environments(model)
        _demand_audible(wiring(model, prunable))


@dataclass(frozen=True, eq=False)
class Activations(UnitCriterion):
    """What `Activation` found of one agent.

    Args:
        means: name of a layer, or of a part of the observation -> each unit's mean absolute activation over its
            layer's mean.
        timesteps: environment steps that were visited.
    """

    means: Means
    timesteps: int
    rounds: ClassVar[int] = 1


def _score(means: Means, unit: Unit, scores: Mapping[str, torch.Tensor]) -> float:
    return float(means[unit.layer][unit.index])


class Hearing:
    """Listens to what every layer of an agent is told by those that feed it, while its networks run on visited states.

    Args:
        model: any torch `BaseAlgorithm`; a copy of its policy runs.
        prunable: which weights have to be understood, see `Mask.dense`.

    Raises:
        WiringError: units cannot be told apart, or heard.
    """

    def __init__(self, model: BaseAlgorithm, prunable: Prunable | None = None) -> None:
        self._found = found = wiring(model, prunable)
        _demand_audible(found)
        self._policy: Any = policy_like(model)
        modules = {layer.module: layer for layer in reversed(found.layers)}
        tops = {path.partition(".")[0] for path in modules}
        children = dict(self._policy.named_children())
        networks: list[nn.Module] = [
            child for name, child in children.items() if name in tops and isinstance(child, BaseModel)
        ]
        self._networks = networks or [self._policy]
        self._sums = {layer.name: np.zeros(layer.inputs) for layer in found.layers}
        self._rows = dict.fromkeys(self._sums, 0)
        self._states: Any = None
        for path, layer in modules.items():
            self._policy.get_submodule(path).register_forward_pre_hook(partial(self._listen, layer.name))

    def hear(self, visit: Visit) -> None:
        """Runs every trained network on one step of all environments."""
        device = self._policy.device
        seen, _ = self._policy.obs_to_tensor(visit.observations)
        actions = torch.as_tensor(visit.actions, device=device)
        starts = torch.as_tensor(visit.starts, device=device).float()
        if self._states is None and hasattr(self._policy, "lstm_hidden_state_shape"):
            layers, _, units = self._policy.lstm_hidden_state_shape
            zeros = torch.zeros(layers, len(starts), units, device=device)
            self._states = States((zeros, zeros), (zeros, zeros))
        with torch.no_grad(), torch.random.fork_rng(devices=[]), unvalidated():
            for network in self._networks:
                self._states = answered(network, seen, actions, self._states, starts)

    def relative(self) -> Means:
        """Each unit's mean absolute activation over the mean of those units of its layer that somebody hears."""
        sizes = {**self._found.observations, **{layer.name: layer.outputs for layer in self._found.hidden}}
        found = {}
        for source, size in sizes.items():
            means, heard = self._of(source, size)
            average = means[heard].mean() if heard.any() else 0.0
            found[source] = means / average if average else np.zeros(size)
        return found

    def _of(self, source: str, size: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Of each unit of a source the mean over all columns that it feeds, and whether one of them has a weight."""
        sums, columns, weights = np.zeros(size), np.zeros(size), np.zeros(size)
        for feed in self._found.out_of(source):
            units = np.array(feed.units)
            places = np.flatnonzero(units >= 0)
            mean = self._sums[feed.target] / max(self._rows[feed.target], 1)
            weight = self._policy.get_parameter(feed.target).detach().abs().transpose(0, 1).flatten(1).sum(1)
            np.add.at(sums, units[places], mean[places])
            np.add.at(columns, units[places], 1)
            np.add.at(weights, units[places], weight.cpu().double().numpy()[places])
        return sums / np.maximum(columns, 1), weights > 0

    def _listen(self, name: str, module: nn.Module, args: tuple[Any, ...]) -> None:
        told = by_unit(module, args[0].detach().double()).abs()
        self._sums[name] += told.reshape(*told.shape[:2], -1).mean(2).sum(0).cpu().numpy()
        self._rows[name] += len(told)


def _demand_audible(found: Wiring) -> None:
    """Raises WiringError for units that only another layer of the same module hears."""
    modules = {layer.name: layer.module for layer in found.layers}
    for feed in found.feeds:
        if modules.get(feed.source) == modules[feed.target]:
            raise WiringError(
                f"what {feed.source!r} tells the next layer of the same LSTM cannot be heard from outside; use an LSTM "
                "of one layer, or score units by their weights, as rt.outgoing_magnitude does"
            )


activation = Activation()
