"""Linear mode connectivity: whether the straight line between two agents crosses a barrier (Frankle et al. 2020, arXiv
1912.05671)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.distributions import NoDistributionError, action_distributions, as_seen, divergence
from rl_tickets.agents.replicas import replica
from rl_tickets.agents.state import TrainingState
from rl_tickets.analysis.lines import between, grid, same
from rl_tickets.evaluation.returns import MakeEnv, evaluate, play_together
from rl_tickets.evaluation.visiting import visited

Array = npt.NDArray[np.float64]
Align = Callable[[BaseAlgorithm, Any, Any], dict[str, torch.Tensor]]
"""`(model, one, other) -> other's weights, so that they compute the same`, as `match_units`."""
POINTS = 30


def barrier(alphas: Array, values: Array) -> float:
    """How far values on a line fall below the straight line between those at its ends, at most; 0 if nowhere.

    With equal ends it is Frankle's; where they differ, the worse end alone is no barrier (Entezari et al. 2022, arXiv
    2110.06296).

    Args:
        alphas: from 0 to 1, shape (points,).
        values: shape (points,).

    Example:
        >>> barrier(np.array([0.0, 0.5, 1.0]), np.array([10.0, 3.0, 20.0]))
        12.0
    """
    return float(np.max((1 - alphas) * values[0] + alphas * values[-1] - values))


@dataclass(frozen=True, eq=False)
class Connectivity:
    """What was seen on the line between two agents.

    Args:
        alphas: places, from 0 (the first) to 1 (the other), shape (points,).
        returns: of the same episodes at each place, shape (points, episodes).
        divergences: mean over states of (1 - alpha) KL(first || here) + alpha KL(other || here), in nats, shape
            (points,): 0 at both ends. NaN for policies that draw from no known distribution, as DQN's and TD3's.
        disagreements: the same of greedy actions, shape (points,): the share of states in which they differ; of
            continuous actions how far they are apart, as a share of their bounds, mean over dimensions.
    """

    alphas: Array
    returns: Array
    divergences: Array
    disagreements: Array

    def __repr__(self) -> str:
        return f"Connectivity(barrier={self.barrier:.4g}, policy_barrier={self.policy_barrier:.4g})"

    @property
    def barrier(self) -> float:
        """In units of the return: see `barrier`."""
        return barrier(self.alphas, self.returns.mean(axis=1))

    @property
    def policy_barrier(self) -> float:
        """In nats: how far the policies on the line are from those at the ends, at most; NaN where nobody knows."""
        return float(self.divergences.max())

    @property
    def action_barrier(self) -> float:
        """In [0, 1] for bounded actions: how much greedy actions on the line differ from those at the ends, at most."""
        return float(self.disagreements.max())


def connectivity(
    one: BaseAlgorithm,
    other: BaseAlgorithm,
    make_env: MakeEnv,
    *,
    alphas: int | Sequence[float] = POINTS,
    episodes: int = 20,
    seed: int = 1_000,
    states: int = 1_000,
    align: Align | None = None,
) -> Connectivity:
    """Lets the policies on the straight line between two agents play the same episodes.

    Statistics of VecNormalize are pooled, see `between`. Both agents are left as they were.

    Args:
        one: a trained agent.
        other: another of the same architecture.
        make_env: makes an environment for evaluation, as in `evaluate`.
        alphas: how many places, evenly spread with both ends among them, or the places.
        episodes: at each place; episode i is reset with seed + i, at all of them.
        seed: of the episodes.
        states: observations that both agents meet, half of them each, in which policies are compared.
        align: puts the other's units in another order before: `rt.match_units`; None: as they are.

    Raises:
        ValueError: fewer than three places, agents whose weights do not differ or are of other architectures, or
            weights that are not finite.

    Example:
        line = rt.connectivity(make_model(0).learn(2_000), make_model(1).learn(2_000), make_env, alphas=3, episodes=2)
        print(line.barrier, line.policy_barrier)
    """
    places = grid(alphas)
    ours, theirs = (TrainingState.capture(m, replay_buffer=False).only("weights", "normalizer") for m in (one, other))
    _demand_line(ours, theirs)
    seen = np.concatenate([visited(model, make_env, steps=max(1, states // 2), seed=seed) for model in (one, other)])
    end = theirs if align is None else theirs.with_policy(align(one, ours.policy, theirs.policy))
    line = [replica(one, between(ours, end, float(alpha))) for alpha in places]
    played = play_together([(each, (True,)) for each in line], make_env, episodes=episodes, seed=seed)
    returns = np.stack([episodes.returns for (episodes,) in played])
    return Connectivity(places, returns, _divergences(line, places, seen), _disagreements(line, places, seen))


def _divergences(line: Sequence[BaseAlgorithm], places: Array, seen: Any) -> Array:
    """See `Connectivity`."""
    try:
        policies = [action_distributions(each, seen) for each in line]
    except NoDistributionError:
        return np.full(len(places), np.nan)
    return _from_ends(places, policies, lambda one, other: float(divergence(one, other).mean()))


def _disagreements(line: Sequence[BaseAlgorithm], places: Array, seen: Any) -> Array:
    """See `Connectivity`."""
    space = line[0].action_space
    actions = [each.predict(as_seen(each, seen), deterministic=True)[0].reshape(len(seen), -1) for each in line]
    if not isinstance(space, spaces.Box):
        return _from_ends(places, actions, lambda one, other: float((one != other).any(axis=1).mean()))
    width = (space.high.astype(float) - space.low).ravel()
    width = np.where(np.isfinite(width), width, 1.0)
    return _from_ends(places, actions, lambda one, other: float((np.abs(one - other) / width).mean()))


def _from_ends(places: Array, found: Sequence[Any], apart: Callable[[Any, Any], float]) -> Array:
    """How far each is from the first and from the last, weighed by how near it is to them."""
    first, last = (np.array([apart(end, each) for each in found]) for end in (found[0], found[-1]))
    # At an end nothing counts of how far the other is, be it infinitely.
    return _weighed(1 - places, first) + _weighed(places, last)


def _weighed(weights: Array, values: Array) -> Array:
    weighed: Array = np.multiply(weights, values, out=np.zeros_like(weights), where=weights > 0)
    return weighed


def noise_floor(
    model: BaseAlgorithm,
    make_env: MakeEnv,
    *,
    alphas: int | Sequence[float] = POINTS,
    episodes: int = 20,
    seed: int = 1_000_000,
) -> float:
    """The barrier that would be seen on a line on which nothing changes: one policy, other episodes at each place.

    The policies of a line play the same episodes at all places, so that their noise is the smaller of the two: what
    exceeds the floor is no noise, while a barrier below it may still be one. More episodes lower the floor.

    Args:
        model: a trained agent.
        make_env: as in `evaluate`.
        alphas: as in `connectivity`.
        episodes: at each place.
        seed: of the first place's episodes; the next ones' follow.

    Returns:
        In units of the return.
    """
    places = grid(alphas)
    played = evaluate(model, make_env, episodes=episodes * len(places), seed=seed)
    return barrier(places, played.reshape(len(places), episodes).mean(axis=1))


def _demand_line(one: TrainingState, other: TrainingState) -> None:
    between(one, other, 0.5)
    if same(one, other):
        raise ValueError(
            "the two agents have the same weights, so there is no line between them; train copies with different draws"
        )
    for state in (one, other):
        if lost := [name for name, t in state.policy.items() if t.is_floating_point() and not t.isfinite().all()]:
            raise ValueError(f"{lost[0]!r} is not finite, so there is no line; leave agents that diverged out")
