"""Tasks on a Ray cluster (Moritz et al. 2018, arXiv 1712.05889), in the style of `concurrent.futures`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any


class RayExecutor(Executor):
    """Submits to Ray; a task whose node dies is begun again on another, where it goes on from its last checkpoint.

    Args:
        address: of a running cluster, or "auto" for the one this machine belongs to.

    Raises:
        ImportError: ray is not installed; the extra is named.
        ConnectionError: there is no cluster at this address.

    Example:
        with RayExecutor("auto") as cluster:
            rt.run(experiment, executor=cluster)
    """

    def __init__(self, address: str) -> None:
        try:
            import ray
        except ImportError as error:
            raise ImportError("--ray needs ray: pip install -c constraints.txt -e '.[ray]'") from error
        self._ray = ray
        self._address = address
        self._ours = not ray.is_initialized()
        if self._ours:
            ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
        self._references: list[Any] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor`; one core for each task, begun again as often as its node dies."""
        remote = self._ray.remote(num_cpus=1, max_retries=-1)(fn)
        reference = remote.remote(*args, **kwargs)
        self._references.append(reference)
        future: Future[Any] = reference.future()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leaves the cluster as it was; what still runs there is ended."""
        for reference in self._references:
            self._ray.cancel(reference, force=True)
        self._references.clear()
        if self._ours:
            self._ray.shutdown()
