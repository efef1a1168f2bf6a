"""The quick hyperbolic tangent against the true one, over all that single precision has."""

import numpy as np
import torch

from rl_tickets.agents.cohort.tanh import tanh

SIZES = torch.cat([torch.linspace(0, 20, 400_001), torch.logspace(-37, 38, 100_001)])
EVERYTHING = torch.cat([SIZES, -SIZES])


def test_it_is_within_six_units_in_the_last_place() -> None:
    true = torch.tanh(EVERYTHING.double())
    units = np.spacing(true.abs().float().numpy())
    error = (tanh(EVERYTHING).double() - true).abs().numpy()
    assert error.max() < 4e-7
    assert (error / units).max() < 6


def test_it_is_odd_and_never_beyond_one() -> None:
    assert torch.equal(tanh(-EVERYTHING), -tanh(EVERYTHING))
    assert tanh(EVERYTHING).abs().max() == 1
    assert tanh(torch.tensor([torch.inf, -torch.inf])).tolist() == [1, -1]


def test_a_diverged_network_stays_diverged() -> None:
    assert tanh(torch.tensor([torch.nan])).isnan().all()


def test_other_precisions_are_left_to_the_compiler() -> None:
    assert tanh(torch.ones(1, dtype=torch.float64)) is NotImplemented
