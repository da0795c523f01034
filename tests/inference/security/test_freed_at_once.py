"""A client that leaves frees its sequence and its cells, in every phase, on the real engine."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roost_inference.client.engine_client import ChatRequest, EngineClient
from roost_inference.engine import Engine

LONG = "".join(f"Line {number} of a long report about nothing. " for number in range(300))
ENDLESS = {"max_tokens": 3000, "ignore_eos": True, "temperature": 0}
# A second has at least as many steps. Counted in steps, as a shared machine's seconds differ.
STEPS_MAX = 20
PATIENCE_S = 30.0


@contextlib.asynccontextmanager
async def asked(url: str, question: str, *, stream: bool) -> AsyncIterator[asyncio.StreamReader]:
    """A request on a bare connection, which is cut when the block ends."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], **ENDLESS}
    data = json.dumps({**body, "stream": stream}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(data)}"
    writer.write(head.encode() + b"\r\n\r\n" + data)
    try:
        yield reader
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def is_running(engine: Engine, tokens: int = 0) -> None:
    """Wait until a request is computed, and this many tokens more than before are written."""
    before = engine.stats().completion_tokens_total
    async with asyncio.timeout(PATIENCE_S):
        while (
            engine.stats().running == 0 or engine.stats().completion_tokens_total < before + tokens
        ):
            await asyncio.sleep(0.001)


async def is_free(engine: Engine, steps_before: int) -> None:
    """Wait until nothing is computed; that it took few steps, and left the ledger whole."""
    async with asyncio.timeout(PATIENCE_S):
        while engine.has_work:
            await asyncio.sleep(0.001)
    stats = engine.stats()
    assert stats.steps_total - steps_before <= STEPS_MAX
    assert stats.running == stats.waiting == 0
    engine.check()  # every sequence and cell is free or a resident's, whose cells are for the next


@pytest.mark.parametrize("stream", [True, False])
async def test_s13_leaving_while_the_prompt_is_read_frees_it(
    real_url: str, real_engine: Engine, stream: bool
) -> None:
    written = real_engine.stats().completion_tokens_total
    async with asked(real_url, f"{LONG} {stream} before", stream=stream):
        await is_running(real_engine)
        steps = real_engine.stats().steps_total
    await is_free(real_engine, steps)
    # A fast machine may have read it all in between, and then has begun to write.
    assert real_engine.stats().completion_tokens_total - written <= STEPS_MAX


async def test_s13_leaving_in_the_stream_frees_it(real_url: str, real_engine: Engine) -> None:
    async with asked(real_url, "Tell me a long story.", stream=True) as reader:
        for _ in range(5):
            await reader.readuntil(b'"content"')
        steps = real_engine.stats().steps_total
    await is_free(real_engine, steps)


async def test_s13_leaving_before_a_whole_answer_frees_it(
    real_url: str, real_engine: Engine
) -> None:
    async with asked(real_url, "Tell me another long story.", stream=False):
        await is_running(real_engine, tokens=5)
        steps = real_engine.stats().steps_total
    await is_free(real_engine, steps)


async def test_s13_a_stop_which_cancels_our_client_frees_it(
    real_url: str, real_engine: Engine
) -> None:
    """`/stop` cancels the activity that reads the stream: tests/workflows/test_stops.py."""
    client = EngineClient(real_url)
    begun = asyncio.Event()
    request = ChatRequest(
        [{"role": "user", "content": "Tell me the longest story."}],
        max_tokens=3000,
        extra={"ignore_eos": True},
    )

    async def read() -> None:
        async for _ in client.stream(request):
            begun.set()

    reading = asyncio.create_task(read())
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    steps = real_engine.stats().steps_total
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await is_free(real_engine, steps)
    await client.close()


async def test_s13_the_place_of_those_who_left_is_there_for_the_next(
    real_url: str, real_engine: Engine
) -> None:
    """More leave than the engine has sequences, with more than its cells hold; then one asks."""
    for number in range(18):
        question = f"{number}: {LONG[:4000]}" if number < 5 else f"What is {number}?"
        async with asked(real_url, question, stream=True) as reader:
            await reader.readuntil(b'"content"')
            steps = real_engine.stats().steps_total
        await is_free(real_engine, steps)
    client = EngineClient(real_url)
    done = await client.complete(ChatRequest([{"role": "user", "content": "Hi"}], max_tokens=4))
    assert done.completion_tokens > 0
    assert real_engine.stats().cells_used <= real_engine.stats().cells_total
    await client.close()
