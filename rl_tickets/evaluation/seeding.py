"""Global generators, seeded while an evaluation lasts."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from stable_baselines3.common.utils import set_random_seed

from rl_tickets.agents.validation import unvalidated


def generators() -> tuple[object, ...]:
    """Where the global generators are; equal where nothing was drawn in between."""
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return random.getstate(), name, np.asarray(keys).tobytes(), *rest, torch.get_rng_state().numpy().tobytes()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global generators seeded for a sampling policy, and afterwards as they were; NaN logits are let through."""
    python, numpy_state, torch_state = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]
    set_random_seed(seed)
    try:
        with unvalidated():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy_state)  # noqa: NPY002
        torch.set_rng_state(torch_state)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
