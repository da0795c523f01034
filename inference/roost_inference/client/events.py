"""Reads the events of a streamed answer, or the whole answer that some engines send instead."""

import asyncio
import codecs
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import pydantic_core

from roost_inference.client.event_parser import EventParser
from roost_inference.client.refusals import json_of, web_page
from roost_inference.errors import EngineError, EngineFailed, EngineUnavailable

WHOLE_CHARACTERS_MAX: Final = 8 * 2**20  # of an answer that is not streamed
PAGE_CHARACTERS_MAX: Final = 4096
# With them comes the first token: they go on before what has come with them is read.
FIRST_EVENTS: Final = 2
READ_OUT_S: Final = 0.1  # for servers that keep a connection open behind the last event
BYTE_ORDER_MARK: Final = "\ufeff"
# What engines and proxies send between two events to keep a connection open.
_ALIVE: Final = re.compile(r"\W{0,2}(null|ping|pong|heartbeat|keep-?alive)\W{0,2}", re.IGNORECASE)
_decoder = codecs.getincrementaldecoder("utf-8")  # events are, whatever the header says


@dataclass(frozen=True, slots=True)
class Event:
    """One event: its JSON, whether it is named an error, whether it is the end mark."""

    value: Any = None
    is_error: bool = False
    is_end: bool = False


class _Body:
    """The text of a body that comes in parts."""

    def __init__(self, parts: AsyncIterator[bytes]) -> None:
        self._parts = parts
        self._decoder = _decoder(errors="replace")
        self.begun = ""

    async def begin(self) -> str:
        """The first words of the body; they are read again with the rest."""
        async for part in self._parts:
            self.begun += self._decoder.decode(part)
            if self.begun.lstrip(f"{BYTE_ORDER_MARK} \r\n\t"):
                break
            if len(self.begun) > PAGE_CHARACTERS_MAX:
                self.begun = ""  # blanks without end, as a sign of life
        self.begun = self.begun.lstrip(BYTE_ORDER_MARK)
        return self.begun.lstrip()

    async def next(self) -> str | None:
        """More of the body; None at its end."""
        part = await anext(self._parts, None)
        return None if part is None else self._decoder.decode(part)

    async def whole(self, most: int) -> str:
        """At most `most` characters of the body."""
        texts, size = [self.begun], len(self.begun)
        while size <= most and (text := await self.next()) is not None:
            texts.append(text)
            size += len(text)
        return "".join(texts)


def json_value(text: str) -> Any:
    """The JSON of an event's data. Raises EngineUnavailable where it has none."""
    try:
        return pydantic_core.from_json(text)
    except (TypeError, ValueError):
        pass  # a mark of the byte order, half of a character, or a value that is nested deeply
    try:
        return json.loads(text.removeprefix(BYTE_ORDER_MARK))
    except (ValueError, RecursionError):
        raise EngineUnavailable("The connection to the engine was lost inside an event") from None


async def event_batches(
    parts: AsyncIterator[bytes],
    read: Callable[[str], Any] = json_value,
    parser: EventParser | None = None,
) -> AsyncGenerator[Sequence[Event], None]:
    """The events of a body up to [DONE], those that have come together in one batch. Comments and
    heartbeats, empty or in a word, are passed over. read: gives the value of an event's data.
    parser: a new one, for who looks at it meanwhile.

    A whole JSON answer is one event and the end mark. Raises EngineFailed for an answer that is too
    long, EngineRefused for a web page; what came before an error is told before it.
    """
    body = _Body(parts)
    first = (await body.begin())[:1]
    if first in ("{", "["):
        yield _whole(await body.whole(WHOLE_CHARACTERS_MAX))
        return
    if first == "<":
        raise web_page(await body.whole(PAGE_CHARACTERS_MAX))
    parser = parser or EventParser()
    text: str | None = body.begun
    count = 0
    while text is not None:
        batch: list[Event] = []
        try:
            for name, data in parser.feed(text):
                if _ALIVE.fullmatch(data):
                    continue
                batch.append(_event(name, data, read))
                count += 1
                if batch[-1].is_end:
                    break
                if count == FIRST_EVENTS:
                    yield batch
                    await asyncio.sleep(0)  # the way of these to the client comes first
                    batch = []
        except EngineError:
            if batch:
                yield batch
            raise
        if batch:
            yield batch
            if batch[-1].is_end:
                return
        text = await body.next()
    for name, data in parser.feed("\n\n"):  # the blank line that the last event may lack
        yield [_event(name, data, read)]


async def events_of(response: httpx2.Response) -> AsyncGenerator[Event, None]:
    """The events of a response one by one; see event_batches. Before it tells the end mark it has
    read the response to its end.
    """
    parts = response.aiter_bytes()
    async with contextlib.aclosing(event_batches(parts)) as batches:
        async for batch in batches:
            for event in batch:
                if event.is_end:
                    with contextlib.suppress(httpx2.HTTPError):
                        await read_out(parts)
                yield event


async def read_out(parts: AsyncIterator[Any]) -> None:
    """Read the end of the body, which mostly came with the last event: a connection whose answer
    was not read to its end is closed instead of kept for the next call.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READ_OUT_S):
            async for _ in parts:
                pass


def _whole(text: str) -> list[Event]:
    """A whole answer and the end mark."""
    if len(text) > WHOLE_CHARACTERS_MAX:
        raise EngineFailed(f"The answer is longer than {WHOLE_CHARACTERS_MAX} characters")
    # Some engines write an object a line.
    whole = json_of(text.encode())
    lines = [line for line in text.splitlines() if line.strip()] if whole is None else []
    values = [json_value(line) for line in lines] or _listed(json_value(text))
    events = [
        Event(value, is_error=not (isinstance(value, dict) and "choices" in value))
        for value in values
    ]
    return [*events, Event(is_end=True)]


def _listed(value: Any) -> list[Any]:
    """The chunks of an answer that is one list of them; any other answer as it is."""
    is_list = isinstance(value, list) and len(value) > 1
    return value if is_list and all(isinstance(one, dict) for one in value) else [value]


def _event(name: str, data: str, read: Callable[[str], Any]) -> Event:
    if data == "[DONE]":
        return Event(is_end=True)
    return Event(read(data), is_error=name == "error")
