"""A policy that `rl_tickets.export(model, "policy.safetensors")` wrote, played with numpy alone.

This file needs nothing of rl_tickets: copy it beside the policy. numpy and safetensors are enough, scipy where layers
are sparse.
"""

import json
from typing import Any

import numpy as np
from safetensors import safe_open

SPARSE_BELOW, MANY_ROWS = 0.15, 32
"""Layers of at most this density are multiplied as sparse rows where a batch is at least so large."""
BLOCK = 256
"""Rows of a batch that are played at once: what passes between layers stays in the cache."""
MODULES: dict[str, Any] = {
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "LeakyReLU": lambda x: np.where(x > 0, x, np.float32(0.01) * x),
    "ELU": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "SiLU": lambda x: x / (1 + np.exp(-x)),
    "Softplus": lambda x: np.logaddexp(x, np.float32(0)),
}


class NumpyPolicy:
    """Greedy actions for observations as the environment gives them.

    Args:
        path: of the policy file; no code in it can run.

    Used as `action, _ = NumpyPolicy("policy.safetensors").predict(observation)`.
    """

    def __init__(self, path: Any) -> None:
        with safe_open(str(path), framework="numpy") as file:
            about = json.loads(file.metadata()["policy"])
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self._shape = tuple(about["observation"])
        self._steps = [*(_step(step, arrays) for step in about["steps"]), _decision(about, arrays)]

    def predict(self, observation: Any, *args: Any, **kwargs: Any) -> tuple[Any, None]:
        """The action of one observation, or actions of a batch, shape (rows, ...); SB3's signature."""
        seen = np.asarray(observation)
        if seen.shape == self._shape:
            return self._act(seen[None])[0], None
        rows = seen.reshape(-1, *self._shape)
        if len(rows) <= BLOCK:
            return self._act(rows), None
        return np.concatenate([self._act(rows[first : first + BLOCK]) for first in range(0, len(rows), BLOCK)]), None

    def _act(self, said: Any) -> Any:
        for step in self._steps:
            said = step(said)
        return said


def _decision(about: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """The last step: from outputs, shape (outputs, rows) or (outputs,), to actions, shape (rows, ...)."""
    groups, shape = about["groups"], (-1, *about["action"])
    match about["decide"]:
        case "argmax":
            ends = np.cumsum(groups)[:-1]
            return lambda x: np.stack([part.argmax(0) for part in np.split(x, ends)], -1).reshape(shape)
        case "quantiles":
            return lambda x: x.reshape(groups[0], -1, *x.shape[1:]).mean(0).argmax(0).reshape(shape)
        case "positive":
            return lambda x: (x > 0).astype(np.int8).T.reshape(shape)
    low, high = arrays["low"].reshape(-1), arrays["high"].reshape(-1)
    if about["decide"] == "unscale":
        return lambda x: (low + 0.5 * (x.T + 1) * (high - low)).reshape(shape)
    return lambda x: np.minimum(np.maximum(x.T, low), high).reshape(shape)


def _step(step: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """One step of a policy as a function; from `columns` on, observations are columns, or one vector."""
    match step["do"]:
        case "normalize":
            mean, scale, clip = arrays["mean"], arrays["scale"], step["clip"]
            return lambda x: np.clip((x - mean) / scale, -clip, clip).astype(np.float32)
        case "channels_first":
            return lambda x: np.moveaxis(x, -1, 1)
        case "one_hot":
            eyes = [np.eye(size, dtype=np.float32) for size in step["sizes"]]
            return lambda x: np.concatenate([e[k] for e, k in zip(eyes, x.reshape(len(x), -1).T, strict=True)], 1)
        case "divide":
            return lambda x: x.astype(np.float32) / np.float32(step["by"])
        case "clip":
            return lambda x: np.clip(x, step["low"], step["high"])
        case "columns":
            return lambda x: np.asarray(x, np.float32).reshape(-1 if len(x) == 1 else (len(x), -1)).T
        case "linear":
            return _linear(*_weights(step["name"], step["shape"], arrays), arrays[step["name"] + ".bias"])
    return MODULES[step["do"]]


def _linear(dense: Any, sparse: Any, bias: Any) -> Any:
    """A layer, of one observation or of many."""
    biases = bias[:, None]
    times = dense.dot  # Of one vector, half a microsecond faster than `@`.

    def layer(x: Any) -> Any:
        if x.ndim == 1:
            return times(x) + bias
        said = (dense if sparse is None or x.shape[1] < MANY_ROWS else sparse) @ x
        return np.add(said, biases, out=said)

    return layer


def _weights(name: str, shape: list[int], arrays: dict[str, Any]) -> tuple[Any, Any]:
    """A layer's weights as dense rows, and as sparse ones where those are ever faster."""
    if name in arrays:
        return arrays[name], None
    values, columns, starts = (arrays[f"{name}.{part}"] for part in ("values", "columns", "starts"))
    dense = np.zeros(shape, dtype=np.float32)
    dense[np.repeat(np.arange(shape[0]), np.diff(starts)), columns] = values
    if len(values) > SPARSE_BELOW * dense.size:
        return dense, None
    from scipy.sparse import csr_array

    return dense, csr_array((values, columns.astype(np.int32), starts), shape=tuple(shape))
