"""Which two agents of a results folder are filmed beside each other, and their final weights."""

from __future__ import annotations

from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.deploy.filming import film
from rl_tickets.lab.evaluating import experiment_of
from rl_tickets.lab.loading import agent_of
from rl_tickets.lab.store import Store
from rl_tickets.report.rows import LevelRow
from rl_tickets.report.tables import read_levels
from rl_tickets.search.plan import DENSE


def film_results(
    path: Path,
    *,
    out: Path,
    script: Path | None = None,
    search: str | None = None,
    seed: int = 0,
    seconds: float = 20.0,
) -> Path:
    """Films a sparse agent beside the dense one of its training seed, with the weights they ended with.

    Args:
        path: a results folder, whose sparsest agent of the first seed is filmed, or a ticket in one.
        out: see `film`.
        script: see `experiment_of`.
        search: of a folder, whose agent is filmed; by default the first that is not the dense one.
        seed: of both agents' environments.
        seconds: see `film`.

    Raises:
        ValueError: the folder has no such agents, or kept no weights of theirs.
    """
    folder = next((place for place in (path, *path.resolve().parents) if (place / "experiment.json").is_file()), None)
    if folder is None:
        raise ValueError(f"{path} is no results folder and lies in none, so there is no dense agent to film it beside")
    store, rows = Store(folder), read_levels(folder)
    sparse = _chosen(rows, search) if path.is_dir() else _of_ticket(rows, store, path)
    dense = next((row for row in rows if row.run.search == DENSE and row.run.seed == sparse.run.seed), None)
    if dense is None:
        raise ValueError(f"{folder} has no dense run of seed {sparse.run.seed}")
    agents: dict[str, BaseAlgorithm] = {}
    for name, row in (("dense", dense), (f"{sparse.run.label}, density {sparse.density:.2g}", sparse)):
        file = store.weights(row.run)
        if not file.is_file():
            raise ValueError(f'{folder} kept no final weights of {row.run}; run it again with Experiment(keep="all")')
        agents[name] = agent_of(file, script=script)
    return film(agents, experiment_of(folder, script).make_env, out, seed=seed, seconds=seconds)


def _chosen(rows: list[LevelRow], search: str | None) -> LevelRow:
    found = [row for row in rows if (row.run.search == search if search else row.run.search != DENSE)]
    if not found:
        raise ValueError(f"there is no sparse agent{f' of search {search!r}' if search else ''}")
    first = [row for row in found if row.run.search == found[0].run.search and row.run.seed == found[0].run.seed]
    return min(first, key=lambda row: row.density)


def _of_ticket(rows: list[LevelRow], store: Store, path: Path) -> LevelRow:
    for row in rows:
        if store.ticket(row.run).resolve() == path.resolve():
            return row
    raise ValueError(f"{path} is no ticket of {store.folder}")
