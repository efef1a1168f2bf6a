"""Tasks on a Ray cluster (Moritz et al. 2018, arXiv 1712.05889), in the style of `concurrent.futures`."""

from __future__ import annotations

import logging
import re
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from functools import partial
from typing import Any

PATIENCE = 10.0
"""Seconds for the head of a cluster to answer at all."""
TRIES = 4
"""Workers that may die under one task, for want of memory or by a signal, while their nodes live."""


class RayExecutor(Executor):
    """Submits to Ray; a task whose node dies is begun again on another, where it goes on from its last checkpoint.

    So is one whose worker dies while its node lives, but not for ever: what kills every worker that takes it up ends
    with a RuntimeError.

    A node that is only cut off may go on beside its successor. Both write the same bytes, each file beside under a name
    of its own and renamed, so that it does not matter who comes last.

    Args:
        address: of a running cluster, as `host:port`, or "auto" for the one this machine belongs to. A connection that
            the program has already is used as it is.

    Raises:
        ImportError: ray is not installed; the extra is named.
        ConnectionError: there is no cluster at this address.

    Used as `with RayExecutor("auto") as cluster: rt.run(experiment, executor=cluster)`.
    """

    def __init__(self, address: str = "auto") -> None:
        try:
            import ray
        except ImportError as error:
            way_out = "a Ray cluster needs ray: pip install -c constraints.txt -e '.[ray]'"
            raise ImportError(way_out, name="ray") from error
        self._ray: Any = ray
        self._ours = not ray.is_initialized()
        if self._ours:
            _connect(ray, address)
        # Ray's own retries know no end where a worker always dies for want of memory.
        self._call: Any = ray.remote(num_cpus=1, max_retries=0)(_call)
        self._futures: set[_RayFuture] = set()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor`; one core for each task, begun again as often as its node dies."""
        future = _RayFuture(self._ray, partial(self._call.remote, fn, args, kwargs))
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leaves the cluster running; what of ours still runs there is ended, unlike in other executors."""
        for future in list(self._futures):
            future.cancel()
        if self._ours:
            self._ray.shutdown()


def _call(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What Ray is given, since it takes neither partials nor built-in functions."""
    return function(*args, **kwargs)


class _RayFuture(Future[Any]):
    """What comes of a Ray task; to cancel it is to end the task, begun or not."""

    def __init__(self, ray: Any, begin: Callable[[], Any]) -> None:
        super().__init__()
        self._ray, self._begin, self._tries = ray, begin, TRIES
        self._go()

    def _go(self) -> None:
        self._reference = self._begin()
        self._reference.future().add_done_callback(self._settle)
        if self.cancelled():  # Meanwhile.
            self._stop()

    def cancel(self) -> bool:
        if cancelled := super().cancel():
            self._stop()
        return cancelled

    def _stop(self) -> None:
        with suppress(self._ray.exceptions.RayError, RuntimeError):  # Nothing runs on a cluster that is gone.
            self._ray.cancel(self._reference, force=True)

    def _settle(self, told: Future[Any]) -> None:
        error = told.exception()
        if not self.cancelled() and self._begins_again(error):
            # Ray calls this in the thread that would have to submit.
            threading.Thread(target=self._go, daemon=True).start()
        elif self.set_running_or_notify_cancel():
            self._end(told, error)

    def _begins_again(self, error: BaseException | None) -> bool:
        died = self._ray.exceptions
        self._tries -= isinstance(error, died.WorkerCrashedError | died.OutOfMemoryError)
        return (
            isinstance(error, died.NodeDiedError | died.WorkerCrashedError | died.OutOfMemoryError) and self._tries > 0
        )

    def _end(self, told: Future[Any], error: BaseException | None) -> None:
        if error is None:
            self.set_result(told.result())
        elif isinstance(cause := getattr(error, "cause", None), BaseException):
            cause.__cause__ = error  # Which tells where on the cluster it was raised.
            self.set_exception(cause)
        elif isinstance(error, self._ray.exceptions.RayError):
            sentence = f"Ray gave a task up ({_first_sentence(error)}); what is finished is kept, run again to go on"
            self.set_exception(RuntimeError(sentence))
        else:
            self.set_exception(error)


def _connect(ray: Any, address: str) -> None:
    # Ray itself knocks for minutes at a door behind which there is nobody.
    if found := re.fullmatch(r"(?:ray://)?\[?([^/\]]+?)\]?:(\d{1,5})", address):
        try:
            socket.create_connection((found[1], int(found[2])), timeout=PATIENCE).close()
        except (OSError, OverflowError) as error:
            raise ConnectionError(f"there is no Ray cluster at {address} ({error})") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConnectionError(f"cannot reach a Ray cluster at {address} ({_first_sentence(error)})") from error


def _first_sentence(error: BaseException) -> str:
    """Ray goes on with where to look into its logs."""
    return re.split(r"\.\s", " ".join(str(error).split()))[0].rstrip(".") or type(error).__name__
