"""A real Ray cluster of two nodes on this machine: one dies in the middle, and the bytes are those of one process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import ray
from ray.cluster_utils import Cluster
from stable_baselines3.common.callbacks import BaseCallback
from tiny import PPO_EXPERIMENT, ROOT, assert_same, make_env, run_script, wait_for

import rl_tickets as rt
from rl_tickets.lab.ray_executor import TRIES, RayExecutor

GATE = "RL_TICKETS_GATE"
"""Environment variable that names a folder, where the workers of the cluster say what they do."""
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20, "include_dashboard": False}


class Gate(BaseCallback):
    """On Ray, says where each training begins, and waits past its first checkpoint while the gate is closed."""

    def _on_training_start(self) -> None:
        if (gate := os.environ.get(GATE)) and ray.is_initialized():
            with (Path(gate) / "begun").open("a") as file:
                file.write(f"{ray.get_runtime_context().get_node_id()} {self.num_timesteps}\n")

    def _on_step(self) -> bool:
        if (gate := os.environ.get(GATE)) and ray.is_initialized() and self.num_timesteps > 100:
            (Path(gate) / f"waiting-{os.getpid()}").write_text(ray.get_runtime_context().get_node_id())
            while (Path(gate) / "closed").exists():
                time.sleep(0.05)
        return True


EXPERIMENT = replace(
    PPO_EXPERIMENT,
    trainer=rt.Plain(),  # Every seed is a group of its own.
    searches={"imp": rt.IMP(criterion=rt.lamp), "random_reinit": rt.Control(rt.random_reinit)},
    densities=(1.0, 0.5),
    callback=Gate,
)

SCRIPT = textwrap.dedent(
    """
    import os
    import time
    from pathlib import Path

    import gymnasium as gym
    from stable_baselines3 import PPO

    import rl_tickets as rt


    def make_env():
        if gate := os.environ.get("RL_TICKETS_GATE"):
            Path(gate, f"waiting-{os.getpid()}").touch()
            while Path(gate, "closed").exists():
                time.sleep(0.05)
        return gym.make("CartPole-v1")


    def make_model(seed):
        return PPO("MlpPolicy", make_env(), n_steps=32, batch_size=32, n_epochs=1, seed=seed, device="cpu")


    experiment = rt.Experiment(
        name="tiny",
        make_model=make_model,
        make_env=make_env,
        total_timesteps=64,
        densities=(1.0, 0.5),
        seeds=1,
        dense_seeds=1,
        searches={"imp": rt.IMP()},
        episodes=2,
        random_episodes=20,
        trainer=rt.Plain(),
    )

    if __name__ == "__main__":
        rt.main(experiment)
    """
)


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gate")


@pytest.fixture(scope="module")
def cluster(gate: Path) -> Iterator[Cluster]:
    """One node, to which tests add others; what it starts inherits the environment of the moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(GATE, str(gate))
        patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # Whatever else this machine's memory is used for.
        cluster = Cluster(initialize_head=True, head_node_args=NODE)
        yield cluster
        cluster.shutdown()


@pytest.fixture
def closed(gate: Path) -> Iterator[Path]:
    """The closed gate; whoever waits there may go on when its file is deleted."""
    for path in gate.iterdir():
        path.unlink()
    (gate / "closed").touch()
    yield gate / "closed"
    (gate / "closed").unlink(missing_ok=True)


def waiting(gate: Path) -> dict[int, str]:
    """Processes that wait there, with their nodes."""
    return {int(path.name.removeprefix("waiting-")): path.read_text() for path in gate.glob("waiting-*")}


