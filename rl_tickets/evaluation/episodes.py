"""Episodes of an evaluation: what they returned, how many are played side by side, and what they must not show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

PARALLEL = 16
"""Environments of one agent stepped side by side; fixed, since batched arithmetic may differ in the last bit."""


class Episodes(NamedTuple):
    """Returns (undiscounted, unnormalised) and lengths in environment steps; each of shape (episodes,)."""

    returns: npt.NDArray[np.float64]
    lengths: npt.NDArray[np.int64]


def demand_numbers(observations: Any, rows: Mapping[int, str]) -> None:
    """Raises ValueError for NaN, with which any agent acts as one that diverged, and earns what that earns.

    Args:
        observations: a batch.
        rows: what its rows are called; those that nobody acts on are left out.
    """
    parts = observations if isinstance(observations, dict) else {"": observations}
    for key, part in parts.items():
        if not (np.issubdtype(part.dtype, np.floating) and np.isnan(part).any()):
            continue
        for row in np.flatnonzero(np.isnan(part).reshape(len(part), -1).any(axis=1)):
            if int(row) in rows:
                of = f" of {key!r}" if key else ""
                raise ValueError(
                    f"{rows[int(row)]} of the evaluation gave an observation{of} that is not a number (NaN); check the "
                    "environment's observations"
                )


def demand_returns(episodes: Episodes) -> Episodes:
    """The same, if all returned a number; raises ValueError otherwise."""
    if not np.isfinite(episodes.returns).all():
        episode = int(np.flatnonzero(~np.isfinite(episodes.returns))[0])
        raise ValueError(
            f"episode {episode} of the evaluation returned {episodes.returns[episode]}; check the environment's rewards"
        )
    return episodes
