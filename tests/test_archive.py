"""The archive: what goes in comes out, the same bytes each time, and no damaged or foreign file is believed."""

import json
import math
import os
import pickle
import resource
import stat
import subprocess
import sys
import zipfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from rl_tickets.tickets import archive

BROKEN = r"is truncated, altered or not a file of rl_tickets; make it again|was altered: its checksum does not fit"


def same(one: Any, two: Any) -> bool:
    """Equal in type, dtype, shape and bits, through and through."""
    if type(one) is not type(two):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and one.shape == two.shape and archive.raw_bytes(one) == archive.raw_bytes(two)
    if isinstance(one, np.ndarray | np.generic):
        return bool(one.dtype == two.dtype and one.shape == two.shape and one.tobytes() == two.tobytes())
    if isinstance(one, dict):
        return list(one) == list(two) and same(list(one.values()), list(two.values()))
    if isinstance(one, list | tuple | deque):
        limits = getattr(one, "maxlen", None) == getattr(two, "maxlen", None)
        return limits and len(one) == len(two) and all(map(same, one, two))
    return bool(one == two) or (one != one and two != two)


def everything() -> dict[str, Any]:
    integers = {str(np.dtype(kind)): np.array([[0, 1, 100]], kind) for kind in "bhilBHIL"}
    floats = {str(np.dtype(kind)): np.array([0.1, -0.0, np.nan, np.inf], kind) for kind in "efd"}
    tensors = {
        str(kind): torch.tensor([0, 1, 2]).to(kind)
        for kind in (torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64)
    }
    return {
        "none": None,
        "truths": [True, False],
        "integers": [0, -1, 2**80],
        "floats": [0.1, -0.0, 1e-320, math.nan, math.inf, -math.inf],
        "strings": ["", "Erdős 雪 \U0001f600", '"\\\n\0', "\ud800"],
        "containers": [[], (), {}, deque(), deque([1, 2, 3], maxlen=3), (1, [2, (3,)], deque([{"x": (4,)}]))],
        "int keys": {0: "a", -5: {1: "b"}, "0": "c"},
        "like the file's own": {"tensor": "00000", "dict": [["a", 1]], "list": {"deque": [], "maxlen": 2}},
        "scalars": [np.float32(0.1), np.float64(np.nan), np.int64(-3), np.uint8(255), np.bool_(True), np.float16(2)],
        "arrays": {**integers, **floats, "bool": np.array([True, False])},
        "tensors": tensors,
        "corners": {
            "0-d array": np.array(1.5),
            "0-d tensor": torch.tensor(True),
            "empty array": np.zeros((0, 3), np.float32),
            "empty tensor": torch.zeros(2, 0, dtype=torch.int64),
        },
    }


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "some.file"
    archive.write(
        path, {"weights": torch.arange(6.0).reshape(2, 3), "steps": [1, (2.5, "é")], "bits": np.ones(3, bool)}
    )
    return path


# --- what goes in comes out ------------------------------------------------------------------------------


def test_everything_plain_comes_back_in_type_and_bits(tmp_path: Path) -> None:
    tree = everything()
    assert archive.is_plain(tree)
    archive.write(tmp_path / "file", tree)
    back = archive.read(tmp_path / "file")
    for name in tree:
        assert same(back[name], tree[name]), name
    assert list(back) == list(tree)


def test_awkward_memory_comes_back_as_plain_values(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    tree: dict[str, Any] = {
        "alias": base,
        "same alias": base,
        "transposed": base.T,
        "strided": base[::2, 1:],
        "parameter": torch.nn.Parameter(torch.ones(2)),
        "backwards": np.arange(6)[::-1],
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big end first": np.arange(3, dtype=">f4"),
        "frozen": frozen,
        "broadcast": np.broadcast_to(np.float32(3), (2, 2)),
    }
    archive.write(tmp_path / "file", tree)
    back = archive.read(tmp_path / "file")
    for name, value in tree.items():
        assert np.array_equal(back[name], value.detach() if isinstance(value, torch.Tensor) else value), name
    back["alias"].zero_()
    assert torch.equal(back["same alias"], base), "what was one tensor comes back as two"


def test_what_was_read_can_be_written_into_without_reaching_the_file(file: Path) -> None:
    before = file.read_bytes()
    tree = archive.read(file)
    tree["weights"].zero_()
    tree["bits"][:] = False
    assert file.read_bytes() == before
    assert archive.read(file)["weights"].sum() == 15


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (object(), "object"),
        ({1, 2}, "set"),
        (b"bytes", "bytes"),
        (Path("x"), "PosixPath"),
        (1j, "complex"),
        (np.array(["text"]), "ndarray of <U4"),
        (np.str_("text"), "str_ of <U4"),
        (np.array([None]), "ndarray of object"),
        (np.zeros(2, complex), "ndarray of complex128"),
        (np.longdouble(1), "longdouble of "),
        (np.datetime64("2024-01-01"), r"datetime64 of datetime64\[D\]"),
        (torch.zeros(2, dtype=torch.complex128), "Tensor of torch.complex128"),
        (torch.eye(2).to_sparse(), "Tensor of torch.float32"),
        ({(1, 2): 3}, r"dict with the key \(1, 2\)"),
        ({1.5: 3}, "dict with the key 1.5"),
        ({True: 3}, "dict with the key True"),
    ],
)
def test_what_is_not_plain_is_refused_before_a_file_appears(tmp_path: Path, value: object, kind: str) -> None:
    assert not archive.is_plain(value)
    assert not archive.is_plain({"deep": [(deque([value]),)]})
    with pytest.raises(TypeError, match=f"a {kind}.* is not plain data and cannot be stored"):
        archive.write(tmp_path / "file", {"deep": [(deque([value]),)]})
    assert not list(tmp_path.iterdir())


