"""What sampling policies draw in an evaluation: each episode has draws of its own, whatever is played beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from rl_tickets.training.cohorts.on_policy.sampling import exponential, normal, uniform

BLOCK = 64
"""Environment steps for which noise is drawn at once."""
ENDED = np.iinfo(np.int64).max

Fill = Callable[[torch.Tensor, torch.Generator], object]
"""Fills a tensor with noise in place."""


class EpisodeDraws:
    """Noise for the episodes that are being played, one in each row of a batch.

    It is a function of the evaluation's seed, the episode's number and the step in it alone.

    Args:
        seed: of the evaluation.
        rows: how many episodes are played side by side.

    Example:
        >>> one, many = EpisodeDraws(0, rows=1), EpisodeDraws(0, rows=3)
        >>> one.begin(0, episode=7), many.begin(2, episode=7)
        (None, None)
        >>> normal = lambda noise, generator: noise.normal_(generator=generator)
        >>> torch.equal(one.draw(0, (2,), normal)[0], many.draw(0, (2,), normal)[2])
        True
    """

    def __init__(self, seed: int, rows: int) -> None:
        self._seed = seed
        self._episodes = np.zeros(rows, dtype=np.int64)
        self._steps = np.zeros(rows, dtype=np.int64)
        self._blocks: dict[int, _Block] = {}

    def __len__(self) -> int:
        return len(self._steps)

    def begin(self, row: int, episode: int) -> None:
        """From now on this row plays this episode."""
        self._episodes[row], self._steps[row] = episode, 0
        for block in self._blocks.values():
            block.until[row] = 0

    def end(self, row: int) -> None:
        """This row plays nothing any more."""
        for block in self._blocks.values():
            block.until[row] = ENDED

    def advance(self) -> None:
        """Every episode goes on by one environment step."""
        self._steps += 1

    def draw(self, place: int, shape: Sequence[int], fill: Fill) -> torch.Tensor:
        """The noise of all rows at their steps, of shape (rows, *shape).

        Args:
            place: which of several draws of one step; each has a stream of its own.
            shape: of one row's noise.
            fill: what kind of noise.
        """
        if place not in self._blocks:
            self._blocks[place] = _Block(len(self), tuple(shape))
        block = self._blocks[place]
        for row in np.flatnonzero(block.until <= self._steps):
            if block.until[row] == 0:
                block.generators[row].manual_seed(_mixed(self._seed, int(self._episodes[row]), place))
            while block.until[row] <= self._steps[row]:
                fill(block.rows[row], block.generators[row])
                block.until[row] += BLOCK
        return block.values[block.every, torch.from_numpy(self._steps % BLOCK)]


class _Block:
    """What was drawn ahead, of shape (rows, BLOCK, ...), and until which step."""

    def __init__(self, rows: int, shape: tuple[int, ...]) -> None:
        self.values = torch.ones(rows, BLOCK, *shape)
        self.rows = list(self.values.unbind())
        self.until = np.zeros(rows, dtype=np.int64)
        self.generators = [torch.Generator() for _ in range(rows)]
        self.every = torch.arange(rows)


def _mixed(*numbers: int) -> int:
    """One seed of several, such that neighbours have nothing in common."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


class DrawnAhead(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Meanwhile torch's draws for a batch come from `EpisodeDraws`, row by row; torch's own generator stays.

    These are the draws of SB3's action distributions. Others, and those of other shapes, are left to torch.
    Weights that are not numbers draw actions too, where torch would refuse.

    Args:
        draws: of the episodes in the batch.
    """

    def __init__(self, draws: EpisodeDraws) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._draws = draws
        self._place = 0
        self.drew = False
        """Whether anything was drawn."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **(kwargs or {}))
        self.drew = True
        aten = torch.ops.aten
        match func, args:
            case aten.multinomial.default, (probs, 1, *_) if self._batched(probs.shape):
                return (probs / self._noise(probs, exponential)).argmax(dim=-1, keepdim=True)
            case aten.normal_.default, (noise,) if self._batched(noise.shape):
                return noise.copy_(self._noise(noise, normal))
            case aten.bernoulli.default, (probs, *_) if self._batched(probs.shape):
                return (self._noise(probs, uniform) < probs).to(probs.dtype)
        return func(*args, **(kwargs or {}))

    def _batched(self, shape: torch.Size) -> bool:
        return len(shape) > 1 and shape[0] == len(self._draws)

    def _noise(self, like: torch.Tensor, fill: Fill) -> torch.Tensor:
        place, self._place = self._place, self._place + 1
        return self._draws.draw(place, like.shape[1:], fill).to(like)
