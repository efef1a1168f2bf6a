"""The wiring of an SB3 agent, discovered rather than looked up: whose units feed which weights of which layers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from rl_tickets.agents.anatomy import prunable_weights
from rl_tickets.agents.layers import Layer, WiringError, demand_understood, layers_of
from rl_tickets.agents.poison import Trace
from rl_tickets.agents.probing import ACTION, Probe
from rl_tickets.tickets.mask import Prunable


@dataclass(frozen=True)
class Feed:
    """Where columns of a layer's weights come from.

    Args:
        source: name of the layer that feeds, `action`, `observation`, or `observation.<key>`.
        target: name of the layer that is fed.
        units: for each column of the target which unit of the source feeds it, -1 for none of them. After a
            convolution is flattened, a channel feeds a block of columns.
    """

    source: str
    target: str
    units: tuple[int, ...]


@dataclass(frozen=True)
class Wiring:
    """The layers of a policy's trained networks, each after those that feed it, and what feeds what.

    Args:
        layers: see `Layer`.
        observations: `observation`, or `observation.<key>` for each part of a dict, -> its number of dimensions as the
            networks see them, after SB3's preprocessing: those of a one-hot vector; channels where a convolution looks.
        actions: dimensions of the action that critics take.
        feeds: see `Feed`; every column of every layer is fed by exactly one unit of one source.
    """

    layers: tuple[Layer, ...]
    observations: Mapping[str, int]
    actions: int
    feeds: tuple[Feed, ...]

    @property
    def hidden(self) -> tuple[Layer, ...]:
        """The layers that feed others; the rest are heads."""
        return tuple(layer for layer in self.layers if self.out_of(layer.name))

    def layer(self, name: str) -> Layer:
        """The layer of a name."""
        return next(layer for layer in self.layers if layer.name == name)

    def out_of(self, source: str) -> tuple[Feed, ...]:
        """What a source feeds."""
        return tuple(feed for feed in self.feeds if feed.source == source)

    def into(self, target: str) -> tuple[Feed, ...]:
        """What a layer is fed by."""
        return tuple(feed for feed in self.feeds if feed.target == target)


def wiring(model: BaseAlgorithm, prunable: Prunable | None = None) -> Wiring:
    """Finds out which layers feed which, by running the policy with each unit poisoned in turn.

    It is found from what the forward pass does, so shared and separate extractors, twin critics and policies of
    one's own need no names. What cannot be told apart is refused.

    Args:
        model: any torch `BaseAlgorithm`; it is left as it was.
        prunable: which weights have to be understood, see `Mask.dense`.

    Raises:
        WiringError: a module that is not understood, units that are mixed or summed before the next layer.

    Example:
        >>> from stable_baselines3 import PPO
        >>> found = wiring(PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [5]}))
        >>> [(feed.source, feed.units) for feed in found.into("action_net.weight")]
        [('mlp_extractor.policy_net.0.weight', (0, 1, 2, 3, 4))]
    """
    weights = prunable_weights(model, prunable)
    demand_understood(model.policy, weights)
    probe = Probe(model)
    stacks = _stacks(probe)
    _demand_called(stacks, weights, model.policy)
    feeds: list[Feed] = []
    observations: dict[str, int] = {}
    for name, shape in probe.observations.items():
        observations[name], trace = _observe(probe, name, shape)
        feeds += _feeds(name, trace, stacks, probe)
    feeds += _feeds(ACTION, probe.poison(ACTION, probe.actions), stacks, probe)
    layers: list[Layer] = []
    for path, stack in stacks.items():
        trace = probe.poison(path, stack[-1].outputs)
        feeds += [Feed(lower.name, upper.name, tuple(range(lower.outputs))) for lower, upper in pairwise(stack)]
        feeds += _feeds(stack[-1].name, trace, stacks, probe)
        layers += [*stack[:-1], replace(stack[-1], after=tuple(trace.passed))]
    _demand_complete(layers, feeds)
    actions = probe.actions if any(feed.source == ACTION for feed in feeds) else 0
    return Wiring(tuple(layers), observations, actions, tuple(feeds))


def _stacks(probe: Probe) -> dict[str, list[Layer]]:
    """The layers of each module that is called; only an LSTM has several."""
    names = {id(p): name for name, p in probe.policy.named_parameters()}
    return {path: layers_of(path, probe.layers[path], names) for path in probe.called}


def _demand_called(stacks: Mapping[str, Sequence[Layer]], weights: Mapping[str, object], policy: nn.Module) -> None:
    called = {name for stack in stacks.values() for layer in stack for name in (layer.name, layer.recurrent)}
    for name in weights:
        if name not in called:
            path = name.rpartition(".")[0]
            raise WiringError(
                f"the forward pass of {type(policy).__name__} never calls {path!r}, so what feeds it is unknown; "
                "leave it out with `prunable`, or prune single weights"
            )


def _observe(probe: Probe, name: str, shape: tuple[int, ...]) -> tuple[int, Trace]:
    """Channels, where a convolution looks at the observation; elements elsewhere."""
    if len(shape) > 1:
        trace = probe.poison(name, shape[0])
        reached = [path for path, hits in trace.hits.items() if hits.any()]
        if any(not isinstance(probe.layers[path], nn.Linear | nn.LSTM) for path in reached):
            return shape[0], trace
    size = int(np.prod(shape))
    return size, probe.poison(name, size)


def _feeds(source: str, trace: Trace, stacks: Mapping[str, Sequence[Layer]], probe: Probe) -> list[Feed]:
    """The feeds of a trace, once none of its units has been mixed with another."""
    feeds = []
    for path, stack in stacks.items():
        hits = trace.hits.get(path)
        if hits is None or not hits.any():
            continue
        target = stack[0].name
        if any(layer.name == source for layer in stack):
            raise WiringError(f"{path!r} is fed its own outputs, so its units have no order; prune single weights")
        if (hits.sum(0) > 1).any():
            mixer = trace.mixing and probe.policy.get_submodule(trace.mixing)
            by = f" by {trace.mixing!r} ({type(mixer).__name__})" if mixer else ""
            raise WiringError(
                f"units of {source!r} reach {target!r} mixed{by}, so none can go alone; prune single weights (which "
                "rt.permuted_mask permutes), or use a policy that does not mix them"
            )
        feeds.append(Feed(source, target, tuple(np.where(hits.any(0), hits.argmax(0), -1).tolist())))
    return feeds


def _demand_complete(layers: Sequence[Layer], feeds: Sequence[Feed]) -> None:
    """Refuses columns that have more than one source, or none."""
    for layer in layers:
        into = [feed for feed in feeds if feed.target == layer.name]
        for column in range(layer.inputs):
            sources = [feed.source for feed in into if feed.units[column] >= 0]
            if len(sources) > 1:
                raise WiringError(
                    f"input {column} of {layer.name!r} hears both {sources[0]!r} and {sources[1]!r}, so no unit "
                    "of them can go alone; use a policy without such a skip connection, or prune single weights"
                )
            if not sources:
                raise WiringError(
                    f"input {column} of {layer.name!r} comes from no observation, action or layer that wiring knows; "
                    "prune single weights"
                )
