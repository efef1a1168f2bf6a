"""Rehearsing: whether a cohort trains agents of a new shape as SB3 does is shown on understudies, both ways."""

from __future__ import annotations

import hashlib
import math
import warnings
from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.utils import set_random_seed

from rl_tickets.agents import anatomy
from rl_tickets.agents.generators import Draws, draws_kept
from rl_tickets.training.cohorts.cohort import Cohort
from rl_tickets.training.cohorts.family import CannotJoin, told
from rl_tickets.training.cohorts.fingerprint import attributes, fingerprint
from rl_tickets.training.cohorts.joining import family_of, shape_of
from rl_tickets.training.cohorts.tracing import uncompiled
from rl_tickets.training.cohorts.understudy import precision
from rl_tickets.training.stints import Stint

TOLERANCE = 1e-5
"""Of weights, moments, buffers and logged values."""
SHARE = 1e-4
"""Of the farthest that a weight moved; a tiny learning rate hides nothing in double precision."""
SEED = 0
_SHOWN: dict[str, str | None] = {}
"""By digest of a shape's signature: what differed, None if nothing did. Once for each shape in a process is enough."""
_UNLIKE = {"policy", "env", "_logger", "rollout_buffer", "replay_buffer", "ep_info_buffer", "ep_success_buffer"}
"""Attributes of an agent that are compared otherwise, or tell the time."""


def demand_alike(model: BaseAlgorithm) -> None:
    """Rehearses a few rollouts and their updates, where agents of this shape did not yet rehearse in this process.

    Neither the agent nor its environment or its random numbers are touched.

    Args:
        model: one that can be a member as far as `shape_of` knows.

    Raises:
        CannotJoin: a cohort would train it otherwise than SB3 does; the text says what differs.
    """
    if not all(bool(torch.isfinite(p).all()) for p in model.policy.parameters()):
        return  # One that diverged shows nothing, of itself or of the others.
    signature = shape_of(model, ()).signature
    key = hashlib.sha256(signature.encode()).hexdigest()
    if key not in _SHOWN:
        _SHOWN[key] = _rehearse(model)
    if (reason := _SHOWN[key]) is not None:
        raise CannotJoin(reason)


def _rehearse(model: BaseAlgorithm) -> str | None:
    before = fingerprint(model.policy)
    comparable = before == fingerprint(model.policy)
    try:
        with draws_kept(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            difference = _difference(model)
    except CannotJoin as reason:
        return str(reason)
    except Exception as error:  # Whatever a user's own objects do when they are copied and looked at.
        return f"it cannot be rehearsed ({told(error)})"
    if difference is None and comparable and fingerprint(model.policy) != before:
        return "a copy of its policy changes what the policy computes with: the two share something"
    return difference


def _difference(model: BaseAlgorithm) -> str | None:
    """In double precision, where rounding hides nothing; in single where the policy insists on it."""
    try:
        with precision(torch.float64):
            return _compared(model, SHARE)
    except Exception:  # Whatever a network does with numbers of another precision.
        return _compared(model, math.inf)


def _compared(model: BaseAlgorithm, share: float) -> str | None:
    """What differs, if anything, by more than `TOLERANCE` and `share` of the farthest that a weight moved."""
    family = family_of(model)
    (start, steps), (theirs, _), (ours, _) = (family.understudy(model, SEED) for _ in range(3))
    set_random_seed(SEED)
    draws = Draws.now()
    try:
        theirs.learn(steps, log_interval=None)
    except Exception as error:  # Whatever a user's own network does with random observations.
        raise CannotJoin(f"SB3 cannot train it on random observations ({told(error)})") from error
    draws.begin()
    with uncompiled():
        cohort = Cohort(ours, shape_of(ours, ()), slots=1)
        cohort.train([Stint(ours, steps, draws)])
    moved = max(_apart(_weights(theirs), _weights(start)).values())
    return next(_differences(ours, theirs, min(TOLERANCE, share * moved)), None)


def _differences(ours: Any, theirs: Any, tolerance: float) -> Iterator[str]:
    """One sentence for each, which goes on after "since "."""
    mine, sb3s = (attributes(each.policy, _holders(each)) for each in (ours, theirs))
    unlike = {*_UNLIKE, "start_time", *anatomy.loose_tensors(theirs)}
    for name in sorted({*mine, *sb3s}):
        holder, _, attribute = name.rpartition(".")
        if mine.get(name) != sb3s.get(name) and not (holder == "agent" and attribute in unlike):
            yield f"training changes the attribute {name!r}, which a cohort would not"
    mine_, sb3s_ = (dict(each.policy.named_buffers()) for each in (ours, theirs))
    for name, apart in _apart(mine_, sb3s_).items():
        if apart > tolerance:
            yield f"training changes its policy's buffer {name!r}, which a cohort would not"
    for what in ("weights", "moments"):
        mine_, sb3s_ = (_weights(each) if what == "weights" else _moments(each) for each in (ours, theirs))
        for name, apart in _apart(mine_, sb3s_).items():
            if apart > tolerance:
                yield f"its update gives {what} of {name} that differ by {apart:.1g} from SB3's"
    mine_, sb3s_ = (_transitions(each) for each in (ours, theirs))
    for name, apart in _apart(mine_, sb3s_).items():
        if apart > TOLERANCE:
            yield f"its replay buffer gets {name} that differ by {apart:.1g} from SB3's"
    for key, value in theirs.logger.name_to_value.items():
        logged = ours.logger.name_to_value.get(key)
        if not key.startswith("time/") and not _alike(logged, value):
            yield f"a cohort would log {logged} as {key} where SB3 logs {value}"


def _holders(model: Any) -> dict[str, object]:
    modules = {f"policy.{name}" if name else "policy": module for name, module in model.policy.named_modules()}
    return {**modules, "agent": model}


def _weights(model: Any) -> dict[str, torch.Tensor]:
    return {**dict(model.policy.named_parameters()), **anatomy.loose_tensors(model)}


def _moments(model: Any) -> dict[str, torch.Tensor]:
    names = {id(tensor): name for name, tensor in _weights(model).items()}
    return {
        f"{names[id(tensor)]} ({key})": torch.as_tensor(value)
        for optimizer in anatomy.optimizers(model).values()
        for tensor, state in optimizer.state.items()
        for key, value in state.items()
    }


def _transitions(model: Any) -> dict[str, torch.Tensor]:
    """What an off-policy agent has collected."""
    buffer = getattr(model, "replay_buffer", None)
    held = {} if buffer is None else vars(buffer)
    return {name: torch.as_tensor(value) for name, value in held.items() if isinstance(value, np.ndarray)}


def _apart(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> dict[str, float]:
    """By name, the largest difference; infinite where only one side has it, or one is no number where the other is."""
    found = {}
    for name in dict.fromkeys(chain(theirs, ours)):
        if name not in ours or name not in theirs or ours[name].shape != theirs[name].shape:
            found[name] = math.inf
            continue
        one, other = ours[name].detach().double(), theirs[name].detach().double()
        both = torch.isnan(one) & torch.isnan(other)
        apart = torch.where(both | (one == other), 0.0, (one - other).abs()).nan_to_num(nan=math.inf)
        found[name] = float(apart.max()) if apart.numel() else 0.0
    return found


def _alike(ours: Any, theirs: Any) -> bool:
    if ours is None or not isinstance(theirs, int | float):
        return bool(ours is not None)
    return math.isclose(ours, theirs, rel_tol=1e-4, abs_tol=TOLERANCE) or (math.isnan(ours) and math.isnan(theirs))
