"""Every example in a docstring runs; one written as a dialogue gives what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import textwrap
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import PPO_EXPERIMENT, make_env, make_ppo

import rl_tickets
import rl_tickets as rt


def names() -> list[str]:
    found = (module.name for module in pkgutil.walk_packages(rl_tickets.__path__, "rl_tickets."))
    return ["rl_tickets", *(name for name in found if not name.endswith("__main__"))]


def examples(name: str) -> list[doctest.DocTest]:
    return [test for test in doctest.DocTestFinder().find(importlib.import_module(name)) if test.examples]


@pytest.mark.parametrize("name", names())
def test_examples_give_what_they_say(name: str) -> None:
    runner = doctest.DocTestRunner()
    told: list[str] = []
    for test in examples(name):
        runner.run(test, out=told.append)
    assert not told, "".join(told)


def test_there_are_examples_to_run() -> None:
    rooms = {name.split(".")[1] for name in names()[1:] if examples(name)}
    assert {"tickets", "agents", "training", "search", "evaluation", "lab"} <= rooms


def sketches() -> dict[str, str]:
    """Examples that are code without a dialogue, by the name of what they belong to."""
    found = {}
    for name in names():
        for test in doctest.DocTestFinder(exclude_empty=False).find(importlib.import_module(name)):
            text = re.search(
                r"^Example:\n((?:    .*\n|\n)+)", inspect.cleandoc(test.docstring or "") + "\n", re.MULTILINE
            )
            if text is not None and ">>>" not in text[1]:
                found[test.name] = textwrap.dedent(text[1])
    return found


SKETCHES = sketches()


def test_there_are_sketches_to_run() -> None:
    assert any("find_tickets" in name for name in SKETCHES)
    assert any("Plan" in name for name in SKETCHES)


@pytest.mark.parametrize("name", SKETCHES)
def test_sketches_run_as_they_stand_at_a_small_budget(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = make_ppo(0)
    mask = rt.Mask.dense(model)
    other = rt.Mask({name: torch.arange(kept.numel()).reshape(kept.shape) % 2 > 0 for name, kept in mask.items()})
    weights: Any = model.policy.state_dict()
    known: dict[str, Any] = {
        "__name__": __name__,
        **{key: getattr(rt, key) for key in dir(rt) if not key.startswith("_")},
        "rt": rt,
        "torch": torch,
        "dataclass": dataclass,
        "partial": partial,
        "gym": importlib.import_module("gymnasium"),
        "make_env": make_env,
        "make_model": make_ppo,
        "model": model,
        "mask": mask,
        "other": other,
        "ticket": rt.Ticket(other, weights),
        "experiment": PPO_EXPERIMENT,
    }
    code = re.sub(r"\b\d+_000\b", "64", SKETCHES[name]).replace("torch.randn(2, 64)", "torch.randn(2, 16)")
    exec(compile(code, name, "exec"), known)
