"""What a user can get wrong, or a machine can do to them, ends with one sentence that says so and the way out."""

from __future__ import annotations

import os
import pickle
import re
import resource
import shutil
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cloudpickle
import gymnasium as gym
import pytest
from sb3_contrib import ARS
from stable_baselines3 import PPO
from tiny import PPO_EXPERIMENT, assert_same, finish, make_env, make_ppo, run_script, session, start, wait_for

import rl_tickets as rt
from rl_tickets.lab import executors
from rl_tickets.lab.command_line import main
from rl_tickets.lab.store import Store

ONE = replace(PPO_EXPERIMENT, searches={"imp": rt.IMP(criterion=rt.lamp)}, densities=(1.0, 0.5), seeds=1, dense_seeds=1)

SCRIPT = """
import gymnasium as gym
from stable_baselines3 import PPO

import rl_tickets as rt
from rl_tickets.lab.command_line import main


def make_env():
    return gym.make("CartPole-v1")


def make_model(seed):
    kwargs = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [16]}}
    return PPO("MlpPolicy", make_env(), seed=seed, device="cpu", **kwargs)


experiment = rt.Experiment(
    name="mine",
    make_model=make_model,
    make_env=make_env,
    total_timesteps=960,
    densities=(1.0, 0.5, 0.2),
    seeds=2, dense_seeds=2,
    searches={"imp": rt.IMP(criterion=rt.lamp), "random_reinit": rt.Control(rt.random_reinit)},
    episodes=3,
    random_episodes=20,
    segment=384,
)

if __name__ == "__main__":
    main(experiment)
"""
SHORT = SCRIPT.replace("960", "320").replace("384", "128").replace("0.5, 0.2", "0.5")
"""For runs that nobody needs to catch in the middle."""


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of what the script gives undisturbed."""
    path = tmp_path_factory.mktemp("reference") / "mine.py"
    path.write_text(SCRIPT)
    assert run_script(path, "--jobs", 1, "--out", path.parent) == (0, "")
    return path.parent / "mine"


def complaint(run: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> str:
    """The one sentence with which a command line ends."""
    with pytest.raises(SystemExit) as ended:
        run()
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    return lines[0].removeprefix("error: ")


def told(
    experiment: rt.Experiment, out: Path, capsys: pytest.CaptureFixture[str], *flags: str, extra: str | None = None
) -> str:
    arguments = ["--jobs", "1", "--out", str(out), *flags]
    return complaint(lambda: main(experiment, arguments=arguments, extra=extra), capsys)


def test_an_unknown_environment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = replace(ONE, make_model=lambda seed: PPO("MlpPolicy", gym.make("CartPoel-v1"), seed=seed))
    sentence = told(wrong, tmp_path, capsys)
    assert "`CartPoel` doesn't exist" in sentence
    assert "register it inside make_model and make_env, or at the top of the script" in sentence
    wrong = replace(ONE, make_env=lambda: gym.make("CartPole-v99"))
    assert "`v99`" in told(wrong, tmp_path, capsys)


def test_an_extra_that_is_not_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def needs() -> gym.Env[Any, Any]:
        import an_environment_nobody_has  # type: ignore[import-not-found] # noqa: F401

        return make_env()

    sentence = told(replace(ONE, make_env=needs), tmp_path, capsys, extra="box2d")
    assert "No module named 'an_environment_nobody_has'" in sentence
    assert ".[box2d]'" in sentence


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (("--jobs", "0"), "jobs must be at least 1, got 0"),
        (("--seeds", "0"), "seeds must be a positive number or different integers from 0 on, got 0"),
        (("--smoke", "--seeds", "0"), "seeds must be a positive number"),
        (("--levels", "1"), "--levels must be at least 2"),
        (("--timesteps", "0"), "--timesteps must be at least 1 environment step, got 0"),
        (("--levels", "9"), "fewer than the 4 layers; the lowest that leaves each layer one is 0.0227"),
    ],
)
def test_impossible_flags(
    flags: tuple[str, ...], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in told(ONE, tmp_path, capsys, *flags)
    assert not list(tmp_path.rglob("*.csv"))


def test_a_density_no_network_can_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\], got -0.1"):
        rt.IMP().search(replace(ONE, densities=(1.0, -0.1)), 0, ())
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\], got 50.0"):
        rt.find_tickets(make_ppo, total_timesteps=64, densities=(1.0, 50.0))


def test_a_rewind_point_that_training_never_reaches(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="rewind point 200 is beyond the budget of 160 environment steps; choose an"):
        replace(ONE, searches={"imp": rt.IMP(rewind=rt.Rewind(at=200))})
    last = replace(ONE, searches={"imp": rt.IMP(rewind=rt.Rewind(at=130))})
    assert "rewind point 130 is beyond the last rollout" in told(last, tmp_path, capsys)


def test_a_rewind_point_inside_a_rollout() -> None:
    with pytest.warns(rt.RewindWarning, match="rewind point 40 lies inside a rollout; the rollout's end at step 64"):
        dense = next(rt.find_tickets(make_ppo, total_timesteps=96, densities=(1.0, 0.5), rewind=rt.Rewind(at=40)))
    assert dense.ticket.provenance["rewind"]["step"] == 64


def test_a_ticket_for_another_architecture(reference: Path) -> None:
    ticket = rt.Ticket.load(reference / "tickets" / "imp" / "seed-0" / "level-01.ticket")
    bigger = make_ppo(0, policy_kwargs={"net_arch": [32]})
    with pytest.raises(ValueError, match=r"another architecture: '.*' has shape \(16, 4\) in the ticket, \(32, 4\) in"):
        ticket.plant(bigger)


@pytest.mark.parametrize("damage", [lambda file: file[:500], lambda file: file[:-9] + bytes(9), lambda file: b"x"])
def test_a_damaged_ticket(damage: Callable[[bytes], bytes], reference: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.ticket"
    path.write_bytes(damage((reference / "tickets" / "imp" / "seed-0" / "level-01.ticket").read_bytes()))
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} (is truncated, altered|was altered)"):
        rt.Ticket.load(path)


def test_an_agent_without_an_optimizer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ars = replace(ONE, make_model=lambda seed: ARS("MlpPolicy", make_env(), seed=seed, device="cpu"))
    assert "ARS has no torch optimizer, so its weights cannot be held" in told(ars, tmp_path, capsys)


def test_a_changed_experiment(reference: Path, tmp_path: Path) -> None:
    shutil.copytree(reference, tmp_path / "mine")
    script = tmp_path / "mine.py"
    script.write_text(SCRIPT.replace("[16]", "[24]"))
    status, errors = run_script(script, "--jobs", 1, "--out", tmp_path)
    assert (status, errors.count("\n")) == (2, 1)
    assert "agent.modules." in errors
    assert "Linear(in_features=24, out_features=2, bias=True)'; choose another --out, or delete the folder" in errors


def test_rewards_that_are_no_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def make() -> gym.Env[Any, Any]:
        return gym.wrappers.TransformReward(make_env(), lambda _: float("nan"))

    sentence = told(replace(ONE, make_env=make), tmp_path, capsys)
    assert sentence == "episode 0 of the evaluation returned nan; check the environment's rewards"


def test_an_experiment_that_cannot_travel_to_workers(tmp_path: Path) -> None:
    lock = threading.Lock()

    def make() -> gym.Env[Any, Any]:
        with lock:
            return make_env()

    with pytest.raises(ValueError, match=r"cannot be sent to worker processes .*lock.*; let make_model, make_env"):
        rt.run(replace(ONE, make_env=make), jobs=2, out=tmp_path)


def test_an_error_that_cannot_travel_back_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "experiment.json").touch()

    class Stubborn(Exception):
        def __init__(self, code: int, place: str) -> None:
            super().__init__(f"code {code} at {place}")

    class Failing:
        store = Store(tmp_path)

        def run(self) -> None:
            raise Stubborn(7, "home")

    with pytest.raises(RuntimeError, match=r"^Stubborn: code 7 at home$") as raised:
        executors.run_pickled(cloudpickle.dumps(Failing()))
    assert str(pickle.loads(pickle.dumps(raised.value))) == "Stubborn: code 7 at home"


@pytest.fixture(scope="module")
def plain_reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of a shorter training by SB3's own `learn`."""
    path = tmp_path_factory.mktemp("plain_reference") / "mine.py"
    path.write_text(SHORT)
    assert run_script(path, "--jobs", 1, "--trainer", "plain", "--out", path.parent) == (0, "")
    return path.parent / "mine"


