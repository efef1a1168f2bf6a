"""What all tests share: one torch thread, cohorts that do not compile, plots that are not sharp."""

import gc
import signal

import pytest
import torch

from rl_tickets.report import looks
from rl_tickets.training.cohorts import tracing

COMPILER, COMPILED = tracing.compiler, tracing._COMPILED
tracing.compiler = lambda: None  # Of module fixtures too: see `compiling`.
looks.DPI = 30  # Sharp plots take as long as a tiny experiment's training.
torch.set_num_threads(1)  # Results depend on their number, and two test processes share two cores.
# A shell's background jobs ignore Ctrl-C, and so would the scripts that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Tiny heads collapse all the time; what is about collapse asks for the warning with `pytest.warns`."""
    config.addinivalue_line("filterwarnings", "ignore::rl_tickets.LayerCollapseWarning")


def pytest_collection_finish() -> None:
    """Tracing makes objects by the million: the collector looks through them seldom, and through all tests never."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


@pytest.fixture(autouse=True)
def compiling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cohorts run the traced graph as it is: compiling takes many seconds, and changes no more than the last bits.

    Tests marked `compiled` compile all the same, and so do scripts and the worker processes that experiments start.
    """
    if "compiled" in request.keywords:
        monkeypatch.setattr(tracing, "compiler", COMPILER)
        monkeypatch.setattr(tracing, "_COMPILED", COMPILED)
    else:
        monkeypatch.setattr(tracing, "_COMPILED", {})
