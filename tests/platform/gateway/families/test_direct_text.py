"""Text that goes straight from a provider's connection to the client is what events would tell."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from roost_inference.client.event_parser import EventParser
from roost_inference.http.protocol.direct_parts import DirectParts
from roost_inference.testing.raw_server import raw_server
from roost_platform.db import models
from roost_platform.gateway.events import Event, ReasoningDelta, TextDelta
from roost_platform.gateway.providers.chat_decoder import ChatDecoder
from roost_platform.gateway.providers.plain_text import ChunkReader, DirectChunks
from roost_platform.gateway.routing import router
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server
from roost_platform.testing.providers.upstream import delta

SOON_S = 20.0
SILENCE_S = 1.0
WORD = "wörd "
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions")
texts = st.sampled_from(
    ["a", " b", "é", "🙂", "\n", "`", "<", "think>", "</think>", '"', "\\", "\0"]
)


class Sink:
    """Takes text while it is ready, as a client does that reads."""

    def __init__(self, told: list[Event]) -> None:
        self.is_ready = True
        self.told = told

    def send(self, text: str, choice: int) -> None:
        self.told.append(TextDelta(text, choice))


def spoken(events: list[Event]) -> tuple[str, str]:
    """The text and the reasoning of these events."""
    text = "".join(one.text for one in events if isinstance(one, TextDelta))
    return text, "".join(one.text for one in events if isinstance(one, ReasoningDelta))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(texts, st.booleans()), max_size=30),
    st.lists(st.integers(1, 400), max_size=20),
    st.booleans(),
)
def test_an_answer_reads_the_same_however_it_is_cut_and_whenever_its_client_reads(
    said: list[tuple[str, bool]], cuts: list[int], is_ascii: bool
) -> None:
    events = [json.dumps(delta(text), ensure_ascii=is_ascii) for text, _ in said]
    parts = [f"data: {one}\n\n".encode() for one in events]
    for at in cuts:  # some parts are cut, others stand together
        number = at % len(parts) if parts else 0
        if parts and at % 3:
            half = min(at, len(parts[number]))
            parts[number : number + 1] = [parts[number][:half], parts[number][half:]]
        elif number + 1 < len(parts):
            parts[number : number + 2] = [parts[number] + parts[number + 1]]
    told: list[Event] = []
    reader, parser, decoder, sink = ChunkReader(), EventParser(), ChatDecoder(), Sink(told)
    direct = DirectChunks(reader, parser, decoder.passes, sink)
    rest = b""
    for number, part in enumerate(filter(None, parts)):
        sink.is_ready = said[number % len(said)][1]
        if not rest and direct.take(part):
            continue
        text = (rest + part).decode(errors="ignore")
        rest = (rest + part)[len(text.encode()) :]
        for _, data in parser.feed(text):
            told += decoder.feed(reader.read(data))
    decoder.end_mark()
    told += decoder.end() if said else []
    full = ChatDecoder()
    expected = [event for one in events for event in full.feed(json.loads(one))]
    full.end_mark()
    expected += full.end() if said else []
    assert spoken(told) == spoken(expected)


class Provider:
    """Answers as `answer` says; `left` once a client has gone before its end."""

    def __init__(self) -> None:
        self.answer: Callable[[asyncio.StreamWriter], Any] = self.words
        self.left = asyncio.Event()
        self.is_over = asyncio.Event()
        self.url = ""
        self.count = 40
        self.pause_s = 0.005

    async def words(self, writer: asyncio.StreamWriter) -> None:
        for _ in range(self.count):
            await say(writer, delta(WORD))
            await asyncio.sleep(self.pause_s)
        await self.end(writer)

    async def end(self, writer: asyncio.StreamWriter) -> None:
        await say(writer, {**delta(), "choices": [{"index": 0, "finish_reason": "stop"}]})
        await say(writer, "[DONE]")
        writer.write(b"0\r\n\r\n")

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length or 0))
                kind = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
                writer.write(b"HTTP/1.1 200 OK\r\n" + kind)
                await self.answer(writer)
                await writer.drain()
        self.left.set()


async def say(writer: asyncio.StreamWriter, event: Any) -> None:
    text = event if isinstance(event, str) else json.dumps(event, ensure_ascii=False)
    data = f"data: {text}\n\n".encode()
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))
    await writer.drain()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    serving = Provider()
    async with raw_server(serving.serve) as serving.url:
        yield serving
        serving.is_over.set()
        async with asyncio.timeout(SOON_S):
            await serving.left.wait()


@pytest.fixture
async def gateway(tmp_path: Path, provider: Provider) -> AsyncIterator[GatewayServer]:
    own = {"base_url": f"{provider.url}/v1", "read_timeout_s": SILENCE_S}
    given = {
        "providers": {"own": {**own, "first_byte_timeout_s": 1.5 * SILENCE_S}},
        "models": {"own": {"targets": ["own/some"]}},
    }
    async with gateway_server(tmp_path, overrides=given) as server:
        yield server


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The parts that went straight to a client."""
    sent: list[bytes] = []
    send = DirectParts.send

    def noted(self: DirectParts, part: bytes) -> None:
        sent.append(part)
        send(self, part)

    monkeypatch.setattr(DirectParts, "send", noted)
    return sent