@pytest.mark.parametrize("share", [0.1, 0.4, 0.99])
def test_a_full_disk(share: float, script: Path, plain_reference: Path) -> None:
    """A limit on the size of files fails as a full disk does, at whichever file meets it first."""
    room = int(share * max(path.stat().st_size for path in plain_reference.rglob("*") if path.is_file()))

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    script.write_text(SHORT)
    out = script.parent
    flags = ("--jobs", 1, "--trainer", "plain", "--out", out)
    status, errors = run_script(script, *flags, before=limit)
    assert (status, errors.count("\n")) == (2, 1), errors
    assert errors.startswith(f"error: {out / 'mine'}")
    assert "could not write (File too large); nothing" in errors
    status, errors = run_script(script, *flags)
    # Where only the report was missing, there is nothing left to train.
    assert (status, errors) in ((0, ""), (0, f"{out / 'mine'} is complete, nothing is trained.\n"))
    assert_same(out / "mine", plain_reference)


def test_a_full_disk_while_a_cohort_is_compiled(script: Path, reference: Path) -> None:
    """Nothing falls back to uncompiled arithmetic: with room again, the results are the same bytes."""

    def limit() -> None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(script.parent / "cache")
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    flags = ("--jobs", 1, "--out", script.parent)
    status, errors = run_script(script, *flags, before=limit)
    assert (status, errors.count("\n")) == (2, 1), errors
    assert "File too large" in errors
    assert run_script(script, *flags) == (0, "")
    assert_same(script.parent / "mine", reference)


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in told(ONE, tmp_path / "file", capsys)


