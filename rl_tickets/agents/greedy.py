"""The greedy policy of an agent, from what its environment gives to the action that the environment is given."""

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.preprocessing import preprocess_obs
from torch import nn

from rl_tickets.agents.exact import Observations, rows
from rl_tickets.agents.incoming import Incoming, incoming
from rl_tickets.agents.layers import WiringError
from rl_tickets.agents.observations import drawn
from rl_tickets.agents.rebuilding import policy_like
from rl_tickets.agents.validation import unvalidated

Array = npt.NDArray[Any]
FAR = 1_000.0
"""How many times further out than ordinary observations a policy is looked at."""


def demand_stateless(model: BaseAlgorithm) -> None:
    """Refuses a policy whose greedy action depends on more than one observation.

    Raises:
        WiringError: it has a recurrent state, or takes action masks.
    """
    kind, wanted = type(model.policy).__name__, inspect.signature(model.policy._predict).parameters
    for name, what in (("lstm_states", "has a recurrent state"), ("action_masks", "takes action masks")):
        if name in wanted:
            raise WiringError(f"{kind} {what}, which exported policies do not; keep it as an SB3 file")


class Greedy(nn.Module):
    """A copy of an agent's policy with all that SB3's `predict` and VecNormalize do around it, as one module.

    Normalisation, order of channels, the greedy action, squashing, unscaling and clipping are inside; shape (rows, ...)
    goes in, (rows, ...) comes out. It lives on the CPU.

    Args:
        model: any torch `BaseAlgorithm` of SB3 or sb3-contrib.

    Raises:
        WiringError: a recurrent policy, one that takes action masks, or observations of several parts.
    """

    mean: torch.Tensor
    scale: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, model: BaseAlgorithm) -> None:
        super().__init__()
        demand_stateless(model)
        self.incoming: Incoming = incoming(model)
        self.policy: BasePolicy = policy_like(model).cpu()
        self._actions = model.action_space
        if self.incoming.mean is not None:
            self.register_buffer("mean", torch.as_tensor(self.incoming.mean, dtype=torch.float64))
            self.register_buffer("scale", torch.as_tensor(self.incoming.scale, dtype=torch.float64))
        if isinstance(model.action_space, spaces.Box):
            self.register_buffer("low", torch.as_tensor(model.action_space.low))
            self.register_buffer("high", torch.as_tensor(model.action_space.high))
        self._bounds = _scalar_bounds(model.action_space)
        self.eval()

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        if self.incoming.mean is not None:
            near = (observation.double() - self.mean) / self.scale
            observation = near.clamp(-self.incoming.clip, self.incoming.clip).float()
        if self.incoming.transposed:
            observation = observation.permute(0, 3, 1, 2)
        actions = self.policy._predict(observation, deterministic=True)
        shape = self._actions.shape or ()
        if actions.shape[1:] != shape:
            actions = actions.reshape(-1, *shape)
        if not isinstance(self._actions, spaces.Box):
            return actions
        if self.policy.squash_output:
            return self.low + 0.5 * (actions + 1.0) * (self.high - self.low)
        if self._bounds is not None:
            return actions.clamp(*self._bounds)
        return torch.minimum(torch.maximum(actions, self.low), self.high)


def _scalar_bounds(space: spaces.Space[Any]) -> tuple[float, float] | None:
    """Bounds that are the same in every dimension: one operation of a graph instead of two."""
    if not isinstance(space, spaces.Box) or len({*space.low.flat}) > 1 or len({*space.high.flat}) > 1:
        return None
    return float(space.low.flat[0]), float(space.high.flat[0])


@dataclass(frozen=True)
class Chain:
    """A greedy policy as modules of which each is given what the one before answers.

    Args:
        modules: from the preprocessed observation to the outputs that decide.
        decide: name of what makes an action of those outputs: see `DECISIONS`.
        groups: how many outputs decide on each discrete action; how many quantiles each has, for `quantiles`.
    """

    modules: tuple[nn.Module, ...]
    decide: str
    groups: tuple[int, ...] = ()


