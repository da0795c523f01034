"""Events are read the same however their bytes are cut, and as httpx2 reads them."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roost_inference.client.event_parser import EVENT_CHARACTERS_MAX, EventParser
from roost_inference.client.events import Event, event_batches
from roost_inference.errors import EngineUnavailable

LINES = st.lists(
    st.sampled_from(
        [
            *("", "data: one", "data:two", "data:  three ", "data", "data:", "event: error"),
            *(
                "event:",
                "event",
                ": alive",
                "id: 7",
                "retry: 5",
                "unknown: x",
                "data: a: b",
                "ß€😀",
            ),
        ]
    ),
    max_size=12,
)
ENDS = st.sampled_from(["\n", "\r\n", "\r"])


def by_httpx2(text: str) -> list[tuple[str, str]]:
    headers = {"content-type": "text/event-stream"}
    request = httpx2.Request("POST", "http://127.0.0.1")
    response = httpx2.Response(200, headers=headers, content=text.encode(), request=request)
    found = [(event.event, event.data.strip()) for event in httpx2.EventSource(response)]
    return [event for event in found if event[1]]


def parsed(pieces: Sequence[str]) -> list[tuple[str, str]]:
    parser = EventParser()
    found = [event for piece in pieces for event in parser.feed(piece)]
    return [(name or "message", data) for name, data in found]


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
@given(LINES, ENDS, st.data())
def test_any_cut_of_a_stream_gives_the_events_that_httpx2_reads(
    lines: list[str], end: str, data: st.DataObject
) -> None:
    text = "".join(line + end for line in lines) + end + end
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    # It ends with a line of its own, for a last \r may be half of an end.
    assert parsed([*pieces, "\n"]) == by_httpx2(text + "\n")


@pytest.mark.parametrize("piece", ["data: " + "x" * 1000 + "\n", "y" * 1000, ": z" + "z" * 1000])
def test_an_event_without_end_is_refused(piece: str) -> None:
    parser = EventParser()
    with pytest.raises(EngineUnavailable, match="longer than"):
        for _ in range(2 * EVENT_CHARACTERS_MAX // 1000):
            list(parser.feed(piece))


def test_events_that_came_together_are_one_batch_and_an_error_comes_behind_them() -> None:
    one, two = (f"data: {json.dumps({'n': number})}\n\n".encode() for number in (1, 2))

    async def parts() -> AsyncIterator[bytes]:
        yield one + two + one[:5]
        yield one[5:] + b"data: {broken\n\n"

    async def read() -> list[Sequence[Event]]:
        batches = []
        with pytest.raises(EngineUnavailable, match="inside an event"):
            async for batch in event_batches(parts()):
                batches.append(batch)
        return batches

    found = asyncio.run(read())
    assert [[event.value["n"] for event in batch] for batch in found] == [[1, 2], [1]]


async def test_the_first_events_go_on_before_the_others_are_read() -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"".join(b"data: %d\n\n" % number for number in range(5))
        yield b"data: 5\n\ndata: 6\n\ndata: [DONE]\n\n"

    read: list[str] = []

    def noted(text: str) -> str:
        read.append(text)
        return text

    batches = event_batches(parts(), noted)
    first = await anext(batches)
    assert [one.value for one in first] == read == ["0", "1"]
    rest = [[one.value for one in batch] async for batch in batches]
    assert rest == [["2", "3", "4"], ["5", "6", None]]
