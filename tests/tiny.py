"""Experiments of a few seconds, and how tests start, kill and compare them."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import rl_tickets as rt
from rl_tickets.report import looks
from rl_tickets.report.tables import read_levels
from rl_tickets.training.cohorts import tracing

ROOT = Path(__file__).parent.parent


PATIENCE = 240
"""Seconds, many times what anything takes that is waited for."""
COUNT = "RL_TICKETS_COUNT"
"""Environment variable that names a file."""


class Count(BaseCallback):
    """Appends a byte for every environment step trained, in whichever process, to the file that `counted` names."""

    def _on_step(self) -> bool:
        if name := os.environ.get(COUNT):
            with open(name, "ab", buffering=0) as file:
                file.write(b".")
        return True


@contextmanager
def counted(path: Path) -> Iterator[None]:
    """Environment steps trained meanwhile are counted in a file."""
    path.touch()
    os.environ[COUNT] = str(path)
    try:
        yield
    finally:
        del os.environ[COUNT]


def make_env() -> gym.Env[Any, Any]:
    return gym.make("CartPole-v1")


def make_ppo(seed: int, **changes: Any) -> PPO:
    env = changes.pop("env", None) or VecNormalize(DummyVecEnv([lambda: Monitor(make_env())]))
    settings = {"n_steps": 32, "batch_size": 32, "n_epochs": 2, "policy_kwargs": {"net_arch": [16]}, **changes}
    return PPO("MlpPolicy", env, seed=seed, device="cpu", **settings)


def make_dqn(seed: int) -> DQN:
    settings: dict[str, Any] = {"learning_starts": 20, "batch_size": 16, "buffer_size": 100, "train_freq": 4}
    return DQN("MlpPolicy", make_env(), policy_kwargs={"net_arch": [16]}, seed=seed, device="cpu", **settings)


PPO_EXPERIMENT = rt.Experiment(
    name="tiny",
    make_model=make_ppo,
    make_env=make_env,
    total_timesteps=160,
    densities=(1.0, 0.5, 0.2),
    seeds=2,
    dense_seeds=2,
    searches={
        "imp": rt.IMP(criterion=rt.lamp),
        "late": rt.IMP(criterion=rt.lamp, rewind=rt.Rewind(at=64)),
        "random_reinit": rt.Control(rt.random_reinit),
        "early_bird": rt.IMP(criterion=rt.lamp, early_bird=rt.EarlyBird(every=32, window=1, threshold=0.9)),
    },
    episodes=3,
    random_episodes=20,
    segment=64,
    callback=Count,
)

DQN_EXPERIMENT = replace(
    PPO_EXPERIMENT,
    make_model=make_dqn,
    searches={
        "late": rt.IMP(criterion=rt.lamp, rewind=rt.Rewind(at=60)),
        "permuted": rt.Control(rt.permuted_weights, of="late"),
    },
    segment=50,
    warmup=20,
)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a results folder that must not differ between two runs."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
    volatile = ("timings.csv", ".lock", "tensorboard")
    return {name: file for name, file in files.items() if not name.startswith(volatile)}


def assert_same(folder: Path, reference: Path) -> None:
    """The same files with the same bytes; the names of those that differ otherwise."""
    ours, theirs = contents(folder), contents(reference)
    assert sorted(ours) == sorted(theirs)
    assert [name for name in ours if ours[name] != theirs[name]] == []


FORKSERVER = multiprocessing.get_context("forkserver")
"""Forks a process that has no threads; forks of one that has had Ray, or torch, at work now and then never end."""
# The first optimizer imports `torch._dynamo`, for a second.
FORKSERVER.set_forkserver_preload(["rl_tickets", "sb3_contrib", "torch._dynamo"])


def child(act: Callable[[], object], *, as_here: bool = True) -> BaseProcess:
    """A process that will act where this one stands now, and need not import what takes long.

    As here, it compiles cohorts if they are compiled here, and draws plots as coarsely; otherwise as for a user.
    """
    here = (bool(tracing.compiler()), looks.DPI) if as_here else (True, None)
    return FORKSERVER.Process(target=_act, args=(cloudpickle.dumps(act), dict(os.environ), *here))


def _act(pickled: bytes, environment: dict[str, str], compiling: bool, dpi: int | None) -> None:
    os.environ.clear()
    os.environ.update(environment)
    if not compiling:
        tracing.compiler = lambda: None
    looks.DPI = dpi or looks.DPI
    act: Callable[[], object] = cloudpickle.loads(pickled)
    act()


def forked(
    act: Callable[[], object], kill_when: Callable[[], object] = lambda: False, *, as_here: bool = True
) -> int | None:
    """Exit status of a child process; killed once something has happened."""
    process = child(act, as_here=as_here)
    process.start()
    while process.is_alive() and not kill_when():
        process.join(0.02)
    if process.is_alive():
        process.kill()
    process.join()
    status = process.exitcode
    process.close()
    return status


def run_script(script: Path, *arguments: object, before: Callable[[], object] = lambda: None) -> tuple[int | None, str]:
    """Exit status and stderr of a script run in a child process, as a user runs it."""
    errors = script.parent / "stderr"

    def act() -> None:
        sys.argv = [str(script), *map(str, arguments)]
        with errors.open("w", buffering=1) as sys.stderr, open(os.devnull, "w") as sys.stdout:
            before()
            runpy.run_path(str(script), run_name="__main__")

    return forked(act, as_here=False), errors.read_text()


def trained_steps(folder: Path) -> int:
    """Environment steps that the levels of a results folder took."""
    return sum(row.timesteps for row in read_levels(folder))


def start(script: Path, *arguments: object) -> subprocess.Popen[str]:
    """Runs a script as a user would, in a session of its own."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "COLUMNS": "200"}
    return subprocess.Popen(
        [sys.executable, str(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
        cwd=ROOT,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a script."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def wait_for(happened: Callable[[], object]) -> None:
    """Waits until something has happened."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def session(leader: int) -> list[int]:
    """Processes of a session that are alive (zombies are not)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, its_session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(its_session) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found
