"""Linear mode connectivity: whether the straight line between two agents crosses a barrier (Frankle et al. 2020, arXiv
1912.05671)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.distributions import action_distributions, divergence
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
            (points,): 0 at both ends.
    """

    alphas: Array
    returns: Array
    divergences: Array

    def __repr__(self) -> str:
        return f"Connectivity(barrier={self.barrier:.4g}, policy_barrier={self.policy_barrier:.4g})"

    @property
    def barrier(self) -> float:
        """In units of the return: see `barrier`."""
        return barrier(self.alphas, self.returns.mean(axis=1))

    @property
    def policy_barrier(self) -> float:
        """In nats: how far the policies on the line are from those at the ends, at most."""
        return float(self.divergences.max())


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
        one: a trained agent with a policy that samples (see `action_distributions`).
        other: another of the same architecture.
        make_env: makes an environment for evaluation, as in `evaluate`.
        alphas: how many places, evenly spread with both ends among them, or the places.
        episodes: at each place; episode i is reset with seed + i, at all of them.
        seed: of the episodes.
        states: observations that both agents meet, half of them each, in which policies are compared.
        align: puts the other's units in another order before: `rt.match_units`; None: as they are.

    Raises:
        ValueError: fewer than three places, agents whose weights do not differ or are of other architectures, weights
            that are not finite, or a policy that does not sample.

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
    policies = [action_distributions(each, seen) for each in line]
    first, last = (np.array([divergence(of, each).mean() for each in policies]) for of in (policies[0], policies[-1]))
    returns = np.stack([episodes.returns for (episodes,) in played])
    return Connectivity(places, returns, (1 - places) * first + places * last)


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
