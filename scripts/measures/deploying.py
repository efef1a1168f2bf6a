"""What a shrunk or exported policy is faster and smaller by, on one thread: 17 observations, 2x256, 6 actions."""

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from stable_baselines3 import PPO, SAC
from stable_baselines3.common.base_class import BaseAlgorithm

import rl_tickets as rt
from measures.rows import Row, ratios, row
from rl_tickets.agents.holding import held_mask
from rl_tickets.deploy.numpy_policy import NumpyPolicy
from rl_tickets.deploy.onnx_writing import ort_session, read_onnx
from rl_tickets.training.runs import Setting, TrainingRun
from rl_tickets.training.trainers import learn

DENSITY, NEURONS = 0.05, 64
Play = Callable[[np.ndarray], Any]


class Still(gym.Env[Any, Any]):
    """The sizes of HalfCheetah, in which nothing happens."""

    observation_space = spaces.Box(-np.inf, np.inf, (17,))
    action_space = spaces.Box(-1, 1, (6,))

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.np_random.standard_normal(17).astype(np.float32), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.np_random.standard_normal(17).astype(np.float32), float(action[0]), False, False, {}


def make_ppo() -> PPO:
    return PPO("MlpPolicy", Still(), policy_kwargs={"net_arch": [256, 256]}, seed=0, device="cpu")


def make_sac() -> SAC:
    settings: dict[str, Any] = {"buffer_size": 2_000, "learning_starts": 1_000}
    return SAC("MlpPolicy", Still(), policy_kwargs={"net_arch": [256, 256]}, seed=0, device="cpu", **settings)


def sparse(model: BaseAlgorithm, density: float, scope: Any = "global") -> BaseAlgorithm:
    """A mask of single weights, by the default criterion: of all layers together, or the same density in each."""
    weights = {name: model.policy.get_parameter(name) for name in rt.Mask.dense(model)}
    rt.hold(model, rt.prune(weights, density, criterion=rt.lamp, scope=scope).mask)
    return model


def narrow(model: BaseAlgorithm) -> BaseAlgorithm:
    """A quarter of the neurons of every hidden layer."""
    units = rt.neurons(model)
    rt.hold(model, units.keep([unit.index < NEURONS for unit in units], rt.Mask.dense(model)))
    return model


@dataclass(frozen=True)
class Player:
    """A way to play a policy."""

    play: Play

    def seconds(self, rows: int) -> Callable[[], float]:
        """Of one call with so many observations."""
        seen = np.random.default_rng(0).standard_normal((rows, 17)).astype(np.float32)
        calls = 2_000 if rows == 1 else 20

        def measure() -> float:
            self.play(seen)
            began = time.perf_counter()
            for _ in range(calls):
                self.play(seen)
            return (time.perf_counter() - began) / calls

        return measure


def bound_onnx(path: Path) -> Play:
    """A policy with its input bound once and for all, as a control loop has it: without onnxruntime's own look-ups."""
    session, seen, said = ort_session(path), np.zeros((1, 17), np.float32), np.zeros((1, 6), np.float32)
    binding = session.io_binding()
    binding.bind_input("observation", "cpu", 0, np.float32, seen.shape, seen.ctypes.data)
    binding.bind_output("action", "cpu", 0, np.float32, said.shape, said.ctypes.data)

    def play(observation: np.ndarray) -> np.ndarray:
        seen[:] = observation
        session.run_with_iobinding(binding)
        return said

    return play


SMALL = {
    f"density {DENSITY} (LAMP)": lambda: sparse(make_ppo(), DENSITY),
    f"density {DENSITY} in each layer": lambda: sparse(make_ppo(), DENSITY, "layer"),
    "a quarter of the neurons": lambda: narrow(make_ppo()),
}


