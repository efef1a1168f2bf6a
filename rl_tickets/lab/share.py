"""A share of an experiment: what one of many jobs does that work in one folder, as the jobs of a SLURM array do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")
HINT = "a share is a number from 1 to how many there are, like 3/16"


@dataclass(frozen=True)
class Share:
    """The k-th of n parts; every group of seeds that train together belongs to one part, with all its searches.

    Args:
        number: from 1 on.
        shares: how many there are.

    Raises:
        ValueError: there is no such part.

    Example:
        >>> Share.parse("2/3").of("abcdef")
        ['b', 'e']
    """

    number: int
    shares: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.shares:
            raise ValueError(f"{HINT}, got {self.number}/{self.shares}")

    @classmethod
    def parse(cls, text: str) -> Share:
        """Of text like 3/16."""
        if (found := re.fullmatch(r"(\d+)/(\d+)", text.strip())) is None:
            raise ValueError(f"{HINT}, got {text!r}")
        return cls(int(found[1]), int(found[2]))

    @property
    def name(self) -> str:
        """For a file."""
        return f"{self.number}-of-{self.shares}"

    def of(self, items: Sequence[Item]) -> list[Item]:
        """This part of some items."""
        return list(items[self.number - 1 :: self.shares])
