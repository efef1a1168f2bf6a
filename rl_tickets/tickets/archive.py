"""A tree of plain data and arrays in one checksummed safetensors file: loading one can run no code."""

import errno
import hashlib
import json
import os
import uuid
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

Tensors = dict[str, torch.Tensor]


def is_plain(value: object) -> bool:
    """Whether a value can be stored: plain data, real-valued arrays and tensors, and containers of these."""
    if value is None or type(value) in (bool, int, float, str):
        return True
    if isinstance(value, torch.Tensor):
        return value.layout == torch.strided and not value.is_complex() and not value.is_quantized
    if isinstance(value, np.ndarray | np.generic):
        return value.dtype.kind in "biuf" and value.dtype.itemsize <= 8
    if type(value) in (list, tuple, deque):
        return all(is_plain(item) for item in value)  # type: ignore[attr-defined]
    if type(value) is dict:
        return all(type(key) in (str, int) and is_plain(item) for key, item in value.items())
    return False


def raw_bytes(tensor: torch.Tensor) -> memoryview:
    """A tensor's values as bytes, whatever its dtype and strides."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file that appears whole or not at all: beside, fsync, rename.

    Raises:
        OSError: one sentence that names the file; what stood there before is untouched.
    """
    # Processes on two machines may have one number.
    beside = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        way_out = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "make it writable"
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
    header = json.dumps({"tree": structure, "sha256": _digest(structure, tensors)}, separators=(",", ":"))
    write_whole(path, save(tensors, metadata={"rl_tickets": header}))


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
        structure, digest = str(header["tree"]), header["sha256"]
    except (SafetensorError, KeyError, TypeError, ValueError, OSError) as error:
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
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def _encode(value: Any, tensors: Tensors) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if type(value) is dict:
        strange = [key for key in value if type(key) not in (str, int)]
        if strange:
            raise TypeError(f"a dict with the key {strange[0]!r} is not plain data and cannot be stored")
        return {"dict": [[key, _encode(item, tensors)] for key, item in value.items()]}
    if type(value) in (list, tuple):
        return {type(value).__name__: [_encode(item, tensors) for item in value]}
    if type(value) is deque:
        return {"deque": [_encode(item, tensors) for item in value], "maxlen": value.maxlen}
    if not is_plain(value):
        kind = f"{type(value).__name__} of {value.dtype}" if hasattr(value, "dtype") else type(value).__name__
        raise TypeError(f"a {kind} is not plain data and cannot be stored")
    if isinstance(value, torch.Tensor):
        return {"tensor": _keep(value.detach().cpu(), tensors)}
    native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
    return {"array" if isinstance(value, np.ndarray) else "scalar": _keep(torch.from_numpy(native), tensors)}


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