Decide = Callable[[torch.Tensor, tuple[int, ...]], torch.Tensor]
DECISIONS: dict[str, Decide] = {
    "mean": lambda said, groups: said,
    "tanh": lambda said, groups: said.tanh(),
    "positive": lambda said, groups: (said > 0).to(said.dtype),
    "argmax": lambda said, groups: torch.stack([g.argmax(1) for g in torch.split(said, list(groups), 1)], 1),
    "quantiles": lambda said, groups: said.reshape(len(said), groups[0], -1).mean(1).argmax(1, keepdim=True),
}
"""What SB3's distributions do with a network's outputs to choose greedily."""


def chain(model: BaseAlgorithm) -> Chain:
    """Follows observations through a greedy policy, module by module.

    Raises:
        WiringError: something happens to them that no module shows, or no known decision follows.
    """
    demand_stateless(model)
    policy = policy_like(model).cpu()
    observations = _near_and_far(model, 16)
    seen, _ = policy.obs_to_tensor(observations)
    calls: list[tuple[nn.Module, torch.Tensor, torch.Tensor]] = []
    with ExitStack() as hooks, torch.no_grad(), unvalidated():
        for module in policy.modules():
            if not list(module.children()):
                handle = module.register_forward_hook(partial(_note, calls))
                hooks.callback(handle.remove)
        actions = policy._predict(seen, deterministic=True).reshape(rows(observations), -1)
    first = preprocess_obs(seen, model.observation_space, normalize_images=policy.normalize_images)
    assert isinstance(first, torch.Tensor)
    for last in reversed(range(len(calls))):
        modules = _back(calls, last, first)
        if modules is not None:
            for decide, groups in _decisions(model.action_space, calls[last][2]):
                chosen = DECISIONS[decide](calls[last][2], groups)
                if chosen.shape == actions.shape and torch.allclose(chosen.to(actions.dtype), actions, atol=1e-6):
                    return Chain(modules, decide, groups)
    raise WiringError(
        f"{type(policy).__name__} does more than pass observations from module to module, so it has no form for numpy; "
        "export it to .onnx"
    )


def _note(calls: list[tuple[nn.Module, torch.Tensor, torch.Tensor]], module: nn.Module, given: Any, said: Any) -> None:
    """A call that makes one tensor of one; no other has a form for numpy."""
    if len(given) == 1 and isinstance(given[0], torch.Tensor) and isinstance(said, torch.Tensor):
        calls.append((module, given[0], said))


def _near_and_far(model: BaseAlgorithm, count: int) -> Observations:
    """As many again far out: what a function of one's own clamps shows there."""
    near, space = drawn(model, count), model.observation_space
    if isinstance(near, dict) or not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        return near
    return np.concatenate([near, np.clip(FAR * near, space.low, space.high).astype(space.dtype)])


def preferences(space: spaces.Space[Any], said: Array) -> list[Array]:
    """For each discrete action what each of its choices is worth, shape (rows, choices), from a network's outputs."""
    match space:
        case spaces.Discrete():
            return [said.reshape(len(said), -1, int(space.n)).mean(1)]  # The mean over quantiles, if there are any.
        case spaces.MultiDiscrete():
            return np.split(said, np.cumsum(space.nvec.flatten())[:-1], axis=1)
    return [np.stack([np.zeros(len(said)), column], axis=1) for column in said.T]


def _back(
    calls: list[tuple[nn.Module, torch.Tensor, torch.Tensor]], last: int, first: torch.Tensor
) -> tuple[nn.Module, ...] | None:
    """The modules between the observation and a call, or None where one is given what no other answered."""
    module, given, _ = calls[last]
    if torch.equal(given, first):
        return (module,)
    for before in reversed(range(last)):
        if torch.equal(calls[before][2], given):
            way = _back(calls, before, first)
            return None if way is None else (*way, module)
    return None


def _decisions(space: spaces.Space[Any], said: torch.Tensor) -> list[tuple[str, tuple[int, ...]]]:
    if said.ndim != 2:
        return []
    match space:
        case spaces.Box():
            return [("mean", ()), ("tanh", ())]
        case spaces.Discrete() if said.shape[1] == space.n:
            return [("argmax", (int(space.n),))]
        case spaces.Discrete() if said.shape[1] % space.n == 0:
            return [("quantiles", (said.shape[1] // int(space.n),))]
        case spaces.MultiDiscrete() if said.shape[1] == space.nvec.sum():
            return [("argmax", tuple(int(n) for n in space.nvec))]
        case spaces.MultiBinary():
            return [("positive", ())]
    return []
