"""Exporting an agent's greedy policy to a file that needs no SB3, and no torch, to be played."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.exact import Exact
from rl_tickets.agents.greedy import demand_stateless, preferences
from rl_tickets.agents.incoming import Incoming, incoming, through_wrappers
from rl_tickets.agents.observations import drawn, recorded
from rl_tickets.deploy.numpy_policy import NumpyPolicy
from rl_tickets.deploy.numpy_writing import write_numpy
from rl_tickets.deploy.onnx_writing import read_onnx, write_onnx
from rl_tickets.deploy.proving import EquivalenceError, demand_near

Array = npt.NDArray[Any]
Play = Callable[[Array], Array]
ALONE = 8
"""Observations that are also played one by one."""


def export(
    model: BaseAlgorithm, path: str | Path, *, observations: Array | None = None, states: int = 1_000, seed: int = 0
) -> Path:
    """Writes an agent's greedy policy for other programs: to `.onnx`, or to `.safetensors` for numpy alone.

    The file takes observations as the agent's environment gives them, shape (rows, ...), and answers actions that the
    environment takes: the statistics of VecNormalize, the order of an image's channels and its scale, squashing,
    unscaling and clipping are in it. An agent that was loaded without its environment has no such statistics: give it
    its environment first. `rt.export(rt.shrink(model), path)` writes no more than is alive.

    An `.onnx` file has an input `observation` and an output `action`. A `.safetensors` file is played by
    `rl_tickets/deploy/numpy_policy.py`, which can be copied beside it and needs numpy and safetensors; of a sparse
    layer it holds the weights that are left, and multiplies sparse rows (with scipy) where that is faster.

    Args:
        model: a torch agent of SB3 or sb3-contrib that is not recurrent, takes no action masks and observes one array.
        path: its suffix says which kind of file; it appears only if it does what `predict` does.
        observations: of the environment, shape (rows, ...); by default those that the agent's buffers hold.
        states: drawn around them, or from the observation space, on which the file is played as well.
        seed: of the draw.

    Raises:
        TypeError: `model` is no SB3 agent.
        ValueError: another suffix.
        ImportError: `.onnx` without the extra `export`.
        WiringError: a recurrent policy, one that takes action masks, observations of several parts, or for numpy a
            module it is not told.
        EquivalenceError: the file answers something else than SB3's `predict`; it is removed.

    Example:
        >>> import tempfile
        >>> from stable_baselines3 import PPO
        >>> from rl_tickets.deploy.numpy_policy import NumpyPolicy
        >>> model = PPO("MlpPolicy", "CartPole-v1", seed=0, device="cpu")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     policy = NumpyPolicy(export(model, folder + "/policy.safetensors"))
        >>> policy.predict([0.0, 0.1, -0.2, 0.0])[0] == model.predict([0.0, 0.1, -0.2, 0.0], deterministic=True)[0]
        np.True_
    """
    if not isinstance(model, BaseAlgorithm):
        raise TypeError(f"what is exported is an SB3 agent, not a {type(model).__name__}")
    path = Path(path)
    kinds: dict[str, tuple[Callable[[BaseAlgorithm, Path], None], Callable[[Path], Play]]] = {
        ".onnx": (write_onnx, read_onnx),
        ".safetensors": (write_numpy, lambda file: lambda seen: NumpyPolicy(file).predict(seen)[0]),
    }
    if path.suffix not in kinds:
        raise ValueError(f"{path.name!r} says no kind of file that a policy is exported to: {', '.join(kinds)}")
    demand_stateless(model)
    write, read = kinds[path.suffix]
    beside = path.with_name(f".{path.name}.unchecked{path.suffix}")
    try:
        write(model, beside)
        way = incoming(model)
        for raw in _given(model, way, observations, states, seed):
            _demand_same(model, read(beside), raw)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return path


def _given(model: BaseAlgorithm, way: Incoming, observations: Array | None, states: int, seed: int) -> list[Array]:
    """Observations as the environment gives them."""
    near = way.see(np.asarray(observations)) if observations is not None else recorded(model, states, seed)
    found = [way.raw(np.asarray(drawn(model, states, seed, near)))]
    if observations is not None:
        found.append(np.asarray(observations, dtype=way.space.dtype))
    elif near is not None:
        found.append(way.raw(np.asarray(near)))
    return found


def _demand_same(model: BaseAlgorithm, play: Play, raw: Array) -> None:
    """Played as one batch, and some observations one by one."""
    seen = through_wrappers(model.get_env(), raw)
    wanted, _ = model.predict(seen, deterministic=True)
    alone = [slice(row, row + 1) for row in range(min(ALONE, len(raw)))]
    for rows in [slice(None), *alone]:
        said = play(raw[rows])
        if said.shape != wanted[rows].shape:
            raise EquivalenceError(f"the file's actions have shape {said.shape} where SB3's have {wanted[rows].shape}")
        if isinstance(model.action_space, spaces.Box):
            demand_near("the file's actions", wanted[rows], said)
        else:
            _demand_same_choices(model, seen[rows], wanted[rows], said)


def _demand_same_choices(model: BaseAlgorithm, seen: Array, wanted: Array, said: Array) -> None:
    """The same discrete actions; where the better of two is a matter of rounding, either."""
    other = np.flatnonzero((said != wanted).reshape(len(said), -1).any(1))
    if not len(other):
        return
    worth = preferences(model.action_space, Exact(model).weigh(seen[other]))
    pairs = zip(worth, wanted[other].reshape(len(other), -1).T, said[other].reshape(len(other), -1).T, strict=True)
    for values, best, chosen in pairs:
        index = np.arange(len(other))
        best, chosen = best.astype(np.int64), chosen.astype(np.int64)
        demand_near("what the file's actions are worth", values[index, best], values[index, chosen])
