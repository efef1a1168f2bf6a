"""One torch thread: results depend on their number, and two test processes share two cores."""

import signal

import pytest
import torch

from rl_tickets.training.cohorts import tracing

torch.set_num_threads(1)
# A shell's background jobs ignore Ctrl-C, and so would the scripts that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Tiny heads collapse all the time; what is about collapse asks for the warning with `pytest.warns`."""
    config.addinivalue_line("filterwarnings", "ignore::rl_tickets.LayerCollapseWarning")


@pytest.fixture
def uncompiled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cohorts run the traced graph as it is: compiling takes seconds, and changes no more than the last bits.

    Tests marked `compiled` compile all the same; so does everything that starts worker processes.
    """
    if "compiled" not in request.keywords:
        monkeypatch.setattr(tracing, "compiler", lambda: None)
        monkeypatch.setattr(tracing, "_COMPILED", {})
