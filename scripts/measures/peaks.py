"""Peak memory of a piece of work, measured in a process of its own."""

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path


def peak_megabytes(work: Callable[..., object], *arguments: object) -> float:
    """Of a process that imports what it needs, does the work and nothing else.

    Args:
        work: a function of a module, so that the process finds it.
        arguments: it is called with.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_do_and_tell, args=(theirs, work, arguments))
    process.start()
    megabytes = float(ours.recv())
    process.join()
    return megabytes


def _do_and_tell(connection: Connection, work: Callable[..., object], arguments: tuple[object, ...]) -> None:
    work(*arguments)
    # `ru_maxrss` would begin with the memory of the process that started this one.
    status = Path("/proc/self/status").read_text().splitlines()
    (peak,) = (line.split()[1] for line in status if line.startswith("VmHWM:"))
    connection.send(int(peak) / 1024)
