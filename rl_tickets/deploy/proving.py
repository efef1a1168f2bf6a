"""Proving that a smaller agent is the same agent, on what it has seen and on thousands of states beside."""

from collections.abc import Sequence

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.exact import Exact, Observations
from rl_tickets.agents.layers import WiringError

TOLERANCE = 1e-5
"""Of outputs up to 1; of larger ones, which single precision holds no better, this part of the largest."""


class EquivalenceError(WiringError):
    """A network that was made smaller, or exported, does not do what the agent does."""


def demand_equivalent(
    old: BaseAlgorithm, new: BaseAlgorithm, heads: Sequence[str], everywhere: Sequence[Observations], seed: int
) -> None:
    """Compares two agents in double precision, single weights of which were rounded to single.

    Args:
        old: the agent.
        new: what must be the same.
        heads: paths of the modules whose outputs are distribution parameters and values, target networks' included.
        everywhere: sets of observations, as the policies see them.
        seed: of the actions that critics are given.

    Raises:
        EquivalenceError: an output differs by more than `TOLERANCE`, or a greedy action is another one.
    """
    ours, theirs = Exact(old), Exact(new)
    for observations in everywhere:
        before, after = (each.hear(heads, observations, seed).outputs for each in (ours, theirs))
        for head in heads:
            said = [
                torch.cat([part.flatten() for part in outputs[head]]).numpy(force=True) for outputs in (before, after)
            ]
            demand_near(f"the outputs of {head!r}", *said)
        actions = ours.act(observations), theirs.act(observations)
        if isinstance(old.action_space, spaces.Box):
            demand_near("greedy actions", *actions)
        elif (other := (actions[0] != actions[1]).reshape(len(actions[0]), -1).any(1).sum()) > 0:
            raise EquivalenceError(
                f"greedy actions would differ in {other} of {len(actions[0])} states; it is not given out"
            )


def demand_near(what: str, old: np.ndarray, new: np.ndarray) -> None:
    """Refuses two arrays that differ by more than `TOLERANCE`."""
    allowed = TOLERANCE * max(1.0, float(np.abs(old).max(initial=0.0)))
    furthest = float(np.abs(old - new).max(initial=0.0))
    if not furthest <= allowed:  # NaN is not near anything.
        raise EquivalenceError(
            f"{what} would differ by up to {furthest:.3g}, where {allowed:.3g} is allowed; it is not given out"
        )
