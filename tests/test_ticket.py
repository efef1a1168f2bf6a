"""Tickets and their files: what was saved is what is loaded, and nothing else passes for a ticket."""

import dataclasses
import re
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_archive import same

from rl_tickets.tickets import archive
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.ticket import FORMAT, Ticket

PROVENANCE: dict[str, Any] = {
    "algorithm": "PPO",
    "seed": 7,
    "rewind": {"at": 2000, "parts": ["weights", "optimizer"]},
    "density": np.float64(0.64),
    "history": (1.0, 0.8, 0.64),
    "unknown": None,
    "best": float("nan"),
}


def make_ticket(**changes: Any) -> Ticket:
    generator = torch.Generator().manual_seed(0)
    extractor = torch.randn(3, 4, generator=generator)
    weights = {
        "pi.weight": extractor,
        "vf.weight": extractor,
        "pi.bias": torch.randn(3, generator=generator),
        "log_std": torch.tensor(0.5),
        "steps": torch.tensor([3]),
        "brief": torch.ones(2, dtype=torch.bfloat16),
    }
    state = {
        "optimizers": {"policy.optimizer": {0: {"step": torch.tensor(4.0), "exp_avg": torch.ones(3, 4)}}},
        "normalizer": {"mean": np.zeros((4,)), "count": 1e-4},
        "recent": deque([1.0, 2.0], maxlen=100),
        "copies": {"vf.weight": "pi.weight"},
    }
    fields: dict[str, Any] = {
        "mask": Mask({"pi.weight": extractor.abs() > 0.5}),
        "weights": weights,
        "state": state,
        "provenance": PROVENANCE,
    }
    return Ticket(**{**fields, **changes})


def test_a_ticket_comes_back_whole(tmp_path: Path) -> None:
    ticket = make_ticket()
    path = ticket.save(str(tmp_path / "folder" / "some.ticket"))
    assert path == tmp_path / "folder" / "some.ticket"
    for loaded in (Ticket.load(path), Ticket.load(str(path))):
        assert loaded.mask == ticket.mask
        for field in ("weights", "state", "provenance"):
            assert same(getattr(loaded, field), getattr(ticket, field)), field
        assert loaded.digest == ticket.digest
        assert loaded.density == ticket.density == ticket.mask.density


def test_a_ticket_of_mask_and_weights_alone_comes_back(tmp_path: Path) -> None:
    ticket = Ticket(Mask({"w": torch.tensor([True, False])}), {"w": torch.tensor([1.0, 2.0])})
    loaded = Ticket.load(ticket.save(tmp_path / "bare"))
    assert loaded.state == loaded.provenance == {}
    assert loaded.digest == ticket.digest


def test_saving_gives_the_same_bytes_again_and_after_loading(tmp_path: Path) -> None:
    first = make_ticket().save(tmp_path / "first")
    second = make_ticket().save(tmp_path / "second")
    third = Ticket.load(first).save(tmp_path / "third")
    assert first.read_bytes() == second.read_bytes() == third.read_bytes()


def test_the_digest_is_of_mask_and_weights_wherever_they_came_from() -> None:
    ticket = make_ticket()
    assert make_ticket(state={}, provenance={"seed": 8}).digest == ticket.digest
    other_mask = Mask({"pi.weight": ~ticket.mask["pi.weight"]})
    moved = {**ticket.weights, "pi.bias": ticket.weights["pi.bias"] + 1e-6}
    renamed = {name.replace("bias", "offset"): weight for name, weight in ticket.weights.items()}
    digests = {
        make_ticket(**change).digest for change in ({"mask": other_mask}, {"weights": moved}, {"weights": renamed})
    }
    assert len(digests | {ticket.digest}) == 4


def test_a_ticket_does_not_take_assignments() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_ticket().mask = Mask({"w": torch.tensor([True])})  # type: ignore[misc]


def test_other_files_of_ours_are_no_tickets(tmp_path: Path) -> None:
    for tree, kind in (({"kind": "training state"}, "training state"), ({"a": 1}, "thing of unknown kind")):
        archive.write(tmp_path / "file", tree)
        with pytest.raises(ValueError, match=f"{tmp_path / 'file'} holds a {kind}, not a ticket"):
            Ticket.load(tmp_path / "file")


@pytest.mark.parametrize("version", [FORMAT + 1, 0, None])
def test_tickets_of_another_format_are_refused(tmp_path: Path, version: int | None) -> None:
    path = make_ticket().save(tmp_path / "some.ticket")
    archive.write(path, {**archive.read(path), "format": version})
    sentence = f"{path} has ticket format {version}, this version reads {FORMAT}; update rl_tickets"
    with pytest.raises(ValueError, match=re.escape(sentence)):
        Ticket.load(path)


def test_damaged_foreign_and_missing_files_are_named(tmp_path: Path) -> None:
    path = make_ticket().save(tmp_path / "some.ticket")
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PK\x03\x04"):
        path.write_bytes(content)
        sentence = f"{path} is truncated, altered or not a file of rl_tickets; make it again"
        with pytest.raises(ValueError, match=re.escape(sentence)):
            Ticket.load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        Ticket.load(tmp_path / "nowhere")


def test_provenance_that_is_not_plain_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = make_ticket().save(tmp_path / "some.ticket")
    before = path.read_bytes()
    with pytest.raises(TypeError, match="a function is not plain data and cannot be stored"):
        make_ticket(provenance={"criterion": make_ticket}).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
