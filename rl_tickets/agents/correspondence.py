"""Which layers of two agents do the same work, found from their wiring: of whatever algorithm, and however named."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from rl_tickets.agents.layers import Layer
from rl_tickets.agents.probing import ACTION
from rl_tickets.agents.validation import unvalidated
from rl_tickets.agents.wiring import Wiring, wiring

Gives = Literal["actions", "state values", "action values"]


@dataclass(frozen=True)
class Network:
    """Layers that are wired to each other and work to one end: an actor, a critic, a Q-network that acts.

    Args:
        acts: whether `predict` calls it.
        gives: what comes out of its heads. A network that acts in an agent without any other gives action values.
        hidden: paths of its hidden modules, each after those that feed it.
        heads: paths of the modules that feed no other.
    """

    acts: bool
    gives: Gives
    hidden: tuple[str, ...]
    heads: tuple[str, ...]

    @property
    def role(self) -> tuple[bool, str]:
        """Networks of one role may take each other's hidden layers: what acts is at one, whatever its heads give."""
        return (True, "") if self.acts else (False, self.gives)


def networks(model: BaseAlgorithm) -> tuple[Network, ...]:
    """The networks of an agent: first the one that acts, with the layers it shares, then those that only judge.

    Raises:
        WiringError: a policy whose wiring is not understood.

    Example:
        >>> from stable_baselines3 import PPO
        >>> for network in networks(PPO("MlpPolicy", "CartPole-v1")):
        ...     print(network.gives, network.hidden[0], network.heads)
        actions mlp_extractor.policy_net.0 ('action_net',)
        state values mlp_extractor.value_net.0 ('value_net',)
    """
    found = wiring(model)
    called = _called_by_predict(model, found)
    acting = [layer for layer in found.layers if layer.module in called]
    judging = _components([layer for layer in found.layers if layer.module not in called], found)
    gives: Gives = "actions" if judging else "action values"
    hidden, heads = _parts(acting, found)
    every = [Network(True, gives, hidden, _deciding_first(model, heads))]
    for layers in judging:
        fed = {feed.source for layer in layers for feed in found.into(layer.name)}
        every.append(Network(False, "action values" if ACTION in fed else "state values", *_parts(layers, found)))
    return tuple(every)


def correspondence(source: BaseAlgorithm, target: BaseAlgorithm) -> dict[str, str]:
    """Modules of the target's policy, each with the source's that does the same work, from inputs to outputs.

    What acts corresponds to what acts, a critic to a critic of the same kind (of states, or of states and actions),
    twins in their order; within a network hidden layers in their order, and heads where both give the same: logits are
    no Q-values. Shapes are not looked at.

    Args:
        source: any torch `BaseAlgorithm` whose wiring is understood, trained or not.
        target: another.

    Raises:
        WiringError: a policy whose wiring is not understood.

    Example:
        >>> from stable_baselines3 import DQN, PPO
        >>> correspondence(PPO("MlpPolicy", "CartPole-v1"), DQN("MlpPolicy", "CartPole-v1"))
        {'q_net.q_net.0': 'mlp_extractor.policy_net.0', 'q_net.q_net.2': 'mlp_extractor.policy_net.2'}
    """
    theirs = list(networks(source))
    pairs: dict[str, str] = {}
    for ours in networks(target):
        other = next((network for network in theirs if network.role == ours.role), None)
        if other is None:
            continue
        theirs.remove(other)
        pairs |= dict(zip(ours.hidden, other.hidden, strict=False))
        if ours.gives == other.gives:
            pairs |= dict(zip(ours.heads, other.heads, strict=False))
    return pairs


def _parts(layers: list[Layer], found: Wiring) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Paths of hidden modules and of heads; an LSTM of several layers stands there once."""
    hidden = dict.fromkeys(layer.module for layer in layers if found.out_of(layer.name))
    heads = dict.fromkeys(layer.module for layer in layers if layer.module not in hidden)
    return tuple(hidden), tuple(heads)


def _components(layers: list[Layer], found: Wiring) -> list[list[Layer]]:
    """Layers that feed each other, directly or through others among them, in the order of their first layers."""
    groups = [[layer] for layer in layers]
    for feed in found.feeds:
        ends = [group for group in groups if any(layer.name in (feed.source, feed.target) for layer in group)]
        if len(ends) == 2:
            ends[0] += ends[1]
            groups.remove(ends[1])
    order = {layer.name: place for place, layer in enumerate(found.layers)}
    return [sorted(group, key=lambda layer: order[layer.name]) for group in groups]


def _called_by_predict(model: BaseAlgorithm, found: Wiring) -> set[str]:
    """Paths of the modules that are at work when the agent chooses an action."""
    called: set[str] = set()
    with ExitStack() as hooks:
        for path in {layer.module for layer in found.layers}:
            note = model.policy.get_submodule(path).register_forward_hook(lambda *_, path=path: called.add(path))
            hooks.callback(note.remove)
        _predict(model)
    return called


def _deciding_first(model: BaseAlgorithm, heads: tuple[str, ...]) -> tuple[str, ...]:
    """The heads that the most likely action depends on before those it does not, as SAC's of the spread.

    A NaN in a head's output is in the action where it does; discrete actions show none, and heads keep their order.
    """
    decides = {path: _reaches_action(model, path) for path in heads} if len(heads) > 1 else {}
    return tuple(sorted(heads, key=lambda path: not decides.get(path, True)))


def _reaches_action(model: BaseAlgorithm, path: str) -> bool:
    def poison(module: nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        return torch.full_like(output, torch.nan)

    handle = model.policy.get_submodule(path).register_forward_hook(poison)
    try:
        actions = np.asarray(_predict(model))
    finally:
        handle.remove()
    return bool(np.issubdtype(actions.dtype, np.floating) and np.isnan(actions).any())


def _predict(model: BaseAlgorithm) -> Any:
    """The most likely action in some observation, without a trace in generators or modes."""
    space = deepcopy(model.observation_space)
    space.seed(0)
    modes = {module: module.training for module in model.policy.modules()}
    try:
        with torch.random.fork_rng(devices=[]), unvalidated():
            return model.predict(space.sample(), deterministic=True)[0]
    finally:
        for module, mode in modes.items():
            module.training = mode


def modules_of(names: Iterable[str]) -> tuple[str, ...]:
    """Paths of the modules that tensors of a `state_dict` belong to, in order; the policy's own are at ''."""
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in names))
