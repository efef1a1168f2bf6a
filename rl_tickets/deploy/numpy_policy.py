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
BLOCK = 512
"""Rows of a batch that are played at once: what passes between layers stays in the cache."""
MODULES: dict[str, Any] = {
    "Tanh": np.tanh,
    "ReLU": lambda x, out=None: np.maximum(x, 0, out=out),
    "LeakyReLU": lambda x, out=None: np.maximum(x, np.float32(0.01) * x, out=out),
    "ELU": lambda x, out=None: np.add(np.maximum(x, 0), np.expm1(np.minimum(x, 0)), out=out),
    "Sigmoid": lambda x, out=None: np.divide(1, 1 + np.exp(-x), out=out),
    "SiLU": lambda x, out=None: np.divide(x, 1 + np.exp(-x), out=out),
    "Softplus": lambda x, out=None: np.logaddexp(x, np.float32(0), out=out),
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
        self._with_one, self._with_many = zip(*(_step(step, arrays) for step in about["steps"]), strict=True)
        self._decide = _decision(about, arrays)

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
        if len(said) == 1:
            for step in self._with_one:
                said = step(said)
            return self._decide(said)
        for step in self._with_many:
            said = step(said)
        return self._decide(said[:-1])


def _decision(about: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """From outputs, shape (outputs, rows) or (outputs,), to actions, shape (rows, ...)."""
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


def _step(step: dict[str, Any], arrays: dict[str, Any]) -> tuple[Any, Any]:
    """One step of a policy as a function of one observation, and of many.

    From `columns` on, one is a vector, and many are columns that end in a 1: a layer's product adds its biases to them.
    """
    match step["do"]:
        case "columns":
            return lambda x: np.asarray(x, np.float32).reshape(-1), _columns
        case "linear":
            return _linear(_weights(step["name"], step["shape"], arrays), arrays[step["name"] + ".bias"])
        case "clip":
            return _elementwise(lambda x, out=None: np.clip(x, step["low"], step["high"], out=out))
        case name if name in MODULES:
            return _elementwise(MODULES[name])
    seen = _seeing(step, arrays)
    return seen, seen


def _seeing(step: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """What happens to observations, shape (rows, ...), before they are columns."""
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
    raise ValueError(f"this file does not know the step {step['do']!r}: copy a newer numpy_policy.py beside the policy")


def _columns(x: Any) -> Any:
    """Many observations, one a column, above a row of ones."""
    rows = x.reshape(len(x), -1)
    columns = np.ones((rows.shape[1] + 1, len(rows)), np.float32)
    columns[:-1] = rows.T
    return columns


def _elementwise(function: Any) -> tuple[Any, Any]:
    """What is done to each number, and to all but the ones."""

    def in_place(x: Any) -> Any:
        function(x[:-1], out=x[:-1])
        return x

    return function, in_place


def _linear(weights: Any, bias: Any) -> tuple[Any, Any]:
    """A layer, whose product with many columns gives their ones again."""
    last = np.eye(1, weights.shape[1] + 1, weights.shape[1], np.float32)
    few = many = np.vstack([np.hstack([weights, bias[:, None]]), last])
    if np.count_nonzero(weights) <= SPARSE_BELOW * weights.size:
        from scipy.sparse import csr_array

        many = csr_array(few)
    times = weights.dot  # Of one vector, half a microsecond faster than `@`.
    return lambda x: times(x) + bias, lambda x: (few if x.shape[1] < MANY_ROWS else many) @ x


def _weights(name: str, shape: list[int], arrays: dict[str, Any]) -> Any:
    """A layer's weights, which are stored as sparse rows where that is smaller."""
    if name in arrays:
        return arrays[name]
    values, columns, starts = (arrays[f"{name}.{part}"] for part in ("values", "columns", "starts"))
    weights = np.zeros(shape, dtype=np.float32)
    weights[np.repeat(np.arange(shape[0]), np.diff(starts)), columns] = values
    return weights
