"""Widths: which numbers in an agent's `policy_kwargs` say how many units its hidden layers have."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from rl_tickets.agents.layers import Layer
from rl_tickets.agents.slim_cnn import SlimCNN, channels_of
from rl_tickets.agents.wiring import Wiring

Key = tuple[str | int, ...]
NETS = (
    (r"mlp_extractor\.policy_net", "pi"),
    (r"mlp_extractor\.value_net", "vf"),
    (r"actor\.(latent_pi|mu)", "pi"),
    (r"critic\.qf\d+", "qf"),
    (r"q_net\.q_net|quantile_net\.quantile_net", "q"),
)
"""Paths of SB3's perceptrons, and what `net_arch` calls them; `q` stands for a list that is no dict."""


@dataclass(frozen=True)
class Width:
    """A number in `policy_kwargs`, and the layers that all have so many units: twin critics' are one.

    Args:
        key: its place, such as `("net_arch", "pi", 0)`.
        layers: names of the layers.
        units: how many it is now.
    """

    key: Key
    layers: tuple[str, ...]
    units: int


def widths(model: BaseAlgorithm, found: Wiring) -> tuple[Width, ...]:
    """The widths of all hidden layers that SB3's own policies can be told.

    Layers of a features extractor of one's own have none; nor has the layer that gSDE's exploration noise reads.

    Example:
        >>> from stable_baselines3 import TD3
        >>> from rl_tickets.agents.wiring import wiring
        >>> model = TD3("MlpPolicy", "Pendulum-v1", buffer_size=1, policy_kwargs={"net_arch": [5]})
        >>> [(width.key, width.units) for width in widths(model, wiring(model))]
        [(('net_arch', 'pi', 0), 5), (('net_arch', 'qf', 0), 5)]
    """
    noisy = {feed.source for head in _noisy_heads(model, found) for feed in found.into(head)}
    layers: dict[Key, list[Layer]] = {}
    for key, layer in _keys(model, found):
        layers.setdefault(key, []).append(layer)
    return tuple(
        Width(key, tuple(layer.name for layer in group), group[0].outputs)
        for key, group in layers.items()
        if not any(layer.name in noisy for layer in group)
    )


def resized(model: BaseAlgorithm, found: Wiring, sizes: Mapping[Key, int]) -> dict[str, Any]:
    """The agent's `policy_kwargs` with other numbers of units.

    Args:
        model: the agent.
        found: its wiring.
        sizes: of some widths, by key; the others stay as they are.
    """
    every = {key: sizes.get(key, layer.outputs) for key, layer in _keys(model, found)}
    kwargs = {key: copy(value) for key, value in (model.policy_kwargs or {}).items()}
    kwargs["net_arch"] = _net_arch(model.policy, every)
    if ("lstm_hidden_size",) in every:
        kwargs["lstm_hidden_size"] = every["lstm_hidden_size",]
    if ("features_dim",) in every:
        extractor = next(module for _, module in _extractors(model.policy))
        more = {**(kwargs.get("features_extractor_kwargs") or {}), "features_dim": every["features_dim",]}
        channels = tuple(every["channels", level] for level in range(3))
        if channels != channels_of(extractor):
            kwargs["features_extractor_class"], more["channels"] = SlimCNN, channels
        kwargs["features_extractor_kwargs"] = more
    return kwargs


def _keys(model: BaseAlgorithm, found: Wiring) -> Iterator[tuple[Key, Layer]]:
    """Every hidden layer that has a width, in the wiring's order."""
    seen: Counter[str] = Counter()
    images = {f"{path}.{inner}" for path, _ in _extractors(model.policy) for inner in ("cnn", "linear")}
    recurrent = hasattr(model.policy, "lstm_actor")
    for layer in found.hidden:
        net, _, place = layer.module.rpartition(".")
        name = next((name for pattern, name in NETS if re.fullmatch(pattern, net)), None)
        if name is not None:
            yield ("net_arch", name, seen[net]), layer
            seen[net] += 1
        elif net in images:
            yield (("features_dim",) if net.endswith("linear") else ("channels", int(place) // 2)), layer
        elif recurrent and layer.module in ("lstm_actor", "lstm_critic", "critic"):
            yield ("lstm_hidden_size",), layer


def _extractors(policy: nn.Module) -> Iterator[tuple[str, NatureCNN]]:
    """The policy's NatureCNNs; those inside a CombinedExtractor have no channels that could be told it."""
    for path, module in policy.named_modules():
        if path.endswith("features_extractor") and type(module) in (NatureCNN, SlimCNN):
            yield path, module


def _net_arch(policy: nn.Module, every: Mapping[Key, int]) -> Any:
    def net(name: str) -> list[int]:
        return [size for key, size in every.items() if key[:2] == ("net_arch", name)]

    if hasattr(policy, "mlp_extractor"):
        return {"pi": net("pi"), "vf": net("vf")}
    return {"pi": net("pi"), "qf": net("qf")} if hasattr(policy, "actor") else net("q")


def _noisy_heads(model: BaseAlgorithm, found: Wiring) -> list[str]:
    """Heads whose inputs gSDE's noise reads too."""
    heads = [layer for layer in found.layers if not found.out_of(layer.name)] if model.use_sde else []
    return [layer.name for layer in heads if re.fullmatch(r"action_net|actor\.mu(\.0)?", layer.module)]
