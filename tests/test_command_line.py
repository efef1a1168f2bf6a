"""`python -m rl_tickets`: what is in a ticket, how two folders compare, and one sentence where that cannot be told."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import PPO_EXPERIMENT, ROOT

import rl_tickets as rt
from rl_tickets.lab.commands import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results")
    rt.run(replace(PPO_EXPERIMENT, searches={"imp": rt.IMP(criterion=rt.lamp)}, densities=(1.0, 0.5)), jobs=1, out=out)
    path = out / "tiny" / "experiment.json"
    described = json.loads(path.read_text())
    described["settings"]["random_return"] = 0.0  # So few steps teach nothing.
    path.write_text(json.dumps(described))
    return out / "tiny"


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def complaint(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def test_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "tickets" / "imp" / "seed-1" / "level-01.ticket"
    ticket = rt.Ticket.load(path)
    main(["show", str(path)])
    out = capsys.readouterr().out
    assert str(path) in out
    assert "density 0.5, sparsity 0.5" in out
    for name, count in ticket.mask.layers.items():
        (row,) = (line for line in out.splitlines() if f" {name} " in line)
        assert row.split()[3::2][:3] == ["x".join(map(str, ticket.mask[name].shape)), str(count.kept), str(count.total)]
    for provenance in ('"algorithm": "PPO"', '"environment": "CartPole-v1"', '"seed": 1', '"level": 1'):
        assert provenance in out
    assert f"digest {ticket.digest}" in out


def test_compare(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["compare", str(folder), str(folder)])
    out = capsys.readouterr().out
    assert f"A = {folder}\nB = {folder}\n" in out
    dense, imp = (line.split() for line in out.splitlines() if line.startswith(("dense", "imp")))
    assert dense[:4] == ["dense", "0", "1", "1"]
    assert imp[:4] == ["imp", "1", "0.5", "0.5"]
    assert dense[-2:] == ["2/2", "0.50"], "a folder is as good as itself"


def test_what_is_no_ticket(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path / 'none'}: no such file" in complaint(["show", str(tmp_path / "none")], capsys)
    assert "no such file" in complaint(["show", str(folder)], capsys)
    sentence = complaint(["show", str(folder / "levels.csv")], capsys)
    assert "levels.csv is truncated, altered or not a file of rl_tickets" in sentence


def test_what_is_no_results_folder(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sentence = complaint(["compare", str(folder), str(tmp_path)], capsys)
    assert f"{tmp_path} is not a results folder" in sentence


def test_as_a_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rl_tickets", "show", str(tmp_path / "no[/]ne")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {tmp_path / 'no[/]ne'}: no such file\n"


@pytest.mark.parametrize("arguments", [["--help"], ["show", "--help"], ["compare", "--help"]])
def test_help(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code
    assert "python -m rl_tickets" in capsys.readouterr().out