def deployed(pairs: int) -> Iterator[Row]:
    """Latency of a single observation, and of a batch; what is small was shrunk before it was exported."""
    with tempfile.TemporaryDirectory() as folder:
        dense = make_ppo()
        predict = Player(lambda seen: dense.predict(seen, deterministic=True))
        path = rt.export(dense, Path(folder) / "dense.onnx")
        onnx, bound = Player(read_onnx(path)), Player(bound_onnx(path))
        for rows in (1, 1_024):
            for name, player in (("SB3's predict", predict), ("dense ONNX", onnx)):
                values = [1e6 * player.seconds(rows)() for _ in range(pairs)]
                yield row(f"batch {rows}: {name}, microseconds", values, "beside")
        for name, make in SMALL.items():
            model = rt.shrink(make())
            path = rt.export(model, Path(folder) / "small.onnx")
            numpy = Player(NumpyPolicy(rt.export(model, Path(folder) / "small.safetensors")).predict)
            single = {"ONNX": (Player(read_onnx(path)), onnx), "bound ONNX": (Player(bound_onnx(path)), bound)}
            for kind, (player, other) in {**single, "numpy": (numpy, onnx)}.items():
                values = ratios(player.seconds(1), predict.seconds(1), pairs)
                yield row(f"batch 1: {name}, {kind} / SB3's predict", values, "<= 0.05")
                values = ratios(player.seconds(1), other.seconds(1), pairs)
                yield row(f"batch 1: {name}, {kind} / dense {kind.replace('numpy', 'ONNX')}", values, "<= 1")
            for kind, player in (("ONNX", single["ONNX"][0]), ("numpy", numpy)):
                values = ratios(onnx.seconds(1_024), player.seconds(1_024), pairs)
                yield row(f"batch 1024: dense ONNX / {name}, {kind}", values, ">= 5" if "neurons" in name else ">= 2")


def exported_bytes(pairs: int) -> Iterator[Row]:
    """File size for each kept weight, which is to be the same at any density."""
    with tempfile.TemporaryDirectory() as folder:
        for density in (1.0, 0.2, 0.1, 0.05):
            model = sparse(make_ppo(), density)
            path = rt.export(model, Path(folder) / "policy.safetensors")
            names = [name for name in rt.Mask.dense(model) if "value" not in name]
            kept = sum(int(model.policy.get_parameter(name).count_nonzero()) for name in names)
            yield row(f"exported bytes a kept weight, density {density}", [path.stat().st_size / kept], "the same")


def shrunk_training(pairs: int) -> Iterator[Row]:
    """Gradient steps of a level with a quarter of the neurons, against the dense level's."""
    for name, make, goal in (("SAC", make_sac, "<= 0.5"), ("PPO", make_ppo, "beside")):
        agents = [make().learn(2_048), rt.shrink(narrow(make().learn(2_048)))]
        agents[1].learn(2_048, reset_num_timesteps=False)  # Its rollout buffer was empty.
        dense, small = (lambda model=model: gradient_seconds(model) for model in agents)
        yield row(f"{name} 2x256: gradient time, a quarter of the neurons / dense", ratios(small, dense, pairs), goal)


def trimmed_level(pairs: int) -> Iterator[Row]:
    """A level of `rt.ShrinkingIMP` with a quarter of the neurons, against one with all: all of its training."""
    for name, make, goal in (("SAC", make_sac, "<= 0.5"), ("PPO", make_ppo, "beside")):
        model = make()
        start = rt.TrainingState.capture(model, replay_buffer=False)
        whole = rt.Ticket(rt.Mask.dense(model), start.policy, {}, {})
        quarter = replace(whole, mask=held_mask(narrow(model)))
        all_of_it, small = (partial(level_seconds, make, ticket, start) for ticket in (whole, quarter))
        yield row(
            f"{name} 2x256: a trimmed level, a quarter of the neurons / all", ratios(small, all_of_it, pairs), goal
        )


def level_seconds(make: Callable[[], BaseAlgorithm], ticket: rt.Ticket, start: rt.TrainingState) -> float:
    """CPU seconds in which an agent trains 4,096 environment steps."""
    run = TrainingRun(
        Setting(lambda seed: make(), 0, 4_096), rt.Training(1, ticket=ticket, start=start, trim=rt.Trimmed)
    )
    began = time.process_time()
    learn(run)
    return time.process_time() - began


def gradient_seconds(model: Any) -> float:
    """CPU seconds of the gradient steps of a while."""
    began = time.process_time()
    if isinstance(model, SAC):
        model.train(gradient_steps=100, batch_size=256)
    else:
        model.n_epochs = 4
        model.train()
    return time.process_time() - began
