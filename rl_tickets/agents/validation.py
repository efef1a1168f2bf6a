"""torch's checks of distributions' arguments: on while SB3 trains, off where NaN may pass or a function is traced."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributions import Distribution


@contextmanager
def unvalidated() -> Iterator[None]:
    """Without the checks, which depend on values and refuse what a diverged network gives; afterwards as before."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        Distribution.set_default_validate_args(before)
