"""What a user prints is one line that tells what it is, whatever it holds."""

from __future__ import annotations

import pytest
from agents_matrix import BY_NAME

import rl_tickets as rt
from rl_tickets.training.requests import Progress


@pytest.fixture(scope="module")
def level() -> rt.Level:
    case = BY_NAME["sac"]
    *_, last = rt.find_tickets(
        case.make, total_timesteps=96, densities=(1.0, 0.5), rewind=rt.Rewind(at=32), criterion=rt.lamp, seed=3
    )
    return last


def test_a_ticket(level: rt.Level) -> None:
    ticket = level.ticket
    assert repr(ticket) == (
        f"Ticket(density=0.5 (of all weights {ticket.overall_density:.4g}), layers=10, algorithm='SAC', "
        f"environment='Pendulum-v1', seed=3, level=1, digest={ticket.digest[:8]})"
    )
    assert "control='permuted_mask'" in repr(rt.permuted_mask(ticket, seed=0))
    bare = rt.Ticket(ticket.mask, ticket.weights)
    assert repr(bare) == f"Ticket(density=0.5, layers=10, digest={ticket.digest[:8]})"


def test_a_training_and_its_states(level: rt.Level) -> None:
    trained = level.trained
    assert repr(trained) == f"Trained(density=0.5, timesteps={level.timesteps}, kept=[], diverged=False)"
    assert repr(trained.end) == "TrainingState(timesteps=96, parts=weights, normalizer, schedule)"
    assert repr(rt.TrainingState()) == "TrainingState(timesteps=0, parts=none)"


def test_whatever_holds_them_is_one_line_too(level: rt.Level) -> None:
    request = rt.Training(1, ticket=level.ticket, start=level.trained.end)
    progress = Progress(level.trained.end, {32: level.trained.end}, level.ticket.mask, dict(level.ticket.weights), {})
    setup = rt.Setup(BY_NAME["sac"].make, 0, 96, (1.0, 0.5), outcomes_of=lambda name: [(request, level.trained)])
    for thing in (level, request, progress, setup, rt.hold_of(level.model), rt.prune(level.ticket.weights, 0.5)):
        assert "\n" not in repr(thing)
        assert "tensor(" not in repr(thing)
        assert len(repr(thing)) < 900
