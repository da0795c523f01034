"""Reads the events of a streamed answer, or the whole answer that some engines send instead."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, cast

import httpx2

from roost_inference.client.refusals import json_of, web_page
from roost_inference.errors import EngineFailed, EngineUnavailable

EVENT_BYTES_MAX: Final = 2**20
WHOLE_CHARACTERS_MAX: Final = 8 * 2**20  # of an answer that is not streamed
PAGE_CHARACTERS_MAX: Final = 4096
READ_OUT_S: Final = 0.1  # for servers that keep a connection open behind the last event
BYTE_ORDER_MARK: Final = "\ufeff"


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its JSON, whether it is named an error, whether it is the end mark."""

    value: Any = None
    is_error: bool = False
    is_end: bool = False


class _Body:
    """The text of a response as the SSE reader of httpx2 takes it, with whatever content type."""

    def __init__(self, response: httpx2.Response) -> None:
        response.encoding = "utf-8"  # events are, whatever the header says
        self.request = response.request
        self.headers = {"content-type": "text/event-stream"}
        self._texts = response.aiter_text()
        self._begun = ""

    async def begin(self) -> str:
        """The first words of the body; they are read again with the rest."""
        async for text in self._texts:
            self._begun += text
            if self._begun.lstrip(f"{BYTE_ORDER_MARK} \r\n\t"):
                break
            if len(self._begun) > PAGE_CHARACTERS_MAX:
                self._begun = ""  # blanks without end, as a sign of life
        self._begun = self._begun.lstrip(BYTE_ORDER_MARK)
        return self._begun.lstrip()

    async def aiter_text(self) -> AsyncIterator[str]:
        """The whole body, with the blank line that the last event may lack."""
        yield self._begun
        async for text in self._texts:
            yield text
        yield "\n\n"

    async def whole(self, most: int) -> str:
        """At most `most` characters of the body."""
        texts, size = [self._begun], len(self._begun)
        async for text in self._texts:
            texts.append(text)
            size += len(text)
            if size > most:
                break
        return "".join(texts)


async def events_of(response: httpx2.Response) -> AsyncGenerator[Event, None]:
    """The events up to [DONE]. Heartbeats without data and comments are passed over.

    A whole JSON answer is one event and the end mark. Raises EngineFailed for an answer that is too
    long, EngineRefused for a web page.
    """
    body = _Body(response)
    first = (await body.begin())[:1]
    if first in ("{", "["):
        text = await body.whole(WHOLE_CHARACTERS_MAX)
        if len(text) > WHOLE_CHARACTERS_MAX:
            raise EngineFailed(f"The answer is longer than {WHOLE_CHARACTERS_MAX} characters")
        # Some engines write an object a line.
        whole = json_of(text.encode())
        lines = [line for line in text.splitlines() if line.strip()] if whole is None else []
        for value in [_json(line) for line in lines] or [_json(text)]:
            is_answer = isinstance(value, dict) and "choices" in value
            yield Event(value, is_error=not is_answer)
        yield Event(is_end=True)
        return
    if first == "<":
        raise web_page(await body.whole(PAGE_CHARACTERS_MAX))
    source = httpx2.EventSource(cast(httpx2.Response, body), max_event_size=EVENT_BYTES_MAX)
    events = aiter(source)
    async for event in events:
        data = event.data.strip()
        if data == "[DONE]":
            await read_out(events)
            yield Event(is_end=True)
            return
        if data:
            yield Event(_json(data), is_error=event.event == "error")


async def read_out(events: AsyncIterator[Any]) -> None:
    """Read the end of the body, which mostly came with the last event: a connection whose answer
    was not read to its end is closed instead of kept for the next call.
    """
    with contextlib.suppress(TimeoutError, httpx2.HTTPError):
        async with asyncio.timeout(READ_OUT_S):
            async for _ in events:
                pass


def _json(text: str) -> Any:
    value = json_of(text.encode())
    if value is None:
        raise EngineUnavailable("The connection to the engine was lost inside an event")
    return value