def at_work(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_node_dies_in_the_middle(cluster: Cluster, gate: Path, closed: Path, tmp_path: Path) -> None:
    rt.run(EXPERIMENT, jobs=1, out=tmp_path / "here")
    second = cluster.add_node(**NODE)

    def kill_one() -> None:
        try:
            wait_for(lambda: len(waiting(gate)) == 2)
            cluster.remove_node(second, allow_graceful=False)
            wait_for(lambda: sum(map(at_work, waiting(gate))) == 1)
        finally:
            closed.unlink()

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    with RayExecutor(cluster.address) as executor:
        summary = rt.run(EXPERIMENT, executor=executor, out=tmp_path / "there")
    killer.join()
    assert summary.name == "tiny"
    assert_same(tmp_path / "there" / "tiny", tmp_path / "here" / "tiny")
    assert not (tmp_path / "there" / "tiny" / ".work").exists()
    begun = [line.split() for line in (gate / "begun").read_text().splitlines()]
    (lost,) = {node for node, _ in begun} - {cluster.head_node.node_id}
    assert lost == second.node_id
    resumed = [int(steps) for node, steps in begun if node != lost]
    assert begun.count([lost, "0"]) == 1
    assert resumed.count(64) + resumed.count(128) > 0, "what the dead node had begun went on from its checkpoint"


def dies(gate: Path) -> None:
    (gate / f"died-{os.getpid()}").touch()
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_kills_every_worker_is_given_up(cluster: Cluster, gate: Path) -> None:
    with RayExecutor(cluster.address) as executor:
        told = r"^Ray gave a task up \(.+\); what is finished is kept, run again to go on$"
        with pytest.raises(RuntimeError, match=told):
            executor.submit(dies, gate).result(timeout=300)
    assert len(list(gate.glob("died-*"))) == TRIES


def raising(parent: int, gate: Path) -> gym.Env[Any, Any]:
    """Cannot be made on the cluster once another task waits at the gate."""
    if os.getpid() != parent:
        wait_for(lambda: waiting(gate))
        raise ValueError("no such level")
    return make_env()


def make_first_raising(parent: int, gate: Path, seed: int) -> Any:
    """Agents of which one ends the experiment while another is at work."""
    if seed == 0:
        raising(parent, gate)
    return EXPERIMENT.make_model(seed)


def test_what_fails_ends_what_runs_beside_it(cluster: Cluster, gate: Path, closed: Path, tmp_path: Path) -> None:
    """The error is the one that was raised there, in its own words; the cluster stays."""
    second = cluster.add_node(**NODE)
    failing = replace(EXPERIMENT, make_model=partial(make_first_raising, os.getpid(), gate))
    with RayExecutor(cluster.address) as executor:
        with pytest.raises(ValueError, match=r"^no such level$"):
            rt.run(failing, executor=executor, out=tmp_path)
        (other,) = waiting(gate)
        wait_for(lambda: not at_work(other))
        assert executor.submit(os.getpid).result() != other
    cluster.remove_node(second)


def start(script: Path, *arguments: object) -> subprocess.Popen[str]:
    """Runs a script as a user would, who does not know of the gate."""
    environment = {name: value for name, value in os.environ.items() if name != GATE}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_script_stopped_and_gone_on_with(
    cluster: Cluster, gate: Path, closed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C ends what runs on the cluster, and the cluster is there when the same command is given again."""
    script, flags = tmp_path / "script.py", ("--ray", cluster.address, "--out", tmp_path / "there")
    script.write_text(SCRIPT)
    stopped = start(script, *flags)
    wait_for(lambda: waiting(gate))
    (worker,) = waiting(gate)
    stopped.send_signal(signal.SIGINT)
    out, err = stopped.communicate(timeout=300)
    assert stopped.returncode == 130, err
    assert err == "Stopped. What is finished is kept; the same command goes on from there.\n"
    wait_for(lambda: not at_work(worker))
    closed.unlink()
    again = start(script, *flags)
    out, err = again.communicate(timeout=300)
    assert (again.returncode, err) == (0, "")
    assert " 2.0 of 2 levels" in out
    assert f"Report      {tmp_path / 'there' / 'tiny' / 'report.md'}\n" in out
    monkeypatch.delenv(GATE)
    assert run_script(script, "--jobs", 1, "--out", tmp_path / "here") == (0, "")
    assert_same(tmp_path / "there" / "tiny", tmp_path / "here" / "tiny")


def complaint(address: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        rt.main(EXPERIMENT, extra="box2d", arguments=["--ray", address, "--out", str(tmp_path)])
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())
    return err


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "there is no Ray cluster at 127.0.0.1:1 ([Errno 111] Connection refused)"),
        ("ray://127.0.0.1:1", "there is no Ray cluster at ray://127.0.0.1:1 ([Errno 111] Connection refused)"),
        ("127.0.0.1:99999", "there is no Ray cluster at 127.0.0.1:99999 ("),
        ("nonsense", "cannot reach a Ray cluster at nonsense (Invalid address format: nonsense)"),
        ("", "cannot reach a Ray cluster at  ("),
    ],
)
def test_no_cluster_there(address: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert complaint(address, tmp_path, capsys).startswith(f"error: {told}")


def test_ray_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # As the import machinery has it where a module is missing.
    told = "error: a Ray cluster needs ray: pip install -c constraints.txt -e '.[ray]'\n"
    assert complaint("auto", tmp_path, capsys) == told
