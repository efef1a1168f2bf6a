"""Agents from files: what SB3 saved, a ticket, or final weights of a results folder."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.making import fresh_agent
from rl_tickets.lab.evaluating import experiment_of
from rl_tickets.tickets import archive
from rl_tickets.tickets.ticket import Ticket
from rl_tickets.training.requests import Trained


def agent_of(file: Path, *, algorithm: str | None = None, script: Path | None = None) -> BaseAlgorithm:
    """The agent that a file holds.

    Args:
        file: SB3's zip, a ticket, or final weights that an experiment kept.
        algorithm: class that saved a zip, such as `PPO`. SB3's `load` runs code in the file: load only what you trust.
        script: whose experiment makes the agent of a ticket or of weights; by default the one that the results folder
            around them names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it says not enough, or holds something else.
    """
    if not file.is_file():
        raise FileNotFoundError(2, "there is no such file", str(file))
    if file.suffix == ".zip":
        return _class(algorithm, file).load(file, device="cpu")
    kind = (tree := archive.read(file)).get("kind")
    if kind not in ("ticket", "training"):
        raise ValueError(
            f"{file} holds a {kind or 'thing of unknown kind'}, no agent; give an SB3 file, a ticket, or final weights"
        )
    folder = next((parent for parent in file.resolve().parents if (parent / "experiment.json").is_file()), None)
    if script is None and folder is None:
        raise ValueError(
            f"{file} has weights but no architecture, and lies in no results folder; say what makes its agent: --script"
        )
    experiment = experiment_of(folder or file.parent, script)
    if kind == "ticket":
        return Ticket.load(file).plant(fresh_agent(experiment.make_model, 0))
    del tree["kind"]
    trained = Trained.from_tree(tree)
    model = fresh_agent(experiment.make_model_of(_search_of(file, folder), trained), 0)
    trained.end.restore(model)
    return model


def _search_of(file: Path, folder: Path | None) -> str:
    """The search whose final weights a file of a results folder holds; empty for one that lies elsewhere."""
    parts = file.resolve().relative_to(folder).parts if folder is not None else ()
    return parts[1] if len(parts) > 2 and parts[0] == "weights" else ""


def _class(algorithm: str | None, file: Path) -> type[BaseAlgorithm]:
    if algorithm is None:
        raise ValueError(f"{file} does not say which algorithm saved it; name it, as by --algorithm PPO")
    for package in ("stable_baselines3", "sb3_contrib"):
        found = getattr(import_module(package), algorithm, None) if find_spec(package) else None
        if isinstance(found, type) and issubclass(found, BaseAlgorithm):
            return found
    raise ValueError(
        f"neither SB3 nor sb3-contrib has an algorithm {algorithm!r}; load the file yourself and call rt.export"
    )
