"""Carrying a ticket over into a fresh agent of another kind, once it is known which modules correspond."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.correspondence import modules_of
from rl_tickets.agents.making import provenance
from rl_tickets.agents.state import TrainingState
from rl_tickets.search.misfits import MakeMask, Misfit
from rl_tickets.search.transferred import LayerTransfer, Transferred
from rl_tickets.tickets.identity import name_of
from rl_tickets.tickets.mask import Mask, Prunable
from rl_tickets.tickets.ticket import Ticket


class Carrying:
    """One transfer: the target's fresh weights and full mask, layer by layer replaced by the ticket's.

    Args:
        ticket: it stays as it is.
        model: a fresh agent of the target, with the seed; it stays as it is.
        pairs: target's module path -> the ticket's.
        otherwise: gives the masks of weights that nothing is carried to.
        prunable: which of the target's weights a mask covers.
        seed: of the agent, and of what `otherwise` draws.
    """

    def __init__(
        self,
        ticket: Ticket,
        model: BaseAlgorithm,
        pairs: Mapping[str, str],
        otherwise: MakeMask,
        prunable: Prunable | None,
        seed: int,
    ) -> None:
        self._ticket, self._model, self._pairs, self._otherwise, self._seed = ticket, model, pairs, otherwise, seed
        self._generator = np.random.default_rng([seed, 0x7A5])
        self._weights = {name: tensor.cpu().clone() for name, tensor in model.policy.state_dict().items()}
        self._copies = anatomy.copies(model)
        self._mask = {
            n: torch.ones(p.shape, dtype=torch.bool) for n, p in anatomy.prunable_weights(model, prunable).items()
        }
        self._origins: dict[str, str] = {}
        """Target tensor -> the ticket's."""

    def done(self) -> Transferred:
        """The new ticket, and what is in it."""
        prunable = modules_of(self._mask)
        layers = tuple(self._layer(path) for path in dict.fromkeys([*self._pairs, *prunable]) if self._is_layer(path))
        if not any(layer.source is not None for layer in layers):
            raise ValueError(
                f"nothing of this ticket fits the target, as for {layers[0].target!r} {layers[0].reason}: give "
                "`source`, the make_model of the ticket's own agent, or `names` of modules that correspond"
            )
        beside = self._rest({layer.target for layer in layers})
        self._follow()
        self._carry(self._origins)
        carried = {layer.source for layer in layers}
        left = tuple(path for path in modules_of(self._ticket.mask) if path not in carried)
        state, more = self._state()
        ticket = Ticket(Mask(self._mask), self._weights, state, self._provenance(layers))
        return Transferred(ticket, layers, left, (*beside, *more))

    def _is_layer(self, path: str) -> bool:
        """Whether a module has weights that a mask covers, here or in the ticket; norms have none."""
        masks = {*modules_of(self._mask)}, {*modules_of(self._ticket.mask)}
        return path in masks[0] or self._pairs.get(path) in masks[1]

    def _layer(self, path: str) -> LayerTransfer:
        origin = self._pairs.get(path)
        ours, masked = _inside(path, self._weights), [name for name in self._mask if modules_of([name])[0] == path]
        theirs = {} if origin is None else _inside(origin, self._ticket.weights)
        if reason := self._misfit(ours, theirs, origin):
            for name in masked:
                self._mask[name] = self._mask_of(name, origin, reason)
        else:
            self._origins |= {f"{path}.{key}".lstrip("."): f"{origin}.{key}".lstrip(".") for key in ours}
            full = {name: torch.ones_like(self._mask[name]) for name in masked}
            self._mask |= {name: self._ticket.mask.get(self._origins[name], kept) for name, kept in full.items()}
        kept = [self._mask[name] for name in masked]
        density = sum(int(k.sum()) for k in kept) / sum(k.numel() for k in kept) if kept else 1.0
        return LayerTransfer(path, None if reason else origin, density, reason)

    def _misfit(self, ours: Mapping[str, torch.Tensor], theirs: Mapping[str, torch.Tensor], origin: str | None) -> str:
        if origin is None:
            return "the ticket has no layer that corresponds"
        if ours.keys() != theirs.keys():
            return f"{origin!r} of the ticket has {', '.join(theirs)}, not {', '.join(ours)}"
        for key, tensor in ours.items():
            if tensor.shape != theirs[key].shape:
                shapes = f"{tuple(theirs[key].shape)} in the ticket, {tuple(tensor.shape)} here"
                return f"{key} of {origin!r} has shape {shapes}"
        return ""

    def _mask_of(self, name: str, origin: str | None, reason: str) -> torch.Tensor:
        shape, key = tuple(self._weights[name].shape), name.rpartition(".")[2]
        counted = self._ticket.mask.layers.get(f"{origin}.{key}")
        density = self._ticket.density if counted is None else max(counted.kept, 1) / counted.total
        kept = self._otherwise(Misfit(name, shape, density, reason), self._generator)
        if not (isinstance(kept, torch.Tensor) and kept.dtype == torch.bool and kept.shape == shape):
            raise TypeError(f"{name_of(self._otherwise)} must give a bool tensor of shape {shape} for {name!r}")
        return kept

    def _rest(self, layers: set[str]) -> tuple[str, ...]:
        """Tensors of no layer, such as a norm's or `log_std`: those of modules that correspond, or of the same name."""
        names = [name for name in self._weights if name not in self._copies]
        found = []
        for path in modules_of(names):
            ours, theirs = _inside(path, self._weights), _inside(self._pairs.get(path, path), self._ticket.weights)
            if path and (path in layers or self._misfit(ours, theirs, path)):
                continue
            origin = self._pairs.get(path, path)
            fits = [key for key in ours if key in theirs and ours[key].shape == theirs[key].shape]
            self._origins |= {f"{path}.{key}".lstrip("."): f"{origin}.{key}".lstrip(".") for key in fits}
            found += [f"{path}.{key}".lstrip(".") for key in fits]
        return tuple(found)

    def _follow(self) -> None:
        """Target networks: from the ticket's where it has as many of that weight, else from what they are copies of."""
        theirs: dict[str, str] = self._ticket.state.get("copies") or {}
        for name, origin in self._copies.items():
            if origin not in self._origins:
                continue
            ours = [copy for copy, of in self._copies.items() if of == origin]
            same = [copy for copy, of in theirs.items() if of == self._origins[origin]]
            self._origins[name] = same[ours.index(name)] if len(same) == len(ours) else self._origins[origin]

    def _carry(self, origins: Mapping[str, str]) -> None:
        for name, origin in origins.items():
            self._weights[name] = self._ticket.weights[origin].detach().cpu().to(self._weights[name].dtype).clone()

    def _state(self) -> tuple[dict[str, Any], tuple[str, ...]]:
        """What else travels, and its names."""
        loose = anatomy.loose_tensors(self._model)
        given: Mapping[str, torch.Tensor] = self._ticket.state.get("tensors") or {}
        tensors = {name: t for name, t in given.items() if name in loose and t.shape == loose[name].shape}
        normalizer = self._ticket.state.get("normalizer")
        ours = TrainingState.capture(self._model, replay_buffer=False).normalizer
        if normalizer is None or ours is None or _shapes(normalizer) != _shapes(ours):
            normalizer = None
        state = {"tensors": tensors, "optimizers": None, "normalizer": normalizer, "copies": self._copies}
        return state, (*tensors, *(("normalizer",) if normalizer is not None else ()))

    def _provenance(self, layers: tuple[LayerTransfer, ...]) -> dict[str, Any]:
        before = self._ticket.provenance
        told = {
            "of": self._ticket.digest,
            "from": {key: before.get(key) for key in ("algorithm", "environment", "seed")},
            "otherwise": name_of(self._otherwise),
            "layers": {layer.target: layer.source for layer in layers},
        }
        mine = {**provenance(self._model, self._seed), "mask_digest": Mask(self._mask).digest}
        return {**before, **mine, "transferred": told}


def _inside(path: str, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A module's own tensors, by their names in it."""
    split = ((name.rpartition("."), tensor) for name, tensor in tensors.items())
    return {key: tensor for (module, _, key), tensor in split if module == path}


def _shapes(tree: Any) -> Any:
    """Nested statistics as their shapes."""
    if isinstance(tree, Mapping):
        return {key: _shapes(part) for key, part in tree.items()}
    return np.shape(tree)
