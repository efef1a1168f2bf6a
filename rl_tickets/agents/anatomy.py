"""The anatomy of an SB3 agent, discovered rather than looked up: who trains which weights, and who copies them."""

import warnings
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import Any

import torch
from gymnasium.envs.registration import EnvSpec
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.type_aliases import TrainFreq, TrainFrequencyUnit
from torch import nn
from torch.optim import Optimizer

from rl_tickets.agents.computed import DenseLayerWarning, computed_weights, dense_layers
from rl_tickets.tickets.mask import Prunable


def modules(model: BaseAlgorithm) -> dict[str, nn.Module]:
    """The agent's own networks by attribute path: `policy` first, then any that the policy does not contain."""
    found: dict[str, nn.Module] = {"policy": model.policy}
    inside = {id(module) for module in model.policy.modules()}
    for name, value in vars(model).items():
        if isinstance(value, nn.Module) and id(value) not in inside:
            found[name] = value
            inside |= {id(module) for module in value.modules()}
    return found


def loose_tensors(model: BaseAlgorithm) -> dict[str, torch.Tensor]:
    """Tensors that hang on the agent itself, as SAC's `log_ent_coef` does, and belong to none of its networks."""
    inside = {id(t) for m in modules(model).values() for t in (*m.parameters(), *m.buffers())}
    every = ((key, item) for name, value in vars(model).items() for key, item in _items(name, value))
    return {key: item for key, item in every if isinstance(item, torch.Tensor) and id(item) not in inside}


def optimizers(model: BaseAlgorithm) -> dict[str, Optimizer]:
    """Every optimizer of the agent by attribute path, wherever it hangs: on the algorithm, the policy, a network.

    Raises:
        ValueError: there is none, so nothing could be trained and held (ARS is such an agent).
    """
    holders: list[tuple[str, object]] = [("", model)]
    for path, module in modules(model).items():
        holders += [(f"{path}.{name}" if name else path, inner) for name, inner in module.named_modules()]
    found: dict[str, Optimizer] = {}
    for path, holder in holders:
        for name, value in vars(holder).items():
            for key, item in _items(name, value):
                if isinstance(item, Optimizer) and not any(item is other for other in found.values()):
                    found[f"{path}.{key}".lstrip(".")] = item
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no torch optimizer, so its weights cannot be held; "
            "use an algorithm that learns by gradients, such as PPO or SAC"
        )
    return found


def holds_tensor(name: str, value: object) -> bool:
    """Whether an attribute is a tensor, or a list or dict with one."""
    return any(isinstance(item, torch.Tensor) for _, item in _items(name, value))


def _items(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, list | tuple):
        yield from ((f"{name}.{index}", item) for index, item in enumerate(value))
    elif isinstance(value, dict):
        yield from ((f"{name}.{key}", item) for key, item in value.items())
    else:
        yield name, value


def trained_parameters(model: BaseAlgorithm) -> set[int]:
    """Identities of all parameters that some optimizer steps."""
    return {
        id(p) for optimizer in optimizers(model).values() for group in optimizer.param_groups for p in group["params"]
    }


def prunable_weights(model: BaseAlgorithm, prunable: Prunable | None = None) -> dict[str, nn.Parameter]:
    """The weights a mask covers, in the order of `policy.named_parameters()`.

    By default all weight matrices and kernels that an optimizer trains: linear, convolutional, recurrent and
    attention layers; never biases, norms, embeddings, `log_std` parameters, or what weights are computed from. Frozen
    parameters (`requires_grad=False`) are never among them.

    Raises:
        TypeError: `prunable` is no function.
        ValueError: there is no optimizer, or nothing to prune.
    """
    if not (prunable is None or callable(prunable)):
        raise TypeError(f"prunable must be a function `(name, parameter) -> bool`, or None, not {prunable!r}")
    trained = trained_parameters(model)
    choose = _is_weight(model.policy) if prunable is None else prunable
    moving = ((n, p) for n, p in model.policy.named_parameters() if id(p) in trained and p.requires_grad)
    found = {n: p for n, p in moving if choose(n, p)}
    if not found and prunable is None:
        raise ValueError(
            f"this {type(model).__name__} policy has no weights that are pruned by default (embeddings and weights "
            "computed from other parameters are not); choose some with `prunable`"
        )
    if not found:
        raise ValueError(f"no parameter of this {type(model).__name__} policy may be pruned; check `prunable`")
    return found


def chosen_weights(model: BaseAlgorithm, prunable: Prunable | None = None) -> dict[str, nn.Parameter]:
    """The same; a `DenseLayerWarning` names layers that the default leaves dense though they have weights."""
    found = prunable_weights(model, prunable)
    dense = dense_layers(model.policy, trained_parameters(model)) if prunable is None else {}
    if dense:
        warnings.warn(
            f"{', '.join(dense)} are computed from other parameters, as by weight_norm or spectral_norm, and stay "
            f"dense: {sum(dense.values()):,} of {parameter_count(model):,} parameters that no density but "
            "`overall_density` counts; give `prunable` to prune those parameters all the same, or to leave them out "
            "knowingly",
            DenseLayerWarning,
            stacklevel=3,
        )
    return found


