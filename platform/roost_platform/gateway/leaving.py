"""Ends the work on a request once its client has gone."""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any

from starlette.types import Receive, Scope

from roost_inference.http.protocol.leaving import LEAVING


class ClientGone(Exception):
    """The client has closed its connection."""


class UntilGone:
    """`with UntilGone(…):` cancels what runs inside once the client has gone; ClientGone is raised
    then. Our own ports tell it by themselves; for others a task waits for it.

    Before the first byte, in the stream and without one: it is one and the same wait.
    """

    def __init__(self, scope: Scope, receive: Receive) -> None:
        extensions: dict[str, Any] = scope.get("extensions") or {}
        self._watch: Callable[[Callable[[], None] | None], None] | None = extensions.get(LEAVING)
        self._receive = receive
        self._working: asyncio.Task[Any] | None = None
        self._waiting: asyncio.Task[None] | None = None
        self._is_gone = False

    def __enter__(self) -> None:
        """The work begins."""
        self._working = asyncio.current_task()
        if self._watch is not None:
            self._watch(self._end)
        else:
            self._waiting = asyncio.create_task(self._wait())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """The work is over."""
        if self._watch is not None:
            self._watch(None)
        if self._waiting is not None:
            self._waiting.cancel()
        if not self._is_gone or self._working is None or kind is not asyncio.CancelledError:
            return
        if self._working.uncancel() == 0:
            raise ClientGone from None

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._end()

    def _end(self) -> None:
        self._is_gone = True
        if self._working is not None:
            self._working.cancel()