# --- the same bytes --------------------------------------------------------------------------------------

WRITER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import test_archive
test_archive.archive.write(Path(sys.argv[2]), test_archive.everything())
"""


def test_the_same_tree_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    archive.write(tmp_path / "here", everything())
    command = [sys.executable, "-c", WRITER, str(Path(__file__).parent), str(tmp_path / "there")]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "1"})
    assert (tmp_path / "there").read_bytes() == (tmp_path / "here").read_bytes()
    archive.write(tmp_path / "again", archive.read(tmp_path / "here"))
    assert (tmp_path / "again").read_bytes() == (tmp_path / "here").read_bytes()


# --- damage ----------------------------------------------------------------------------------------------


def test_a_truncated_or_lengthened_file_is_refused_by_name(file: Path) -> None:
    whole = file.read_bytes()
    lengths = sorted({0, 1, 7, 8, 9, 50, len(whole) // 2, len(whole) - 24, len(whole) - 2, len(whole) - 1})
    for content in [*(whole[:length] for length in lengths), whole + b"\0", whole + whole]:
        file.write_bytes(content)
        with pytest.raises(ValueError, match=f"{file} ({BROKEN})"):
            archive.read(file)


def test_any_flipped_byte_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    for place in range(len(whole)):
        for flip in (1 << place % 8, 0xFF):
            altered = bytearray(whole)
            altered[place] ^= flip
            file.write_bytes(altered)
            with pytest.raises(ValueError, match=BROKEN):
                archive.read(file)


class Trap:
    """Unpickling this makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_none_of_its_code_runs(tmp_path: Path) -> None:
    trap = Trap(tmp_path / "sprung")
    (tmp_path / "pickle").write_bytes(pickle.dumps(trap))
    torch.save({"w": torch.ones(2), "trap": trap}, tmp_path / "torch")
    with zipfile.ZipFile(tmp_path / "zip", "w") as zipped:
        zipped.writestr("data.pkl", pickle.dumps(trap))
    for name in ("pickle", "torch", "zip"):
        with pytest.raises(ValueError, match="not a file of rl_tickets"):
            archive.read(tmp_path / name)
    assert not trap.path.exists()
    pickle.loads(pickle.dumps(trap))
    assert trap.path.exists(), "the trap itself works"


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {"format": "pt"},
        {"rl_tickets": "no JSON"},
        {"rl_tickets": "[]"},
        {"rl_tickets": "3"},
        {"rl_tickets": json.dumps({"tree": "{}"})},
        {"rl_tickets": json.dumps({"tree": 3, "sha256": "0"})},
    ],
)
def test_other_peoples_safetensors_are_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    (tmp_path / "file").write_bytes(save({"w": torch.ones(2)}, metadata=metadata))
    with pytest.raises(ValueError, match=BROKEN):
        archive.read(tmp_path / "file")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"no such file: '{path}'"):
            archive.read(path)


# --- whole or not at all ---------------------------------------------------------------------------------


def test_writing_makes_folders_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    for content in (b"one", b"two"):
        archive.write_whole(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_readers_of_the_old_file_are_not_disturbed_by_a_new_one(file: Path) -> None:
    old = archive.read(file)
    archive.write(file, {"weights": torch.zeros(2, 3)})
    assert old["weights"].sum() == 15


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root; the test with a limit on file sizes stands in")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_the_old_file_and_says_what_to_do(tiny_disk: Path) -> None:
    path = tiny_disk / "some.ticket"
    archive.write(path, {"w": torch.ones(10)})
    before = path.read_bytes()
    sentence = r"could not write \(No space left on device\); nothing was lost, free some space and run again"
    with pytest.raises(OSError, match=f"{sentence}: '{path}'"):
        archive.write(path, {"w": torch.ones(100_000)})
    assert path.read_bytes() == before
    assert list(tiny_disk.iterdir()) == [path]
    archive.write(path, {"w": torch.zeros(10)})


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow beyond 1000 bytes; Python ignores the signal that says so and raises."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_file_that_may_not_grow_leaves_the_old_one(small_files: None, tmp_path: Path) -> None:
    path = tmp_path / "some.ticket"
    path.write_bytes(b"old")
    sentence = r"could not write \(File too large\); nothing was lost, make it writable and run again"
    with pytest.raises(OSError, match=f"{sentence}: '{path}'"):
        archive.write_whole(path, b"new" * 1000)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_path_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "below", tmp_path / "file" / "far" / "below", tmp_path / "folder"):
        with pytest.raises(OSError, match=f"could not write .*; nothing was lost, .* and run again: '{path}'"):
            archive.write_whole(path, b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert sorted(child.name for child in tmp_path.iterdir()) == ["file", "folder"]


def test_files_are_readable_by_whom_the_umask_lets(file: Path) -> None:
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~umask
