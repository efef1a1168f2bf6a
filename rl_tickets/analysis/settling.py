"""When a mask settles, after the fact: where early-bird would have stopped a whole run, and whether it should have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = Sequence[int | float]


@dataclass(frozen=True)
class Settling:
    """How far apart the masks are that were drawn along one run, as fractions of chance; `Settling.of` makes it.

    Args:
        steps: at which masks were drawn, ascending; the last is the end of the run.
        apart: distances over chance, shape (masks, masks), symmetric, 0 on the diagonal.
    """

    steps: tuple[int, ...]
    apart: NDArray[np.float64]

    @classmethod
    def of(cls, columns: Mapping[str, Numbers], density: float, network: str = "whole") -> Settling:
        """Of the rows that `MaskDistances` left.

        Args:
            columns: name -> values, as in `mask_distances.csv`.
            density: of which masks.
            network: "whole", "actor" or "critic".

        Raises:
            ValueError: no masks of this density.
        """
        at = {name: np.asarray(columns[name], dtype=np.float64) for name in ("density", "step", "other_step", network)}
        chosen = np.isclose(at["density"], density)
        if not chosen.any():
            choices = ", ".join(f"{each:g}" for each in sorted({*at["density"].tolist()}, reverse=True))
            raise ValueError(f"no masks were drawn at density {density:g}, only at {choices or 'none'}")
        new, old, distance = at["step"][chosen], at["other_step"][chosen], at[network][chosen]
        steps = np.unique([new, old])
        apart = np.zeros((len(steps), len(steps)))
        one, other = np.searchsorted(steps, new), np.searchsorted(steps, old)
        apart[one, other] = apart[other, one] = distance
        return cls(tuple(int(step) for step in steps), apart)

    def stop(self, threshold: float, *, window: int = 5, after: int = 0) -> int | None:
        """The step at which `EarlyBird` with these settings would have stopped the run; None: it would not have.

        The mask of the run's end is not among those that it would have seen.

        Example:
            >>> apart = np.array([[0.0, 0.5, 0.6, 0.6], [0.5, 0, 0.05, 0.1], [0.6, 0.05, 0, 0.04], [0.6, 0.1, 0.04, 0]])
            >>> Settling((0, 10, 20, 30), apart).stop(0.1, window=1)
            20
        """
        seen = [place for place, step in enumerate(self.steps[:-1]) if step >= after]
        for index in range(window, len(seen)):
            if self.apart[seen[index], seen[index - window : index]].max() <= threshold:
                return self.steps[seen[index]]
        return None

    def off(self, step: int) -> float:
        """Distance of the mask that was drawn at a step from the final one, over chance."""
        return float(self.apart[self.steps.index(step), -1])

    def false_stop(self, threshold: float, *, window: int = 5, after: int = 0) -> bool | None:
        """Whether the mask it would have stopped with is farther from the final one than it takes as settled.

        None where it would not have stopped.
        """
        step = self.stop(threshold, window=window, after=after)
        return None if step is None else self.off(step) > threshold
