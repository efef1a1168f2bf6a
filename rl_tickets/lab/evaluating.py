"""Evaluating a results folder over: its final policies, kept as weights, play other episodes; nothing is trained."""

from __future__ import annotations

import dataclasses
import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.progress import track
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.describing import LATER, describe_agent
from rl_tickets.agents.making import fresh_agent
from rl_tickets.evaluation.cast import SLOTS
from rl_tickets.evaluation.returns import RandomPolicy, play, play_both_ways
from rl_tickets.lab.experiment import Experiment
from rl_tickets.lab.recording import returns_row, sampled_return
from rl_tickets.lab.store import Store
from rl_tickets.lab.threads import one_thread
from rl_tickets.report import Summary, write_report
from rl_tickets.report.rows import LevelRow, Row, Run
from rl_tickets.report.tables import append_rows, read_layers, read_levels, read_series, settle
from rl_tickets.search.plan import DENSE
from rl_tickets.tickets.archive import write_whole


def evaluate_over(folder: Path, experiment: Experiment, *, episodes: int, out: Path, command: str = "") -> Summary:
    """Lets every final policy whose weights were kept play anew, both ways, and reports on it in a folder of its own.

    Args:
        folder: of a finished experiment.
        experiment: that made it; only its agent, its environment and its `random_episodes` are used.
        episodes: of every policy, reset with the seeds that the folder's episodes had, and on from there.
        out: the new results folder.
        command: what its report names as the command that made it.

    Raises:
        ValueError: the folder is another experiment's, or kept no weights of the dense runs; or `out` is taken.
    """
    store = Store(folder)
    described = json.loads(store.description.read_text())
    if out.exists():
        raise ValueError(f"{out} exists already; choose another --out, or delete it")
    with one_thread():
        model: Any = fresh_agent(experiment.make_model, experiment.all_seeds[0])
        ours, theirs = json.loads(json.dumps(describe_agent(model))), described["settings"]["agent"]
        if ours != {LATER: ours[LATER], **theirs}:  # Older descriptions lack that part.
            raise ValueError(f"{folder} was made with another agent than this experiment's; evaluate it with its own")
        seed = int(described["settings"]["evaluation_seed"])
        levels = [row for row in read_levels(folder) if store.weights(row.run).exists()]
        if not any(row.run.search == DENSE for row in levels):
            raise ValueError(
                f'{folder} kept no final weights of its dense runs; run it again with Experiment(keep="all")'
            )
        plays = experiment.random_episodes
        random = play(RandomPolicy(model.action_space, seed), experiment.make_env, episodes=plays, seed=seed)
        rows = [
            row
            for start in track(range(0, len(levels), SLOTS), folder.name)
            for row in _played(store, experiment, levels[start : start + SLOTS], episodes, seed)
        ]
    runs = {row.run for row in levels}
    rows += [row for row in read_layers(folder) if row.run in runs]
    rows += [row for row in read_series(folder, "inputs") if row.run in runs]
    changed = {"episodes": episodes, "random_episodes": plays, "random_return": float(random.returns.mean())}
    described |= {"command": command, "settings": {**described["settings"], **changed}}
    write_whole(out / "experiment.json", (json.dumps(described, indent=1) + "\n").encode())
    append_rows(out, rows)
    settle(out)
    return write_report(out)


def _played(
    store: Store, experiment: Experiment, levels: Sequence[LevelRow], episodes: int, seed: int
) -> Iterator[Row]:
    models = [_restored(store, experiment, level.run) for level in levels]
    played = play_both_ways(models, experiment.make_env, episodes=episodes, seed=seed)
    for level, model, each in zip(levels, models, played, strict=True):
        if (env := model.get_env()) is not None:
            env.close()
        mean = float(each.greedy.returns.mean())
        yield dataclasses.replace(level, mean_return=mean, sampled_return=sampled_return(each), ticket="")
        yield returns_row(level.run, each)


def _restored(store: Store, experiment: Experiment, run: Run) -> BaseAlgorithm:
    trained = store.trained(run)
    assert trained is not None
    model = fresh_agent(experiment.make_model_of(run.search, trained), run.seed)
    trained.end.restore(model)
    return model


def experiment_of(folder: Path, script: Path | None = None) -> Experiment:
    """The experiment of the script that made a folder; the script is run, as its user ran it, but not its experiment.

    Args:
        folder: a results folder, whose command names the script.
        script: another one.

    Raises:
        ValueError: there is no such script here, or it holds no experiment.
    """
    if script is None:
        script = _script_of(folder)
    if not script.is_file():
        raise ValueError(f"there is no {script} here, which made {folder}; say where it is by --script")
    with _beside(script):
        found = runpy.run_path(str(script), run_name="evaluated")
    # A script may build its experiment on another's: as a rule the last one made is its own.
    experiments = [value for value in found.values() if isinstance(value, Experiment)]
    if not experiments:
        raise ValueError(
            f"{script} holds no rt.Experiment at its top level, outside `if __name__ == '__main__':`; make "
            "it there, or name the script that does by --script"
        )
    return experiments[-1]


def _script_of(folder: Path) -> Path:
    path = folder / "experiment.json"
    if not path.is_file():
        raise ValueError(f"{folder} is not a results folder, for it has no experiment.json")
    command = str(json.loads(path.read_text()).get("command", ""))
    # A relative path to a script of one's own: a results folder may be another's, and names no other code to run.
    named = next((word for word in shlex.split(command) if re.fullmatch(r"(\w[\w-]*/)*\w[\w-]*\.py", word)), None)
    if named is None or Path(named).resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path} does not say which script made it; name it by --script")
    return Path(named)


@contextmanager
def _beside(script: Path) -> Iterator[None]:
    """What lies beside a script can be imported, as when Python runs it."""
    sys.path.insert(0, str(script.resolve().parent))
    try:
        yield
    finally:
        sys.path.remove(str(script.resolve().parent))
