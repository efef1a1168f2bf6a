"""The whole training state of an SB3 agent at the start of a rollout, in parts, as plain data and arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecNormalize
from torch.optim import Optimizer

from rl_tickets.agents import anatomy
from rl_tickets.tickets import archive
from rl_tickets.tickets.ticket import Ticket

Part = dict[str, Any]
SCHEDULE = ("num_timesteps", "_current_progress_remaining", "exploration_rate", "_episode_num")
"""Attributes that say where in its schedules (learning rate, exploration, clip range) an agent stands."""


@dataclasses.dataclass(frozen=True)
class TrainingState:
    """Parts of a training state; a part that is None stays as it is in the agent it is restored to.

    Environments have no part: training starts every segment from a reset with a seed of its own, see `segments`.
    """

    weights: Part | None = None
    """Networks, target networks and buffers, and loose tensors such as SAC's entropy coefficient."""
    optimizers: Part | None = None
    normalizer: Part | None = None
    """Statistics of VecNormalize."""
    replay_buffer: Part | None = None
    schedule: Part | None = None
    counters: Part | None = None
    """Everything else the algorithm counts: updates, calls, episode statistics."""

    def __repr__(self) -> str:
        parts = [name for name, part in self.tree().items() if part is not None]
        return f"TrainingState(timesteps={self.timesteps}, parts={', '.join(parts) or 'none'})"

    @property
    def timesteps(self) -> int:
        """Environment steps trained before this state, 0 if it has no schedule position."""
        return int(self.schedule["num_timesteps"]) if self.schedule else 0

    @property
    def policy(self) -> dict[str, torch.Tensor]:
        """The policy's `state_dict`."""
        assert self.weights is not None, "this state has no weights"
        policy: dict[str, torch.Tensor] = self.weights["modules"]["policy"]
        return policy

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Loose tensors by name, such as SAC's entropy coefficient; none if this state has no weights."""
        return dict(self.weights["tensors"]) if self.weights is not None else {}

    def with_policy(self, weights: Mapping[str, torch.Tensor]) -> TrainingState:
        """The same with another `state_dict` of the policy, and no moments, which belonged to the weights before."""
        assert self.weights is not None, "this state has no weights"
        modules = {**self.weights["modules"], "policy": dict(weights)}
        return dataclasses.replace(self, weights={**self.weights, "modules": modules}, optimizers=None)

    @classmethod
    def capture(cls, model: BaseAlgorithm, *, replay_buffer: bool = True) -> TrainingState:
        """A deep copy of an agent's state; nothing in it is shared with the agent."""
        normalize = model.get_vec_normalize_env()
        buffer = getattr(model, "replay_buffer", None)
        return cls(
            weights={
                "modules": {path: _copy_all(m.state_dict()) for path, m in anatomy.modules(model).items()},
                "tensors": _copy_all(anatomy.loose_tensors(model)),
            },
            optimizers={path: _copy(o.state_dict()) for path, o in anatomy.optimizers(model).items()},
            normalizer=None if normalize is None else _capture_normalizer(normalize),
            replay_buffer=None if buffer is None or not replay_buffer else _capture_buffer(buffer),
            schedule={name: getattr(model, name) for name in SCHEDULE if hasattr(model, name)},
            counters={name: _copy(value) for name, value in vars(model).items() if _is_counter(model, name, value)},
        )

    def restore(self, model: BaseAlgorithm) -> None:
        """Sets the parts that are present, in place, in an agent of the same architecture.

        Raises:
            ValueError: moments or statistics that do not fit the agent.
        """
        found = anatomy.optimizers(model)
        for path, content in (self.optimizers or {}).items():
            _demand_optimizer(path, content, found)
        if self.weights is not None:
            self._restore_weights(model)
        for path, content in (self.optimizers or {}).items():
            found[path].load_state_dict(_copy(content))
        normalize = model.get_vec_normalize_env()
        if self.normalizer is not None and normalize is not None:
            _restore_normalizer(normalize, self.normalizer)
        if self.replay_buffer is not None:
            _restore_buffer(model.replay_buffer, self.replay_buffer)  # type: ignore[attr-defined]
        for part in (self.counters, self.schedule):
            for name, value in (part or {}).items():
                setattr(model, name, _copy(value))

    def with_settings_of(self, model: BaseAlgorithm) -> TrainingState:
        """The same moments, under the settings (learning rate, betas, weight decay, ...) of an agent's own optimizers.

        Raises:
            ValueError: moments of another kind of optimizer.
        """
        found = anatomy.optimizers(model)
        for path, content in (self.optimizers or {}).items():
            _demand_optimizer(path, content, found)
        optimizers = {
            path: {**content, "param_groups": _copy(found[path].state_dict()["param_groups"])}
            for path, content in (self.optimizers or {}).items()
        }
        return dataclasses.replace(self, optimizers=optimizers or None)

    def _restore_weights(self, model: BaseAlgorithm) -> None:
        assert self.weights is not None
        found = anatomy.modules(model)
        for path, content in self.weights["modules"].items():
            found[path].load_state_dict(content)
        loose = anatomy.loose_tensors(model)
        with torch.no_grad():
            for name, tensor in self.weights["tensors"].items():
                if name not in loose:
                    raise ValueError(f"there is a value for {name!r}, a tensor this {type(model).__name__} lacks")
                loose[name].copy_(tensor)

    def only(self, *parts: str) -> TrainingState:
        """The same state with no other parts than the named ones."""
        return TrainingState(**{part: getattr(self, part) for part in parts})

    def tree(self) -> dict[str, Part | None]:
        """The parts by name, as `archive` writes them; `TrainingState(**tree)` is the state again."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def save(self, path: Path) -> None:
        """Writes the state to a safetensors file, whole or not at all; no pickle is involved."""
        archive.write(path, {"kind": "training state", **self.tree()})

    @classmethod
    def load(cls, path: Path) -> TrainingState:
        """Reads what `save` wrote; raises ValueError if the file is truncated or altered."""
        tree = archive.read(path)
        return cls(**{field.name: tree[field.name] for field in dataclasses.fields(cls)})

    @classmethod
    def from_ticket(cls, ticket: Ticket) -> TrainingState:
        """The state a ticket starts from."""
        return cls(
            weights={"modules": {"policy": dict(ticket.weights)}, "tensors": dict(ticket.state.get("tensors") or {})},
            optimizers=ticket.state.get("optimizers"),
            normalizer=ticket.state.get("normalizer"),
        )


def _demand_optimizer(path: str, content: Part, found: dict[str, Optimizer]) -> None:
    if path not in found:
        raise ValueError(f"there are moments for {path!r}, an optimizer this agent lacks; drop them, or add it")
    theirs, ours = content["param_groups"][0].keys(), found[path].state_dict()["param_groups"][0].keys()
    # Between versions of torch a kind of optimizer gains settings; another kind also lacks some.
    if not (theirs <= ours or ours <= theirs):
        kind = type(found[path]).__name__
        raise ValueError(
            f"the moments for {path!r} are of another kind of optimizer than this agent's {kind}; "
            "rt.transfer(ticket, make_model) plants a ticket without its moments"
        )


def _is_counter(model: BaseAlgorithm, name: str, value: object) -> bool:
    excluded = name in SCHEDULE or name in model._excluded_save_params()
    return not excluded and archive.is_plain(value) and not anatomy.holds_tensor(name, value)


def _copy(value: Any) -> Any:
    """A deep copy with tensors on the CPU."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copy(item) for item in value)
    if hasattr(value, "maxlen"):
        return type(value)((_copy(item) for item in value), maxlen=value.maxlen)
    return value


