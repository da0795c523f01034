"""One event stream per page, which sends a fragment again when its data changed."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sse_starlette import EventSourceResponse, ServerSentEvent

from roost_platform.console.page_response import in_page_thread
from roost_platform.db.base.engine import Database
from roost_platform.errors import Busy

STREAMS_MAX = 100
INTERVAL_S = 0.15  # the least time between two updates of one page
RELOAD_S = 2.0  # the longest time between two loads, for figures that depend on the clock
SIGN_IN_CHECK_S = 2.0  # how often a stream asks whether its login still holds
PING_S = 15


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a page that is updated: the element's id, its template, and its data.

    Data are compared by value.
    """

    target: str
    template: str
    data: Any


@dataclass(frozen=True, slots=True)
class LivePage:
    """What a stream sends: fragments for the page, and named events with JSON for its script."""

    fragments: Sequence[Fragment] = ()
    events: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Live:
    """All open streams of this process. `render` turns a template's name and context into HTML."""

    database: Database
    render: Callable[[str, Mapping[str, Any]], str]
    interval_s: float = INTERVAL_S
    reload_s: float = RELOAD_S
    streams_max: int = STREAMS_MAX
    sign_in_check_s: float = SIGN_IN_CHECK_S
    open: int = field(default=0, init=False)
    _loading: set[asyncio.Task[LivePage | None]] = field(default_factory=set, init=False)

    def response(
        self,
        load: Callable[[], Awaitable[LivePage | None]],
        *,
        context: Mapping[str, Any],
        still_signed_in: Callable[[], Awaitable[bool]],
        look_s: float | None = None,
    ) -> EventSourceResponse:
        """Stream a page; raises Busy beyond the bound.

        load: returns None when the subject of the page is gone, which ends the stream.
        look_s: how often to look, for a page whose data are not in the database.
        """
        if self.open >= self.streams_max:
            raise Busy("Too many pages are open; close one and reload.")
        stream = self._stream(load, context, still_signed_in, look_s)
        return EventSourceResponse(stream, ping=PING_S, send_timeout=30)

    async def _stream(
        self,
        load: Callable[[], Awaitable[LivePage | None]],
        context: Mapping[str, Any],
        still_signed_in: Callable[[], Awaitable[bool]],
        look_s: float | None,
    ) -> AsyncIterator[ServerSentEvent]:
        shown: dict[str, Any] = {}
        loop = asyncio.get_running_loop()
        checked_at = loop.time()
        self.open += 1
        try:
            while True:
                version = await self.database.version()  # before reading: nothing is missed
                page = await self._finished(load)
                if page is None:
                    return
                # In a thread: a page's texts may take a while, and other requests go on.
                for event in await in_page_thread(self._changes, page, shown, context):
                    yield event
                await asyncio.sleep(look_s or self.interval_s)
                if look_s is None:
                    await self.database.changed_since(version, self.reload_s)
                if loop.time() - checked_at > self.sign_in_check_s:
                    if not await still_signed_in():
                        return
                    checked_at = loop.time()
        finally:
            self.open -= 1

    async def _finished(self, load: Callable[[], Awaitable[LivePage | None]]) -> LivePage | None:
        """Load, even if the page is closed meanwhile: a cancelled query costs its connection."""

        async def loading() -> LivePage | None:
            return await load()

        task = asyncio.create_task(loading())
        self._loading.add(task)
        task.add_done_callback(self._loading.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for what is still being read."""
        await asyncio.gather(*self._loading, return_exceptions=True)

    def _changes(
        self, page: LivePage, shown: dict[str, Any], context: Mapping[str, Any]
    ) -> list[ServerSentEvent]:
        """Events for what differs from `shown`, which is updated."""
        html = []
        for fragment in page.fragments:
            if fragment.target in shown and shown[fragment.target] == fragment.data:
                continue
            shown[fragment.target] = fragment.data
            inner = self.render(fragment.template, {**context, "data": fragment.data})
            head = f'<hx-partial hx-target="#{fragment.target}" hx-swap="innerMorph">'
            html.append(f"{head}{inner}</hx-partial>")
        events = [ServerSentEvent("".join(html))] if html else []
        for name, value in page.events.items():
            if f"event {name}" not in shown or shown[f"event {name}"] != value:
                shown[f"event {name}"] = value
                events.append(ServerSentEvent(json.dumps(value), event=name))
        return events
