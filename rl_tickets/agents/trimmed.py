"""Trimmed agents: smaller ones that train in the place of an agent whose mask leaves units that no output hears."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.layers import WiringError
from rl_tickets.agents.paths import heard_units
from rl_tickets.agents.rebuilding import rebuilt
from rl_tickets.agents.trimming import Trim, demand_stateless, sized
from rl_tickets.agents.widths import resized, widths
from rl_tickets.agents.wiring import wiring
from rl_tickets.tickets.mask import Mask


class Trimmed:
    """The agent without the units that no output hears along kept weights, and the way back to the agent as it was.

    Nothing that is trained depends on such a unit, and no gradient reaches it: held to the mask that is left, the
    smaller agent makes the updates that the whole one would make held to its mask, but for rounding. Units that are
    heard stay, those without inputs too, since their biases are trained; so do layers that `shrink` leaves whole, and
    twins stay equally wide.

    Args:
        model: the whole agent, with the state that training is to start from; environment, replay buffer, logger and
            noise become the smaller one's.
        mask: of its weights.

    Raises:
        WiringError: the policy is not understood, is not built by its `policy_kwargs`, or lets units pass modules with
            a state of their own; or the algorithm is TRPO, whose steps depend on masked weights.

    Example:
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [8]}, seed=0, device="cpu")
        >>> kept = dict(Mask.dense(model))
        >>> kept["action_net.weight"][:, 3:] = False
        >>> trimmed = Trimmed(model, Mask(kept))
        >>> trimmed.model.policy_kwargs["net_arch"]
        {'pi': [3], 'vf': [8]}
        >>> trimmed.whole(trimmed.model.policy.state_dict())["action_net.weight"].shape
        torch.Size([2, 8])
    """

    def __init__(self, model: BaseAlgorithm, mask: Mask) -> None:
        _demand_gradients(model)
        found = wiring(model)
        every = widths(model, found)
        for width in every:
            for name in width.layers:
                demand_stateless(model.policy, found.layer(name))
        heard = heard_units(found, mask)
        kept, sizes = sized(every, lambda layer: np.flatnonzero(heard[layer]))
        copies = anatomy.copies(model)
        self._trim = trim = Trim(found, kept, copies)
        self._mask = mask
        covered = {**dict(mask), **{name: mask[origin] for name, origin in copies.items() if origin in mask}}
        state = {name: tensor.detach().clone() for name, tensor in model.policy.state_dict().items()}
        self._state = {name: t * covered[name].to(t.device) if name in covered else t for name, t in state.items()}
        weights = {name: trim.cut(name, tensor) for name, tensor in self._state.items()}
        self.model = rebuilt(model, resized(model, found, sizes), weights, trim.cut)
        self.mask = Mask({name: trim.cut(name, bits) for name, bits in mask.items()})

    def whole(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The whole policy's `state_dict`, of the smaller one's; units that are gone have what they started with."""
        return {name: self._trim.uncut(name, weights[name], tensor) for name, tensor in self._state.items()}

    def whole_mask(self, mask: Mask) -> Mask:
        """The whole agent's mask, of one of the smaller agent's."""
        return Mask({name: self._trim.uncut(name, mask[name], bits) for name, bits in self._mask.items()})


def _demand_gradients(model: BaseAlgorithm) -> None:
    """Refuses sb3-contrib's TRPO, which need not be installed: its steps do not follow the gradient of kept weights."""
    if any(kind.__name__ == "TRPO" for kind in type(model).__mro__):
        raise WiringError(
            "TRPO's steps solve for all weights at once, those that are masked among them, so that an agent without "
            "some of them would make others; search with rt.IMP"
        )
