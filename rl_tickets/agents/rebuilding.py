"""Rebuilding: an agent with other `policy_kwargs`, and everything else that it had."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn
from torch.optim import Optimizer

from rl_tickets.agents import anatomy
from rl_tickets.agents.holding import class_of
from rl_tickets.agents.layers import WiringError

Model = TypeVar("Model", bound=BaseAlgorithm)
Cut = Callable[[str, torch.Tensor], torch.Tensor]
"""From a name in the policy's `state_dict`, and a tensor that belongs to it (values, moments), to what is left."""


def policy_like(model: BaseAlgorithm) -> BasePolicy:
    """A second policy with the agent's weights, that shares nothing with it.

    Raises:
        WiringError: the agent's is not what its `policy_kwargs` build.
    """
    policy = _built_again(model)
    policy.load_state_dict(model.policy.state_dict())
    policy.set_training_mode(False)
    return policy


def _built_again(model: BaseAlgorithm) -> BasePolicy:
    """What its `policy_kwargs` build, if that is the agent's policy but for the weights."""
    policy = _fresh(model, model.policy_kwargs or {}).policy
    demand_same_modules(model.policy, policy)
    return policy


def demand_same_modules(policy: nn.Module, fresh: nn.Module) -> None:
    """Raises WiringError where a policy was changed after it had been built: what is built again is another one."""
    ours, theirs = ({name: _told(module) for name, module in each.named_modules()} for each in (policy, fresh))
    for name in [*ours, *theirs]:
        if ours.get(name) != theirs.get(name):
            raise WiringError(
                f"{type(policy).__name__} does not follow its `policy_kwargs`: {name or 'it'} is "
                f"{ours.get(name, 'missing')}, and what they build {theirs.get(name, 'has none')}; say in "
                "`policy_kwargs` how it is built"
            )


def _told(module: nn.Module) -> str:
    """A layer with its settings, or what kind of module holds others."""
    return type(module).__name__ if [*module.children()] else repr(module)


def _fresh(model: Model, policy_kwargs: Mapping[str, Any]) -> Model:
    """An agent with networks of its own, built as SB3's `load` builds them; all other attributes are the agent's."""
    kind = class_of(model)
    new: Any = kind.__new__(kind)
    new.__dict__.update(vars(model))
    new.policy_kwargs = dict(policy_kwargs)
    new.seed = None  # _setup_model would seed all generators, the environment's too.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What there is to say was said when the agent was made.
        new._setup_model()
    new.seed = model.seed
    frozen = {name for name, p in model.policy.named_parameters() if not p.requires_grad}
    for name, p in new.policy.named_parameters():
        p.requires_grad_(p.requires_grad and name not in frozen)
    return cast(Model, new)


def rebuilt(model: Model, policy_kwargs: Mapping[str, Any], weights: Mapping[str, torch.Tensor], cut: Cut) -> Model:
    """The agent with other widths; its optimizers keep their moments, counters and schedules stand where they stood.

    Environment, replay buffer, logger and noise are the very same objects in both agents; of a rollout that was
    collected nothing is kept, as when SB3 loads an agent.

    Args:
        model: any torch `BaseAlgorithm` of SB3 or sb3-contrib.
        policy_kwargs: of the new policy.
        weights: its `state_dict`.
        cut: makes an optimizer's moments, and states of LSTMs, fit.

    Raises:
        WiringError: networks outside the policy, or a policy that does not come out in the shapes of `weights`.
    """
    if more := list(anatomy.modules(model))[1:]:
        raise WiringError(f"{type(model).__name__} has networks of its own beside the policy ({', '.join(more)})")
    _built_again(model)  # Raises for what would come out as another agent.
    new = _fresh(model, policy_kwargs)
    try:
        new.policy.load_state_dict(dict(weights))
    except RuntimeError as error:
        raise WiringError(f"{type(model.policy).__name__} does not follow its `policy_kwargs`: {error}") from error
    for name, tensor in anatomy.loose_tensors(model).items():
        anatomy.loose_tensors(new)[name].data.copy_(tensor.data)
    _carry_optimizers(model, new, cut)
    _carry_lstm_states(model, new, cut)
    return new


def _carry_optimizers(model: BaseAlgorithm, new: BaseAlgorithm, cut: Cut) -> None:
    ours = anatomy.optimizers(new)
    names = {id(p): name for name, p in model.policy.named_parameters()}
    for path, optimizer in anatomy.optimizers(model).items():
        content = optimizer.state_dict()
        params = [p for group in optimizer.param_groups for p in group["params"]]
        content["state"] = {
            index: {key: _fit(names.get(id(params[index])), value, params[index], cut) for key, value in state.items()}
            for index, state in content["state"].items()
        }
        _demand_same_order(optimizer, ours[path], names, {id(p): n for n, p in new.policy.named_parameters()})
        ours[path].load_state_dict(content)


def _fit(name: str | None, value: Any, parameter: nn.Parameter, cut: Cut) -> Any:
    whole = isinstance(value, torch.Tensor) and value.shape == parameter.shape
    return cut(name, value) if whole and name is not None else value


def _demand_same_order(a: Optimizer, b: Optimizer, ours: Mapping[int, str], theirs: Mapping[int, str]) -> None:
    if type(a) is not type(b):
        raise WiringError(
            f"its optimizer is a {type(a).__name__}, and a fresh agent has a {type(b).__name__}; name it in "
            "`policy_kwargs`, by `optimizer_class`"
        )
    order = [[ours.get(id(p)) for group in a.param_groups for p in group["params"]]]
    order += [[theirs.get(id(p)) for group in b.param_groups for p in group["params"]]]
    if order[0] != order[1]:
        raise WiringError(
            f"{type(a).__name__} steps other parameters than the one that a fresh agent has, so its moments cannot be "
            "carried over"
        )


def _carry_lstm_states(model: BaseAlgorithm, new: BaseAlgorithm, cut: Cut) -> None:
    """Where an LSTM stands in its episode: states of shape (layers, environments, units)."""
    states = getattr(model, "_last_lstm_states", None)
    if states is None:
        return
    policy: Any = model.policy
    of = {"pi": "lstm_actor", "vf": "lstm_critic" if policy.lstm_critic is not None else "lstm_actor"}
    kept = {
        side: tuple(
            torch.stack([cut(f"{lstm}.state_l{level}", units) for level, units in enumerate(part)])
            for part in getattr(states, side)
        )
        for side, lstm in of.items()
    }
    new._last_lstm_states = type(states)(**kept)  # type: ignore[attr-defined]
