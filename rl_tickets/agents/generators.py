"""The global generators that SB3 draws from, and how to leave them as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch


def derived_seed(seed: int, number: int) -> int:
    """A seed for draws that are told from those of the seed itself, and from those of other numbers."""
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) >> 1


@dataclass(frozen=True)
class Draws:
    """States of the three generators that SB3 draws from: Python's, NumPy's and torch's."""

    python: Any
    numpy: Any
    torch: torch.Tensor

    @classmethod
    def now(cls) -> Draws:
        """Where the global generators are."""
        return cls(random.getstate(), np.random.get_state(), torch.get_rng_state())  # noqa: NPY002

    def begin(self) -> None:
        """Lets the global generators go on from here."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)  # noqa: NPY002
        torch.set_rng_state(self.torch)


@contextmanager
def draws_kept() -> Iterator[None]:
    """Whatever is drawn meanwhile, afterwards the global generators are where they were.

    Example:
        >>> before = torch.get_rng_state()
        >>> with draws_kept():
        ...     _ = torch.rand(3)
        >>> torch.equal(torch.get_rng_state(), before)
        True
    """
    before = Draws.now()
    try:
        yield
    finally:
        before.begin()
