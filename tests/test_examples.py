"""Every example in a docstring runs and gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import rl_tickets


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
    assert {"tickets", "agents", "evaluation"} <= rooms