def test_ctrl_c_and_a_killed_worker(script: Path, reference: Path) -> None:
    """A terminal sends Ctrl-C to the parent and its workers alike; neither leaves a traceback or a process behind."""
    out = script.parent
    arguments = (script, "--jobs", 2, "--out", out)

    def levels() -> int:
        return len(list((out / "mine").glob(".work/*/*/level-*.json")))

    process = start(*arguments)
    wait_for(lambda: levels() >= 1)
    os.killpg(process.pid, signal.SIGINT)
    status, _, errors = finish(process)
    assert (status, errors) == (130, "Stopped. What is finished is kept; the same command goes on from there.\n")
    wait_for(lambda: not session(process.pid))

    before = levels()
    process = start(*arguments)
    wait_for(lambda: levels() > before)
    worker = max(
        pid for pid in session(process.pid) if "--multiprocessing-fork" in Path(f"/proc/{pid}/cmdline").read_text()
    )
    os.kill(worker, signal.SIGKILL)
    status, _, errors = finish(process)
    assert status == 2
    assert re.fullmatch(
        r"error: a worker process died: killed for memory perhaps, .*; what is finished is .*\n", errors
    )
    wait_for(lambda: not session(process.pid))

    assert run_script(script, "--jobs", 1, "--out", out) == (0, "")
    assert_same(out / "mine", reference)


def test_ctrl_c_without_workers(script: Path) -> None:
    def interrupt() -> None:
        wait_for(lambda: list(script.parent.glob("mine/.work/*/*/level-*.json")))
        os.kill(os.getpid(), signal.SIGINT)

    def interrupt_soon() -> None:
        threading.Thread(target=interrupt, daemon=True).start()

    status, errors = run_script(script, "--jobs", 1, "--out", script.parent, before=interrupt_soon)
    assert (status, errors) == (130, "Stopped. What is finished is kept; the same command goes on from there.\n")
