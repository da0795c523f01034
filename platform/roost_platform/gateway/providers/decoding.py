"""Decodes what a provider sent together, so that it goes out together."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from roost_inference.client import events as streamed
from roost_inference.errors import EngineError
from roost_platform.gateway.events import Event


class Feed(Protocol):
    """Takes the JSON of one event of a provider. Raises the error that it means."""

    def __call__(self, chunk: Any, /, *, is_event_error: bool = False) -> list[Event]:
        """The inner events in it."""
        ...


def decoded(
    batch: Sequence[streamed.Event], feed: Feed, has_ended: Callable[[], bool] | None = None
) -> tuple[list[Event], EngineError | None]:
    """The inner events of a batch, and the error that ended it: what came before the error is the
    client's. has_ended: whether the answer has come to its end, behind which nothing counts.
    """
    events: list[Event] = []
    for one in batch:
        if one.is_end:
            break
        try:
            events += feed(one.value, is_event_error=one.is_error)
        except EngineError as error:
            return events, error
        if has_ended is not None and has_ended():
            break
    return events, None