def body_for(path: str) -> dict[str, Any]:
    asked = {"input": "x"} if path == "/v1/responses" else {"messages": [{"role": "user"}]}
    if path == "/v1/completions":
        asked = {"prompt": "x"}
    elif "messages" in asked:
        asked = {"messages": [{"role": "user", "content": "x"}]}
    return {"model": "own", "stream": True, "max_tokens": 100, **asked}


async def call_row(gateway: GatewayServer) -> models.GatewayCall:
    await gateway.until_idle()
    async with gateway.database.read() as session:
        return (await session.scalars(select(models.GatewayCall))).one()


@pytest.mark.parametrize("path", PATHS)
async def test_every_family_gets_all_of_the_text_and_most_of_it_directly(
    gateway: GatewayServer, provider: Provider, direct: list[bytes], path: str
) -> None:
    answer = await gateway.post(path, body_for(path))
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:7] == "data: {"]
    pieces = [piece_of(event) for event in events]
    assert "".join(pieces) == WORD * provider.count
    assert len(direct) > provider.count // 2
    assert (await call_row(gateway)).outcome == "ok"


def piece_of(event: dict[str, Any]) -> str:
    """The text that an event of any family adds."""
    if event.get("type") == "response.output_text.delta":
        return str(event["delta"])
    if event.get("type") == "content_block_delta":
        return str(event["delta"]["text"])
    choice = (event.get("choices") or [{}])[0]
    return str(choice.get("text") or choice.get("delta", {}).get("content") or "")


async def test_direct_text_is_a_sign_of_life_and_silence_behind_it_is_not(
    gateway: GatewayServer,
    provider: Provider,
    direct: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(router, "ALIVE_TIMES", 1)

    async def slowly(writer: asyncio.StreamWriter) -> None:
        for _ in range(8):  # twice as long as a silence may last
            await say(writer, delta(WORD))
            await asyncio.sleep(SILENCE_S / 4)
        await provider.is_over.wait()

    provider.answer = slowly
    async with asyncio.timeout(SOON_S):
        answer = await gateway.post(PATHS[0], body_for(PATHS[0]))
    assert answer.text.count(WORD) == 8 and len(direct) >= 4
    assert "The provider has gone silent" in answer.text
    assert (await call_row(gateway)).outcome == "failed"


async def test_who_leaves_in_mid_text_ends_the_call_and_pays_what_was_written(
    gateway: GatewayServer, provider: Provider, direct: list[bytes]
) -> None:
    provider.count = 10_000
    headers = {"authorization": f"Bearer {gateway.secret}"}
    async with gateway.client.stream(
        "POST", f"{gateway.url}{PATHS[0]}", json=body_for(PATHS[0]), headers=headers
    ) as answer:
        read = 0
        async for line in answer.aiter_lines():
            read += WORD in line
            if read == 30:
                break
    async with asyncio.timeout(SOON_S):
        await provider.left.wait()
    row = await call_row(gateway)
    assert row.outcome == "cancelled"
    # A quarter of a token for each byte, where no count has come.
    assert row.output_tokens >= 30 * len(WORD.encode()) // 4
    assert len(direct) >= 15


async def test_a_client_that_does_not_read_holds_its_provider_up_and_loses_nothing(
    gateway: GatewayServer, provider: Provider, direct: list[bytes]
) -> None:
    large = "\x01" * 20_000  # six bytes each in JSON
    sent = 0

    async def much(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        for sent in range(1, 191):  # more than buffers hold
            await say(writer, delta(f"{sent:08}{large}"))
            await asyncio.sleep(0)
        await provider.end(writer)

    provider.answer = much
    body = json.dumps(body_for(PATHS[0])).encode()
    port = int(gateway.url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**16)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer "
        + gateway.secret.encode()
        + b"\r\ncontent-length: %d\r\n\r\n" % len(body)
        + body
    )
    await writer.drain()
    before = -1
    async with asyncio.timeout(SOON_S):
        while before != sent or sent == 0:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.3)
    assert sent < 190
    whole = bytearray()
    async with asyncio.timeout(60):
        while not whole.endswith(b"0\r\n\r\n"):
            whole += await reader.read(2**20)
    numbers = [int(one[:8]) for one in whole.decode().split('"content":"')[1:] if len(one) > 1000]
    assert numbers == list(range(1, 191))
    assert direct
    writer.close()
    await writer.wait_closed()
