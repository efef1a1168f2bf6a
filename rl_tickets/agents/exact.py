"""An agent's networks in double precision, so that what differs between two agents is more than rounding."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from rl_tickets.agents.probing import States
from rl_tickets.agents.rebuilding import policy_like
from rl_tickets.agents.validation import unvalidated

Observations = npt.NDArray[Any] | dict[str, npt.NDArray[Any]]
ROWS = 500
STEPS = 20
"""Recurrent policies see observations in sequences of so many steps, from an LSTM's first state on."""


@dataclass
class Heard:
    """What modules were given, and what they answered, over all observations.

    Args:
        inputs: path of the module -> tensors, one for each call.
        outputs: the same.
    """

    inputs: dict[str, list[torch.Tensor]] = field(default_factory=dict)
    outputs: dict[str, list[torch.Tensor]] = field(default_factory=dict)


class Exact:
    """All networks of an agent, target networks included, as copies in double precision.

    Args:
        model: any torch `BaseAlgorithm`; nothing of it is touched.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self._space = model.action_space
        self._policy: Any = policy_like(model).double()
        for module in self._policy.modules():
            if list(module.parameters(recurse=False)):
                module.register_forward_pre_hook(_to_double)
            if isinstance(module, BaseFeaturesExtractor):  # What SB3 preprocesses is single precision.
                module.register_forward_hook(lambda m, args, features: _double(features))
        networks: list[nn.Module] = [child for child in self._policy.children() if isinstance(child, BaseModel)]
        self._networks = networks or [self._policy]
        self._recurrent = hasattr(self._policy, "lstm_actor")

    def hear(self, paths: Sequence[str], observations: Observations, seed: int = 0) -> Heard:
        """Listens to modules while every network runs on observations, critics on random actions beside them.

        Args:
            paths: of modules in the policy.
            observations: as the policy sees them, shape (rows, ...), or a dict of such.
            seed: of the actions.
        """
        heard = Heard()
        generator = np.random.default_rng(seed)
        with ExitStack() as hooks, torch.no_grad(), torch.random.fork_rng(devices=[]), unvalidated():
            for path in paths:
                handle = self._policy.get_submodule(path).register_forward_hook(_listen(path, heard))
                hooks.callback(handle.remove)
            for network in self._networks:
                states = self._first_states(observations)
                for part in self._parts(observations):
                    seen, _ = self._policy.obs_to_tensor(part)
                    states = self._run(network, seen, rows(part), states, generator)
        return heard

    def act(self, observations: Observations) -> npt.NDArray[Any]:
        """Greedy actions, as `predict` gives them."""
        state, found = None, []
        for part in self._parts(observations):
            with unvalidated():
                actions, after = self._policy.predict(part, state=state, deterministic=True)
            state = after if self._recurrent else None
            found.append(actions)
        return np.concatenate(found)

    def weigh(self, observations: Observations) -> npt.NDArray[np.float64]:
        """Outputs of the last layer that `predict` runs, shape (rows, outputs): what discrete actions are chosen by."""
        last: list[torch.Tensor] = []
        found = []
        with ExitStack() as hooks:
            for module in self._policy.modules():
                if isinstance(module, nn.Linear):
                    handle = module.register_forward_hook(lambda m, args, output: last.append(output))
                    hooks.callback(handle.remove)
            for part in self._parts(observations):
                self._policy.predict(part, deterministic=True)
                found.append(last[-1].numpy(force=True))
        return np.concatenate(found)

    def _parts(self, observations: Observations) -> Iterator[Observations]:
        """Batches; for recurrent policies the steps of as many sequences as fit, cut to whole ones."""
        count = rows(observations)
        size = max(1, count // STEPS) if self._recurrent else ROWS
        for first in range(0, count - count % size if self._recurrent else count, size):
            yield take(observations, slice(first, first + size))

    def _first_states(self, observations: Observations) -> Any:
        if not self._recurrent:
            return None
        layers, _, units = self._policy.lstm_hidden_state_shape
        zeros = torch.zeros(layers, max(1, rows(observations) // STEPS), units, dtype=torch.float64)
        zeros = zeros.to(self._policy.device)
        return States((zeros, zeros), (zeros, zeros))

    def _run(self, network: nn.Module, seen: Any, count: int, states: Any, generator: np.random.Generator) -> Any:
        """One batch, and the LSTM's states after it."""
        drawn = generator.uniform(-1, 1, (count, get_action_dim(self._space)))
        actions = torch.as_tensor(drawn, device=self._policy.device)
        return answered(network, seen, actions, states, torch.zeros(count, device=self._policy.device))


def answered(network: nn.Module, seen: Any, actions: torch.Tensor, states: Any, starts: torch.Tensor) -> Any:
    """Runs one of a policy's networks; the LSTM's states after it, where it was given any.

    Args:
        network: it takes an observation first, and what else of the following it names.
        seen: observations as the policy's `obs_to_tensor` gives them.
        actions: that critics take, as their policy scales them.
        states: of recurrent policies, see `States`; None of others.
        starts: of each row whether an episode begins there.
    """
    given = {
        "action": actions,
        "actions": actions,
        "lstm_states": states,
        "episode_starts": starts,
        "deterministic": True,
    }
    first, *others = inspect.signature(network.forward).parameters
    said = network(**{first: seen}, **{name: given[name] for name in others if name in given})
    return said[-1] if states is not None else None


def rows(observations: Observations) -> int:
    """How many observations there are."""
    return len(next(iter(observations.values())) if isinstance(observations, dict) else observations)


def take(observations: Observations, some: slice | npt.NDArray[Any]) -> Observations:
    """Some of the observations."""
    if isinstance(observations, dict):
        return {key: part[some] for key, part in observations.items()}
    return observations[some]


def _to_double(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_double(value) for value in args)


def _double(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_double(part) for part in value)
    return value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


def _listen(path: str, heard: Heard) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        heard.inputs.setdefault(path, []).append(args[0])
        heard.outputs.setdefault(path, []).append(output[0] if isinstance(output, tuple) else output)

    return hook
