"""Mending a results folder: what was lost or damaged since is found, told, and counted as not finished."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rl_tickets.lab.store import Store
from rl_tickets.report.rows import Run, from_plain
from rl_tickets.report.tables import drop_rows, read_layers, read_series, read_timings


def mend(store: Store) -> list[str]:
    """Forgets trainings whose rows, tickets or unfinished work are no longer whole, so that they are trained again.

    Returns:
        A sentence for each kind of thing that was lost; none where all is well.

    Raises:
        ValueError: a CSV file cannot be read at all; it is named.
    """
    collected = store.collected()
    whole = {
        "returns": {series.run for series in read_series(store.folder, "returns")},
        "layers": {row.run for row in read_layers(store.folder)},
        "timings": {row.run for row in read_timings(store.folder)},
        "ticket": {run for run, row in collected.items() if not row.ticket or (store.folder / row.ticket).is_file()},
    }
    lost = {kind: [run for run in collected if run not in runs] for kind, runs in whole.items()}
    drop_rows(store.folder, {run for runs in lost.values() for run in runs})
    told = [_sentence(store, f"its {kind}", runs) for kind, runs in lost.items() if runs]
    if damaged := [run for run in store.at_work() if not _readable(store, run)]:
        for run in damaged:
            store.work(run, "json").unlink()
        told.append(_sentence(store, "a readable file of unfinished work", damaged))
    return told


def _readable(store: Store, run: Run) -> bool:
    try:
        rows = [from_plain(plain) for plain in json.loads(store.work(run, "json").read_text())]
    except (ValueError, KeyError, TypeError):
        return False
    return any(row.table == "levels" for row in rows)


def _sentence(store: Store, what: str, runs: Iterable[Run]) -> str:
    first, *others = sorted(runs)
    more = f", and {len(others)} more," if others else ""
    return f"{store.folder} has lost {what} of {first}{more}; what is missing is trained again, to the same bytes."
