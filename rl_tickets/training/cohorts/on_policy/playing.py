"""Playing: actions of several trained actor-critic policies of one shape, stacked, without learning anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from torch import nn
from torch.func import functional_call, vmap
from torch.fx import GraphModule
from torch.utils._pytree import tree_flatten, tree_unflatten

from rl_tickets.agents.holding import class_of
from rl_tickets.training.cohorts.family import CannotJoin, demand_unchanged, policy_can_be
from rl_tickets.training.cohorts.fingerprint import fingerprint
from rl_tickets.training.cohorts.on_policy.sampling import Sampler, sampler_of
from rl_tickets.training.cohorts.template import template
from rl_tickets.training.cohorts.tracing import graph_of

LARGEST = 50_000
"""Weights of a policy that is worth stacking: beyond, arithmetic takes the time, and empty slots cost as much."""

Tensors = dict[str, torch.Tensor]


def signature_of(model: Any) -> str:
    """Equal for agents whose policies can be stacked on one another.

    Raises:
        CannotJoin: this one's cannot be stacked on any; the text says why.
    """
    if not isinstance(model, BaseAlgorithm):
        raise CannotJoin(f"it is a {type(model).__name__}, no agent of SB3's")
    policy = model.policy
    if not isinstance(policy, ActorCriticPolicy):
        raise CannotJoin(f"its policy is a {type(policy).__name__}, not an ActorCriticPolicy")
    demand_unchanged(class_of(model), BaseAlgorithm, ("predict",))
    demand_unchanged(type(policy), BasePolicy, ("predict", "obs_to_tensor"))
    demand_unchanged(type(policy), ActorCriticPolicy, ("_predict",))
    if getattr(policy, "use_sde", False) or policy.squash_output:
        raise CannotJoin("its policy explores with gSDE or squashes actions")
    if sampler_of(policy.action_dist) is None:
        raise CannotJoin(f"it draws actions from a {type(policy.action_dist).__name__}")
    if policy.device.type != "cpu":
        raise CannotJoin(f"it is on device {policy.device}")
    if not isinstance(model.observation_space, spaces.Box | spaces.MultiBinary):
        raise CannotJoin("it does not observe arrays of numbers")
    shapes = {name: tuple(tensor.shape) for name, tensor in policy.state_dict().items()}
    if sum(tensor.numel() for tensor in policy.state_dict().values()) > LARGEST:
        raise CannotJoin(f"its policy has more than {LARGEST:,} weights")
    return repr((str(policy), fingerprint(policy), shapes, model.observation_space, model.action_space))


class Playing:
    """The forward pass of stacked policies, one graph for each way of playing; it serves all agents of a shape.

    Args:
        model: any agent of this shape; none of its weights stay here.
        slots: places for policies; a fixed number, since stacked arithmetic may depend on it.
        rows: observations for each policy.

    Raises:
        CannotJoin: the policy cannot be copied or traced.
    """

    def __init__(self, model: Any, slots: int, rows: int) -> None:
        policy = template(model.policy)
        policy.set_training_mode(False)
        sampler = sampler_of(policy.action_dist)
        assert sampler is not None, "demanded by signature_of"
        self.sampler: Sampler = sampler
        self._slots, self._rows = slots, rows
        self._shape = tuple(model.observation_space.shape)
        with policy_can_be("traced"):
            self._greedy, self._sampled = (self._traced(policy, model, noise) for noise in ([], self.noise()))

    def _traced(self, policy: ActorCriticPolicy, model: Any, noise: list[torch.Tensor]) -> GraphModule:
        flat, nest = tree_flatten((self.weights([model]), self.observations(), noise))
        module = _Played(policy, self.sampler)

        def of_member(weights: Tensors, *given: Any) -> torch.Tensor:
            named = {f"policy.{name}": tensor for name, tensor in weights.items()}
            found: torch.Tensor = functional_call(module, named, given)
            return found

        def act(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return (vmap(of_member)(*tree_unflatten(tensors, nest)),)

        return graph_of(act, *flat)

    def weights(self, models: Sequence[Any]) -> Tensors:
        """Parameters and buffers of agents in the first slots, zeros in the others; each (slots, ...)."""
        states = [{**dict(m.policy.named_parameters()), **dict(m.policy.named_buffers())} for m in models]
        stacked = {name: tensor.new_zeros((self._slots, *tensor.shape)) for name, tensor in states[0].items()}
        for slot, state in enumerate(states):
            for name, tensor in state.items():
                stacked[name][slot] = tensor.detach()
        return stacked

    def observations(self) -> torch.Tensor:
        """Room for observations: float32, (slots, rows, ...)."""
        return torch.zeros(self._slots, self._rows, *self._shape)

    def noise(self) -> list[torch.Tensor]:
        """Room for the noise of sampled actions: (slots, rows, ...) each."""
        return [torch.ones(self._slots, self._rows, *shape) for shape in self.sampler.shapes]

    def act(self, weights: Tensors, observations: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
        """Actions (slots, rows, ...), unclipped: sampled by this noise, the likeliest where there is none."""
        graph = self._sampled if noise else self._greedy
        with torch.no_grad():
            actions: torch.Tensor = graph(*weights.values(), observations, *noise)[0]
        return actions


class _Played(nn.Module):
    """`ActorCriticPolicy._predict` with noise from outside."""

    def __init__(self, policy: ActorCriticPolicy, sampler: Sampler) -> None:
        super().__init__()
        self.policy, self._sampler = policy, sampler

    def forward(self, observations: torch.Tensor, noise: list[torch.Tensor]) -> torch.Tensor:
        distribution = self.policy.get_distribution(observations)
        actions = self._sampler.act(distribution, noise) if noise else distribution.get_actions(deterministic=True)
        # Of several dimensions: the distribution knows the flat ones.
        return actions.reshape((-1, *(self.policy.action_space.shape or ())))
