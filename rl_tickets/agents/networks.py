"""The networks of an agent, actor and critic, told apart by the field's usual names."""

from collections.abc import Mapping
from typing import Literal

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.anatomy import copies, prunable_weights
from rl_tickets.tickets.mask import Prunable

Network = Literal["actor", "critic", "shared"]
"""A network of an agent; "shared" is what actor and critic both use, or what belongs to neither."""

CRITIC = {"critic", "value", "vf", "qf", "q", "quantile"}
ACTOR = {"actor", "policy", "action", "pi", "mu", "log"}


def demand_network(network: object) -> None:
    """Raises ValueError for what is no network's name."""
    if network not in ("actor", "critic", "shared"):
        raise ValueError(f'network must be "actor", "critic" or "shared", got {network!r}')


def network_of(name: str, copies: Mapping[str, str] | None = None) -> Network:
    """The network a policy parameter belongs to: actor, critic, or shared.

    Args:
        name: in `policy.named_parameters()`.
        copies: its other names, see `anatomy.copies`: an extractor is the actor's where only the actor names it.

    Example:
        >>> network_of("mlp_extractor.value_net.0.weight"), network_of("features_extractor.cnn.0.weight")
        ('critic', 'shared')
    """
    aliases = (alias for alias, origin in (copies or {}).items() if origin == name)
    owners = {_network_in(alias) for alias in (name, *aliases)} - {"shared"}
    return owners.pop() if len(owners) == 1 else "shared"


def _network_in(name: str) -> Network:
    for part in name.split("."):
        words = set(part.rstrip("0123456789").split("_")) | {word.rstrip("0123456789") for word in part.split("_")}
        if words & CRITIC:
            return "critic"
        if words & ACTOR:
            return "actor"
    return "shared"


def prunable_in(network: Network, model: BaseAlgorithm, prunable: Prunable | None = None) -> Prunable:
    """Answers which of an agent's prunable weights belong to one of its networks.

    Args:
        network: the one.
        model: the agent; its copies of the same architecture are answered for, too.
        prunable: which weights may be pruned at all, see `Mask.dense`.

    Raises:
        ValueError: none does.
    """
    others = copies(model)
    owners = {name: network_of(name, others) for name in prunable_weights(model, prunable)}
    if network not in owners.values():
        choices = ", ".join(sorted({*owners.values()}))
        raise ValueError(
            f"no prunable weights of this {type(model).__name__} belong to network {network!r}; choose from: {choices}"
        )
    return lambda name, parameter: owners.get(name) == network
