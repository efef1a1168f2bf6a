"""A tree of plain data and arrays in one checksummed safetensors file: loading one can run no code."""

import errno
import hashlib
import json
import os
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

Tensors = dict[str, torch.Tensor]


def is_plain(value: object) -> bool:
    """Whether a value can be stored: plain data, arrays and tensors, and containers of these."""
    if value is None or type(value) in (bool, int, float, str) or isinstance(value, np.generic):
        return True
    if isinstance(value, torch.Tensor):
        return True
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf"
    if type(value) in (list, tuple, deque):
        return all(is_plain(item) for item in value)  # type: ignore[attr-defined]
    if type(value) is dict:
        return all(type(key) in (str, int) and is_plain(item) for key, item in value.items())
    return False


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all: beside, fsync, rename.

    Raises:
        OSError: one sentence that names the file; what stood there before is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        way_out = "free some space" if error.errno == errno.ENOSPC else "make it writable"
        raise OSError(
            error.errno,
            f"could not write ({error.strerror}); nothing was lost, {way_out} and run again",
            str(path),
        ) from error


def write(path: Path, tree: dict[str, Any]) -> None:
    """Stores a tree (see `is_plain`) whole or not at all; the same tree gives the same bytes."""
    tensors: Tensors = {}
    structure = json.dumps(_encode(tree, tensors), separators=(",", ":"))
    # One metadata entry only: safetensors does not keep the order of several.
    header = {"rl_tickets": json.dumps({"tree": structure, "sha256": _digest(structure, tensors)})}
    write_whole(path, save(tensors, metadata=header))


def read(path: Path) -> dict[str, Any]:
    """The tree that `write` stored.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is truncated, altered, or none of ours.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        header = json.loads(metadata["rl_tickets"])
        structure, digest = header["tree"], header["sha256"]
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path} is truncated, altered or not a file of rl_tickets; make it again") from error
    if _digest(structure, tensors) != digest:
        raise ValueError(f"{path} was altered: its checksum does not fit; make it again")
    tree = _decode(json.loads(structure), tensors)
    assert isinstance(tree, dict)
    return tree


def _digest(structure: str, tensors: Tensors) -> str:
    digest = hashlib.sha256(structure.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _encode(value: Any, tensors: Tensors) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, torch.Tensor):
        return {"tensor": _keep(value.detach().cpu(), tensors)}
    if isinstance(value, np.generic):
        return {"scalar": _keep(torch.from_numpy(np.array(value)), tensors)}
    if isinstance(value, np.ndarray):
        return {"array": _keep(torch.from_numpy(np.ascontiguousarray(value)).reshape(value.shape), tensors)}
    if type(value) is dict:
        return {"dict": [[key, _encode(item, tensors)] for key, item in value.items()]}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_encode(item, tensors) for item in value]}
    if type(value) is deque:
        return {"deque": [_encode(item, tensors) for item in value], "maxlen": value.maxlen}
    raise TypeError(f"{type(value).__name__} is not plain data and cannot be stored")


def _keep(tensor: torch.Tensor, tensors: Tensors) -> str:
    name = f"{len(tensors):05d}"
    # A clone: safetensors refuses tensors that share memory, as shared extractors do.
    tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
    return name


def _decode(value: Any, tensors: Tensors) -> Any:
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return tensors[content].numpy()
    if kind == "scalar":
        return tensors[content].numpy()[()]
    if kind == "dict":
        return {key: _decode(item, tensors) for key, item in content}
    decoded = [_decode(item, tensors) for item in content]
    if kind == "deque":
        return deque(decoded, maxlen=value["maxlen"])
    return tuple(decoded) if kind == "tuple" else decoded