def _copy_all(tensors: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}


def _capture_normalizer(normalize: VecNormalize) -> Part:
    rms = normalize.obs_rms if normalize.norm_obs else {}
    many = rms if isinstance(rms, dict) else {"": rms}
    return {
        "observations": {key: _moments(rms) for key, rms in many.items()},
        "returns": _moments(normalize.ret_rms),
    }


def _moments(rms: RunningMeanStd) -> Part:
    return {"mean": np.array(rms.mean), "var": np.array(rms.var), "count": float(rms.count)}


def _restore_normalizer(normalize: VecNormalize, part: Part) -> None:
    if part["observations"] and not normalize.norm_obs:
        raise ValueError("the state has statistics of observations, but this VecNormalize has norm_obs=False")
    ours = {*normalize.obs_rms} if isinstance(getattr(normalize, "obs_rms", None), dict) else {""}
    if part["observations"] and {*part["observations"]} != ours:
        theirs = sorted(part["observations"])
        raise ValueError(
            f"the state has statistics of {theirs}, and this VecNormalize of {sorted(ours)}; give both the same "
            "norm_obs_keys"
        )
    for key, moments in part["observations"].items():
        rms = normalize.obs_rms[key] if key else normalize.obs_rms
        assert isinstance(rms, RunningMeanStd)
        _set_moments(rms, moments)
    _set_moments(normalize.ret_rms, part["returns"])


def _set_moments(rms: RunningMeanStd, moments: Part) -> None:
    if np.shape(rms.mean) != np.shape(moments["mean"]):
        raise ValueError(
            f"VecNormalize statistics of shape {np.shape(moments['mean'])} do not fit an environment "
            f"whose observations have shape {np.shape(rms.mean)}"
        )
    rms.mean, rms.var, rms.count = moments["mean"].copy(), moments["var"].copy(), moments["count"]


def _capture_buffer(buffer: Any) -> Part:
    """The filled rows of every array of a replay buffer, and its plain attributes."""
    # One row more than filled: a memory-optimised buffer keeps the newest next observation there.
    filled = buffer.buffer_size if buffer.full else min(buffer.pos + 1, buffer.buffer_size)
    return {
        name: _rows(value, buffer.buffer_size, filled)
        for name, value in vars(buffer).items()
        if archive.is_plain(value) and value is not None
    }


def _rows(value: Any, size: int, filled: int) -> Any:
    if type(value) is dict:
        return {key: _rows(item, size, filled) for key, item in value.items()}
    if isinstance(value, np.ndarray) and value.ndim and len(value) == size:
        return value[:filled].copy()
    return _copy(value)


def _restore_buffer(buffer: Any, part: Part) -> None:
    for name, value in part.items():
        setattr(buffer, name, _fill(getattr(buffer, name, None), value))


def _fill(ours: Any, value: Any) -> Any:
    """Writes rows into our array in place; anything else is replaced."""
    if type(value) is dict:
        return {key: _fill(ours[key], item) for key, item in value.items()}
    if isinstance(ours, np.ndarray) and isinstance(value, np.ndarray) and ours.ndim and len(ours) >= len(value):
        ours[: len(value)] = value
        return ours
    return _copy(value)