def _is_weight(policy: nn.Module) -> Prunable:
    # Not embeddings: a row is looked up, not summed over, and those who find tickets in language models leave
    # them dense (Chen et al. 2020, arXiv 2007.12223).
    tables = [m for m in policy.modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
    apart = {id(p) for table in tables for p in table.parameters()}
    apart |= {id(p) for parameters in computed_weights(policy).values() for p in parameters}
    return lambda name, p: p.ndim >= 2 and "weight" in name.rsplit(".", 1)[-1] and id(p) not in apart


def parameter_count(model: BaseAlgorithm) -> int:
    """How many parameters the policy's networks have, prunable or not; those of target networks, which copy, aside."""
    copied = {id(copy) for _, copy in twins(model)}
    return sum(p.numel() for p in model.policy.parameters() if id(p) not in copied)


def twins(model: BaseAlgorithm) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """Pairs (trained parameter, its copy in a target network).

    A target network is a module none of whose parameters any optimizer steps; its origin is the trained module with
    the same parameter names and shapes whose own name is most alike (`critic` for `critic_target`).
    """
    trained = trained_parameters(model)
    every = _named_modules(model)
    pairs: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}
    for name, target in every:
        parameters = dict(target.named_parameters())
        if not parameters or any(id(p) in trained or id(p) in pairs for p in parameters.values()):
            continue
        shapes = {key: p.shape for key, p in parameters.items()}
        origins = [
            (other, origin)
            for other, origin in every
            if {key: p.shape for key, p in origin.named_parameters()} == shapes
            and all(id(p) in trained for p in origin.parameters())
        ]
        if origins:
            _, origin = max(origins, key=lambda pair: SequenceMatcher(None, name, pair[0]).ratio())
            ours = dict(origin.named_parameters())
            pairs |= {id(copy): (ours[key], copy) for key, copy in parameters.items()}
    return list(pairs.values())


def copies(model: BaseAlgorithm) -> dict[str, str]:
    """Names in the policy's `state_dict` that repeat a trained parameter, or belong to its target twin.

    A shared extractor stands in a `state_dict` once for every place that uses it.
    """
    origin = {id(p): name for name, p in model.policy.named_parameters()}
    trained = {id(copy): origin[id(p)] for p, copy in twins(model) if id(p) in origin}
    every = model.policy.named_parameters(remove_duplicate=False)
    pairs = ((name, trained.get(id(p), origin[id(p)])) for name, p in every)
    return {name: source for name, source in pairs if name != source}


def _named_modules(model: BaseAlgorithm) -> list[tuple[str, nn.Module]]:
    """Every module by path, outer ones first."""
    found = []
    for path, module in modules(model).items():
        found += [(f"{path}.{name}" if name else path, inner) for name, inner in module.named_modules()]
    return found


def rollout_steps(model: BaseAlgorithm) -> int:
    """Environment steps of a rollout; of one step of every environment where rollouts end with episodes."""
    steps = 1
    if isinstance(model, OnPolicyAlgorithm):
        steps = model.n_steps
    elif isinstance(model, OffPolicyAlgorithm):
        assert isinstance(model.train_freq, TrainFreq)
        steps = model.train_freq.frequency if model.train_freq.unit is TrainFrequencyUnit.STEP else 1
    return steps * model.n_envs


def whole_rollouts(steps: float, rollout: int) -> int:
    """Environment steps, rounded up to whole rollouts of so many.

    >>> whole_rollouts(100, 64)
    128
    """
    return -(-int(steps) // rollout) * rollout


def shortest_run(model: BaseAlgorithm) -> int:
    """Environment steps after which an agent has surely begun a second rollout and taken gradient steps.

    Episodes of an environment without a time limit of its own count as 1,000 steps.
    """
    rollout = rollout_steps(model)
    frequency = getattr(model, "train_freq", None)
    if isinstance(frequency, TrainFreq) and frequency.unit is TrainFrequencyUnit.EPISODE:
        spec = environment_spec(model)
        rollout *= frequency.frequency * ((spec and spec.max_episode_steps) or 1_000)
    return max(2 * rollout, int(getattr(model, "learning_starts", 0)) + 200)


def environment_name(model: Any) -> str:
    """The Gymnasium id of the agent's environment, or the name of its class."""
    env = model.get_env()
    if env is None:
        return "unknown"
    envs, spec = getattr(env.unwrapped, "envs", None), environment_spec(model)
    return str(spec.id) if spec is not None else type(envs[0].unwrapped if envs else env.unwrapped).__name__


def environment_spec(model: Any) -> EnvSpec | None:
    """How Gymnasium makes the agent's environment, where it does."""
    try:
        spec: EnvSpec | None = model.get_env().get_attr("spec")[0]
    except AttributeError:
        return None
    return spec
