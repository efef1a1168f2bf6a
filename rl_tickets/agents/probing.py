"""Which inputs a unit reaches is found by poisoning it: a NaN outlives all arithmetic on its way to the next layers."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BaseModel
from stable_baselines3.common.preprocessing import get_action_dim
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import nn

from rl_tickets.agents.anatomy import trained_parameters
from rl_tickets.agents.layers import WiringError, understood
from rl_tickets.agents.poison import Trace, arrival, departure, witness
from rl_tickets.agents.validation import unvalidated

ROWS = 64
"""Units poisoned in one pass, each in a row of the batch of its own."""
OBSERVATION, ACTION = "observation", "action"


class States(NamedTuple):
    """What recurrent policies of sb3-contrib take: states of the actor's and of the critic's LSTM."""

    pi: tuple[torch.Tensor, torch.Tensor]
    vf: tuple[torch.Tensor, torch.Tensor]


class Enough(Exception):
    """Raised by a hook to end the forward pass of one network: nothing of it is needed any more."""


class Probe:
    """A policy's forward passes, with units poisoned on the way; leaves the policy as it was.

    Args:
        model: any torch `BaseAlgorithm`.

    Raises:
        WiringError: the policy cannot be run on an observation alone.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self.policy = policy = model.policy
        self.actions = get_action_dim(model.action_space)
        trained = trained_parameters(model)
        networks = [child for child in policy.children() if isinstance(child, BaseModel)]
        self.ways: list[nn.Module] = [n for n in networks if any(id(p) in trained for p in n.parameters())]
        self.ways = self.ways or [policy]
        named = dict(policy.named_modules())
        self.layers = {path: module for path, module in named.items() if understood(module)}
        self.others = {p: m for p, m in named.items() if p not in self.layers and not list(m.children())}
        extractors = [path for path, module in named.items() if isinstance(module, BaseFeaturesExtractor)]
        inner = {path for path in extractors if any(path.startswith(f"{outer}.") for outer in extractors)}
        self.extractors = [named[path] for path in extractors if path not in inner]
        self.called, self.observations = self._survey()

    def _survey(self) -> tuple[list[str], dict[str, tuple[int, ...]]]:
        """The layers in the order they are called in, and the shape of each part of a preprocessed observation."""
        called: dict[str, None] = {}
        shapes: dict[str, tuple[int, ...]] = {}

        def see(seen: Mapping[str, torch.Tensor]) -> None:
            shapes.update({name: tuple(part.shape[1:]) for name, part in seen.items()})

        with ExitStack() as hooks:
            for path, module in self.layers.items():
                hooks.enter_context(
                    removed(module.register_forward_hook(lambda *_, path=path: called.update({path: None})))
                )
            for module in self.extractors:
                hooks.enter_context(removed(module.register_forward_pre_hook(on_observation(see))))
            with torch.no_grad():
                self.run(2, torch.zeros(2, self.actions, device=self.policy.device))
        return list(called), shapes

    def poison(self, source: str, units: int) -> Trace:
        """Poisons each unit of a source in turn.

        Args:
            source: path of a layer's module, `action`, or a part of the observation.
            units: of the source; of an observation its elements, or the channels if there are only so many.

        Raises:
            WiringError: the policy cannot be run.
        """
        trace = Trace()
        for first in range(0, units, ROWS):
            self._poison_some(source, np.arange(first, min(units, first + ROWS)), units, trace)
        return trace

    def _poison_some(self, source: str, some: np.ndarray, units: int, trace: Trace) -> None:
        rows = np.arange(len(some))

        def infect(observation: Mapping[str, torch.Tensor]) -> None:
            if source in observation:
                observation[source].view(len(rows), units, -1)[rows, some] = torch.nan

        with ExitStack() as hooks:
            for path, module in self.others.items():
                hooks.enter_context(removed(module.register_forward_hook(witness(path, trace))))
            for path, module in self.layers.items():
                arrive, leave = arrival(path, some, units, trace), departure(some if path == source else None)
                hooks.enter_context(removed(module.register_forward_pre_hook(arrive)))
                hooks.enter_context(removed(module.register_forward_hook(leave)))
            for module in self.extractors:
                hooks.enter_context(removed(module.register_forward_pre_hook(on_observation(infect))))
            actions = torch.zeros(len(rows), self.actions, device=self.policy.device)
            if source == ACTION:
                actions[rows, some] = torch.nan
            with torch.no_grad():
                self.run(len(rows), actions)

    def run(self, rows: int, actions: torch.Tensor) -> None:
        """Runs all trained networks on zeros, in evaluation mode, without a trace in generators or modes.

        Raises:
            WiringError: one of them cannot be run.
        """
        modes = {module: module.training for module in self.policy.modules()}
        self.policy.set_training_mode(False)
        try:
            with torch.random.fork_rng(devices=[]), unvalidated():
                for way in self.ways:
                    with suppress(Enough):
                        way(**self._arguments(way, rows, actions))
        except WiringError:
            raise
        except (RuntimeError, ValueError, TypeError, AssertionError, LookupError, AttributeError) as error:
            raise WiringError(
                f"{type(self.policy).__name__} cannot be run on observations of zeros, so its wiring is unknown "
                f"({type(error).__name__}: {error}); prune single weights"
            ) from error
        finally:
            for module, mode in modes.items():
                module.training = mode

    def _arguments(self, way: nn.Module, rows: int, actions: torch.Tensor) -> dict[str, Any]:
        """What a forward pass wants: an observation first, then actions, LSTM states, and greedy actions."""
        device = actions.device
        shape = getattr(self.policy, "lstm_hidden_state_shape", (1, 1, 1))
        zeros = torch.zeros(shape[0], rows, shape[2], device=device)
        given = {
            "action": actions,
            "actions": actions,
            "lstm_states": States((zeros, zeros), (zeros, zeros)),
            "episode_starts": torch.zeros(rows, device=device),
            "deterministic": True,
        }
        first, *others = inspect.signature(way.forward).parameters.values()
        arguments: dict[str, Any] = {first.name: _zeros(self.policy.observation_space, rows, device)}
        for wanted in others:
            if wanted.name in given:
                arguments[wanted.name] = given[wanted.name]
            elif wanted.default is wanted.empty and wanted.kind in (wanted.POSITIONAL_OR_KEYWORD, wanted.KEYWORD_ONLY):
                raise WiringError(
                    f"{type(way).__name__}.forward wants {wanted.name!r}, of which wiring knows nothing; give it a "
                    "default, or prune single weights"
                )
        return arguments


def _zeros(space: spaces.Space[Any], rows: int, device: torch.device) -> Any:
    if isinstance(space, spaces.Dict):
        return {key: _zeros(part, rows, device) for key, part in space.items()}
    return torch.as_tensor(np.zeros((rows, *(space.shape or ())), space.dtype), device=device)


@contextmanager
def removed(handle: Any) -> Iterator[None]:
    """A hook's handle, removed in the end."""
    try:
        yield
    finally:
        handle.remove()


def on_observation(act: Callable[[Mapping[str, torch.Tensor]], None]) -> Callable[..., Any]:
    """A hook that shows copies of the parts of a preprocessed observation, by name, and passes them on."""

    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not args:
            return None
        if isinstance(args[0], dict):
            parts = {key: _copy(part) for key, part in args[0].items()}
            act({f"{OBSERVATION}.{key}": part for key, part in parts.items()})
            return (parts, *args[1:])
        whole = _copy(args[0])
        act({OBSERVATION: whole})
        return (whole, *args[1:])

    return hook


def _copy(part: torch.Tensor) -> torch.Tensor:
    """A float copy that can be viewed flat, whatever the strides were."""
    return part.float().clone(memory_format=torch.contiguous_format)
