"""Driving searches: many generators side by side, so that what they ask for at the same time trains together."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from rl_tickets.search.plan import Search
from rl_tickets.training.requests import Trained, Training

Key = TypeVar("Key")
Requests = dict[Key, tuple[Training, ...]]
Answers = Mapping[Key, tuple[Trained, ...]]


def side_by_side(searches: Mapping[Key, Search]) -> Generator[Requests[Key], Answers[Key], None]:
    """Rounds of requests of all searches that go on; each round is sent what came of its requests, in their order.

    Raises:
        TypeError: a search asked for something else than trainings.
    """
    asked: dict[Key, Any] = {}
    for key, search in searches.items():
        with suppress(StopIteration):
            asked[key] = next(search)
    while asked:
        answers = yield {key: _demanded(request) for key, request in asked.items()}
        alone = {key for key, request in asked.items() if isinstance(request, Training)}
        asked = {}
        for key, trained in answers.items():
            with suppress(StopIteration):
                asked[key] = searches[key].send(trained[0] if key in alone else trained)


def _demanded(request: Any) -> tuple[Training, ...]:
    requests = (request,) if isinstance(request, Training) else tuple(request)
    if not requests or not all(isinstance(each, Training) for each in requests):
        raise TypeError(f"a search yields a Training, or a sequence of them, not {request!r}")
    return requests
