"""Acting: what the policies of all members of a cohort would do, in one stacked forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.func import functional_call, vmap

from rl_tickets.training.cohorts.off_policy.algorithm import Algorithm, Tensors
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.stepping import Array
from rl_tickets.training.cohorts.tracing import Traced


class Acting:
    """The compiled forward pass of one cohort.

    Args:
        policy: a copy of any member's; its weights do not matter.
        algorithm: how it acts.
        stack: the members' weights.
        observations: of all members, of shape (members, environments, ...); read anew at every call.
        actions: dimensions of an action.
    """

    def __init__(self, policy: Any, algorithm: Algorithm, stack: Stack, observations: Array, actions: int) -> None:
        policy.set_training_mode(False)
        shapes = algorithm.acting_noise(actions)
        self._noise = [torch.zeros(*observations.shape[:2], *shape) for shape in shapes]
        self._rows = [list(noise.unbind()) for noise in self._noise]
        module = _Forward(policy, algorithm)
        weights = {
            name: tensor for name, tensor in {**stack.weights, **stack.fixed}.items() if name not in algorithm.loose
        }

        def of_member(weights: Tensors, observation: torch.Tensor, noise: list[torch.Tensor]) -> Any:
            given = {f"policy.{name}": tensor for name, tensor in weights.items()}
            return functional_call(module, given, (observation, noise))

        def act(here: tuple[Any, ...]) -> tuple[torch.Tensor, ...]:
            return (vmap(of_member)(*here),)

        self._act = Traced(act, (weights, torch.from_numpy(observations), self._noise))

    def prepare(self) -> None:
        """Compiles it before it is called."""
        self._act.prepare()

    def draw(self, slot: int, generator: torch.Generator) -> None:
        """Draws the noise of one member's next actions."""
        for rows in self._rows:
            rows[slot].normal_(generator=generator)

    def act(self) -> Array:
        """Actions of shape (members, environments, ...)."""
        found: Array = self._act()[0].numpy()
        return found


class _Forward(nn.Module):
    """`_predict` with noise from outside."""

    def __init__(self, policy: Any, algorithm: Algorithm) -> None:
        super().__init__()
        self.policy, self._algorithm = policy, algorithm

    def forward(self, observations: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
        actions = self._algorithm.act(self.policy, observations, noise)
        return actions.reshape((-1, *(self.policy.action_space.shape or ())))
