"""The progress bar of a running experiment, in levels, with the time that is left."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rl_tickets.lab.experiment import Experiment
from rl_tickets.lab.store import Store

MINUTE = 60.0
MOVE = 5.0
"""Seconds between looks at what is done: of thousands of levels one takes a tenth of a second."""


@contextmanager
def progress(experiment: Experiment, store: Store) -> Iterator[Callable[[], None]]:
    """Gives what is to be called now and then; a line a minute where there is no terminal.

    It is all levels of the experiment, whoever trains them: those of other shares move the bar too.
    """
    console = Console()
    total = experiment.count
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.1f} of {task.total:.0f} levels"),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, speed_estimate_period=600) as bar:
        first = store.done()
        shown = bar.add_task(experiment.name, total=total)
        bar.update(shown, completed=round(first, 2))
        began = last = time.monotonic()

        def tell() -> None:
            nonlocal last
            if time.monotonic() - last < (MOVE if console.is_terminal else MINUTE):
                return
            last, done = time.monotonic(), store.done()
            bar.update(shown, completed=round(done, 2))
            if not console.is_terminal:
                left = (total - done) * (last - began) / (done - first) if done > first else math.inf
                told = f", about {left / MINUTE:.0f} min left" if math.isfinite(left) else ""
                console.print(f"{experiment.name}: {done:.1f} of {total} levels{told}")

        try:
            yield tell
        finally:
            bar.update(shown, completed=round(store.done(), 2))
