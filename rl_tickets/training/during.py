"""What happens inside a training: observers that look on, and actors that change something, such as the mask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from stable_baselines3.common.callbacks import BaseCallback

from rl_tickets.tickets.mask import Prunable

Row = tuple[int | float, ...]


class Observer(BaseCallback):
    """An SB3 callback at work in one training, whose progress survives a kill and whose rows are kept.

    An actor is one that acts: through `rt.hold_of(model).change(mask)`, or on the agent itself. It must act on the
    start of a rollout (`_on_rollout_start`), where a training that was killed goes on.
    """

    def progress(self) -> dict[str, Any]:
        """All that `resume` needs, as plain data and arrays; taken at the start of a rollout."""
        return {}

    def resume(self, progress: dict[str, Any]) -> None:
        """Goes on where `progress` was taken."""

    def rows(self) -> Sequence[Row]:
        """What was seen so far, in the columns of its `During`."""
        return ()

    def _on_step(self) -> bool:
        return True


class During(ABC):
    """A part of a training request: settings, from which every training makes an observer of its own.

    Subclasses are frozen dataclasses of one's own settings. `table` is the name of the results' CSV file that its rows
    go to, and `columns` are theirs; the name also tells the observers of one training apart.

    Example:
        @dataclass(frozen=True)
        class Norms(rt.During):
            table, columns = "norms", ("timesteps", "norm")

            def observer(self, prunable):
                return MyObserver()
    """

    table: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    @abstractmethod
    def observer(self, prunable: Prunable | None) -> Observer:
        """The observer of one training; `prunable` is which parameters may be pruned there."""
