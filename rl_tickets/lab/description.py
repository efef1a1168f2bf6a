"""experiment.json: what was run, with what, and whether it is still the same under an existing folder."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy
import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.describing import LATER, describe_agent
from rl_tickets.lab.experiment import Experiment
from rl_tickets.tickets import archive

FORMAT = 3
"""Since 3 every policy is played both ways: older folders can be read, and not gone on with."""


@dataclass(frozen=True)
class Description:
    """All that makes an experiment what it is, as plain data.

    Args:
        name: of the results folder.
        command: that makes the results again.
        settings: of the experiment, its agent, and the return of a random policy.
        commit: of this package, with `-dirty` where files of it differ; its version outside a git checkout.
        versions: of everything results depend on.
    """

    name: str
    command: str
    settings: dict[str, Any]
    commit: str = field(default_factory=lambda: commit())
    versions: dict[str, str] = field(default_factory=lambda: versions())

    @classmethod
    def of(cls, experiment: Experiment, model: BaseAlgorithm, random: Mapping[str, float]) -> Description:
        """Of an experiment, an agent of it, and what a random policy returns."""
        settings = {**experiment.settings(), "agent": describe_agent(model), **random}
        return cls(experiment.name, experiment.command, json.loads(json.dumps(settings)))

    def settle(self, path: Path) -> None:
        """Writes the file, or checks that it describes this experiment; more seeds and searches are added to it.

        Raises:
            ValueError: a setting was changed; it is named, with the way out.
        """
        if path.exists():
            before = _read(path)
            _demand_same(path.parent, before["settings"], self.settings)
            self._tell_versions(path.parent, before)
            if all(before["settings"].get(name) == self.settings[name] for name in MAY_CHANGE):
                return
        tree = {"format": FORMAT, "name": self.name, "command": self.command, "commit": self.commit}
        tree |= {"settings": self.settings, "versions": self.versions, "torch_threads": 1}
        archive.write_whole(path, (json.dumps(tree, indent=1) + "\n").encode())

    def _tell_versions(self, folder: Path, before: dict[str, Any]) -> None:
        theirs, ours = ({"commit": d["commit"], **d["versions"]} for d in (before, self.__dict__))
        if theirs != ours:
            changed = [f"{key} {theirs.get(key)} -> {ours[key]}" for key in ours if theirs.get(key) != ours[key]]
            warnings.warn(
                f"{folder} was begun with other versions ({', '.join(changed)}): results may differ in the last bit",
                stacklevel=2,
            )


MORE = ("seeds", "dense_seeds")
"""What may grow under an existing folder, behind the old, whose places stay."""
JUDGED = ("margin", "failed_below", "input_names")
"""What may change there: runs are judged, and told, anew."""
MAY_CHANGE = (*MORE, *JUDGED, "searches")
"""More seeds and searches are trained beside the old."""


def known(path: Path) -> dict[str, Any]:
    """The settings that are described there; none where nothing is."""
    try:
        return dict(json.loads(path.read_text())["settings"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _read(path: Path) -> dict[str, Any]:
    try:
        before: dict[str, Any] = json.loads(path.read_text())
        before["settings"]["seeds"], before["versions"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not what an experiment wrote there; choose another --out, or delete {path.parent}"
        ) from error
    if before.get("format") != FORMAT:
        raise ValueError(
            f"{path.parent} was made by an older version, whose results can be read (report, show, compare) but not "
            "gone on with; choose another --out"
        )
    return before


def _demand_same(folder: Path, before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> None:
    for name in sorted({*before, *now}):
        old, new = before.get(name), now.get(name)
        if not prefix and (name in JUDGED or (name in MORE and (new or [])[: len(old or [])] == (old or []))):
            continue
        if old is None and (prefix == "searches." or (prefix, name) == ("agent.", LATER)):
            continue
        if isinstance(old, dict) and isinstance(new, dict):
            _demand_same(folder, old, new, f"{prefix}{name}.")
        elif old != new:
            raise ValueError(
                f"{folder} holds an experiment with {prefix}{name} = {old!r}, now it is {new!r}; "
                "choose another --out, or delete the folder to start over"
            )


def versions() -> dict[str, str]:
    """Versions of everything results depend on."""
    return {
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "stable_baselines3": str(stable_baselines3.__version__),
        "gymnasium": str(gymnasium.__version__),
        "numpy": str(numpy.__version__),
        "platform": sys.platform,
    }


def commit() -> str:
    """The git commit this package is at, `-dirty` where it or the scripts beside it were changed; else its version."""
    room = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        told = subprocess.run(["git", "-C", str(room), *arguments], capture_output=True, text=True, check=True)
        return told.stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")) != room.parent:
            return version("rl_tickets")  # Installed within somebody else's checkout.
        changed = git("status", "--porcelain", "--untracked-files=no", "--", str(room), str(room.parent / "scripts"))
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return version("rl_tickets")
