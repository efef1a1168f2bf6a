"""A cast: trained agents of one shape whose policies act stacked, in one forward pass for all their episodes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import numpy.typing as npt
import torch

from rl_tickets.evaluation.acting import numbers
from rl_tickets.evaluation.draws import DrawnAhead, EpisodeDraws
from rl_tickets.training.cohorts.family import CannotJoin, policy_can_be
from rl_tickets.training.cohorts.imagined import Imagined
from rl_tickets.training.cohorts.on_policy.acting import clipped
from rl_tickets.training.cohorts.on_policy.playing import Playing, signature_of

SLOTS, ROWS = 8, 32
"""Policies in one forward pass, and episodes of each; fixed, since arithmetic may differ with them in the last bit."""
TOLERANCE = 1e-5
"""Of actions that are no classes."""
CLOSE_CALLS = 2
"""Rows in which classes may differ, for want of anything but rounding between two."""

_SHOWN: dict[str, Playing | str] = {}
"""By digest of a shape's signature: how it acts stacked, or why it cannot; once for each shape in a process."""


class Cast:
    """Up to SLOTS agents; rows are counted through all slots, ROWS for each.

    What a row does depends on its agent, on what it sees and on its episode, never on who else is there.

    Args:
        playing: how agents of this shape act stacked.
        models: the agents.
        draws: of sampled actions, for all rows of all agents; None: they play greedily.
    """

    def __init__(self, playing: Playing, models: Sequence[Any], draws: EpisodeDraws | None) -> None:
        self._playing, self._space, self._draws = playing, models[0].action_space, draws
        self._weights, self._observations = playing.weights(models), playing.observations()
        self._noise = [] if draws is None else playing.noise()
        self.seen: npt.NDArray[np.float32] = self._observations.flatten(0, 1).numpy()
        """What every row sees, normalised; to be filled."""

    def begin(self, row: int, episode: int) -> None:
        """From now on a row plays this episode."""
        if self._draws is not None:
            self._draws.begin(row, episode)

    def end(self, row: int) -> None:
        """A row has nothing more to play."""
        if self._draws is not None:
            self._draws.end(row)

    def act(self) -> npt.NDArray[Any]:
        """Actions of all rows, as `predict` gives them."""
        if self._draws is not None:
            sampler = self._playing.sampler
            for place, (noise, shape) in enumerate(zip(self._noise, sampler.shapes, strict=True)):
                noise.flatten(0, 1)[: len(self._draws)] = self._draws.draw(place, shape, sampler.draw)
            self._draws.advance()
        actions = self._playing.act(self._weights, self._observations, self._noise)
        return numbers(clipped(actions.flatten(0, 1).numpy(), self._space))


def playing_of(model: Any, env: object) -> Playing:
    """How agents of this one's shape act stacked, which is shown on random observations, against its own `predict`.

    Raises:
        CannotJoin: they cannot, or not in such an environment; the text says why.
    """
    signature = signature_of(model)
    if not isinstance(env, gym.Env) or env.observation_space.shape != model.observation_space.shape:
        raise CannotJoin("its environments are vectorised, or show images channels last")
    key = hashlib.sha256(signature.encode()).hexdigest()
    if key not in _SHOWN:
        finite = all(bool(torch.isfinite(p).all()) for p in model.policy.parameters())
        try:
            playing = Playing(model, SLOTS, ROWS)
            if not finite:
                return playing  # One that diverged shows nothing of the others.
            with policy_can_be("shown random observations"):
                _demand_alike(playing, model)
            if signature_of(model) != signature:
                raise CannotJoin("its policy changes when it acts")
            _SHOWN[key] = playing
        except CannotJoin as reason:
            _SHOWN[key] = str(reason)
    if isinstance(found := _SHOWN[key], str):
        raise CannotJoin(found)
    return found


def _demand_alike(playing: Playing, model: Any) -> None:
    """Raises CannotJoin where an agent acts otherwise than by its `predict`."""
    seen: Any = Imagined(ROWS, model.observation_space, model.action_space, seed=0).reset()
    for deterministic in (True, False):
        draws, same = EpisodeDraws(0, ROWS), EpisodeDraws(0, ROWS)
        cast = Cast(playing, [model], None if deterministic else draws)
        for row in range(ROWS):
            cast.begin(row, row)
            same.begin(row, row)
        cast.seen[:ROWS] = seen
        ours = cast.act()[:ROWS]
        with DrawnAhead(same):
            theirs = model.predict(seen, deterministic=deterministic)[0]
        apart = ~np.isclose(ours, theirs, rtol=TOLERANCE, atol=TOLERANCE).reshape(ROWS, -1).all(axis=1)
        if apart.sum() > (CLOSE_CALLS if np.issubdtype(theirs.dtype, np.integer) else 0):
            raise CannotJoin("its stacked policy acts otherwise than its predict")
