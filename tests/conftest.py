"""One torch thread: results depend on their number, and two test processes share two cores."""

import pytest
import torch

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Tiny heads collapse all the time; what is about collapse asks for the warning with `pytest.warns`."""
    config.addinivalue_line("filterwarnings", "ignore::rl_tickets.LayerCollapseWarning")
