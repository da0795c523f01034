"""Large and abandoned bodies hold nobody up: refused by size, queued apart, dropped when left."""

import asyncio
import json
import random
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest

from roost_inference.config import EngineConfig
from roost_inference.errors import PromptTooLong
from roost_inference.http import preparation as preparing
from roost_inference.http.listener import listening
from roost_inference.llama import bindings
from roost_inference.llama.quantize import bundled_model
from roost_inference.llama.token_floor import TokenFloor
from roost_inference.llama.vocabulary import LlamaVocabulary
from roost_inference.prompt.tools import SCHEMA_BYTES_MAX
from roost_inference.request import Listener, Request
from roost_inference.server import build_server
from roost_inference.testing.puppet import PuppetEngine
from roost_inference.wire.chat_call import MESSAGES_MAX

CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def vocabulary() -> LlamaVocabulary:
    """The bundled model's tokens."""
    return LlamaVocabulary(bindings.load_model(bundled_model()))


class Reader(PuppetEngine):
    """A puppet with the bundled model's tokeniser; `read` and `heads` are the lengths and the
    first characters of the texts it read.

    Texts with `gate_at` in them wait for the gate.
    """

    def __init__(self, vocabulary: LlamaVocabulary, context_length: int = 8192) -> None:
        super().__init__(context_length=context_length, answer="ok")
        self.vocabulary = vocabulary
        self.read: list[int] = []
        self.heads: list[str] = []
        self.gate_at = "\0"
        self.gate, self.reached = threading.Event(), threading.Event()

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        self.read.append(len(text))
        self.heads.append(text[:8])
        if self.gate_at in text:
            self.reached.set()
            assert self.gate.wait(30)
        return self.vocabulary.tokenize(text, special=special)

    def tokens_at_least(self, text: str) -> int:
        return self.vocabulary.tokens_at_least(text)


@pytest.fixture
def reader(vocabulary: LlamaVocabulary) -> Reader:
    return Reader(vocabulary)


@pytest.fixture
async def http(reader: Reader) -> AsyncIterator[httpx2.AsyncClient]:
    async with (
        listening(build_server(reader, EngineConfig())) as url,
        httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
    ):
        yield client


def body(text: str) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": text}], "max_tokens": 1}


async def hang_up(http: httpx2.AsyncClient, content: dict[str, object], after_s: float) -> None:
    """Send it whole, and close the connection."""
    port = http.base_url.port
    data = json.dumps(content).encode()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {CHAT} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(data)}\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()
    await asyncio.sleep(after_s)
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("unit", ["word and ", " ", "\n", "é", "a"])
async def test_eight_abandoned_bodies_do_not_hold_up_a_small_request(
    http: httpx2.AsyncClient, reader: Reader, unit: str
) -> None:
    text = unit * (7_500_000 // len(json.dumps(unit)[1:-1]))
    await asyncio.gather(*(hang_up(http, body(text), 0.05) for _ in range(8)))
    started = time.monotonic()
    reply = await http.post(CHAT, json=body("hello"))
    assert reply.status_code == 200
    assert time.monotonic() - started < 5
    assert max(reader.read) < 1000, "a text that can't fit was tokenised"


async def test_a_text_that_can_not_fit_is_refused_as_every_long_prompt(
    http: httpx2.AsyncClient, reader: Reader
) -> None:
    for text in ("x" * 7_000_000, "<|im_end|> a" * 500_000):
        reply = await http.post(CHAT, json=body(text))
        assert reply.status_code == 400
        error = reply.json()["error"]
        assert (error["code"], error["param"]) == (PromptTooLong.code, "messages")
        assert "context of 8192 tokens" in error["message"]
    tools = [
        {"type": "function", "function": {"name": f"t{n}", "description": "d" * 60_000}}
        for n in range(100)
    ]
    reply = await http.post(CHAT, json={**body("hi"), "tools": tools})
    assert reply.json()["error"]["code"] == PromptTooLong.code
    assert max(reader.read) < 100_000


async def test_small_requests_pass_a_large_one_that_is_being_read(
    http: httpx2.AsyncClient, reader: Reader
) -> None:
    reader.gate_at = "gate"
    large = asyncio.create_task(http.post(CHAT, json=body("gate " + "a b " * 25_000)))
    assert await asyncio.to_thread(reader.reached.wait, 10)
    for _ in range(10):
        assert (await http.post(CHAT, json=body("hello"))).status_code == 200
    assert not large.done()
    reader.gate.set()
    assert (await large).status_code in (200, 400)


async def test_a_large_body_whose_client_left_is_not_read_when_its_turn_comes(
    http: httpx2.AsyncClient, reader: Reader
) -> None:
    reader.gate_at = "gate"
    text = "a b " * 20_000
    first = asyncio.create_task(hang_up(http, body(f"gate {text}"), 0.5))
    assert await asyncio.to_thread(reader.reached.wait, 10)
    await asyncio.gather(*(hang_up(http, body(f"left {n} {text}"), 0.2) for n in range(5)))
    await first
    await asyncio.sleep(0.2)  # until the server has noticed
    reader.gate.set()
    assert (await http.post(CHAT, json=body("b a " * 20_000))).status_code in (200, 400)
    assert "b a b a " in reader.heads
    assert not [head for head in reader.heads if head.startswith("left")]


async def test_a_request_is_prepared_in_one_piece_of_work_off_the_event_loop(
    http: httpx2.AsyncClient, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []
    threads: set[str] = set()
    start, submit = preparing._Lane.start, reader.submit

    async def counted(lane: Any, work: Callable[[], Any]) -> Any:
        begun.append(lane._name)
        return await start(lane, work)

    def watched(request: Request, listener: Listener) -> None:
        threads.add(threading.current_thread().name)
        submit(request, listener)

    monkeypatch.setattr(preparing._Lane, "start", counted)
    monkeypatch.setattr(reader, "submit", watched)
    assert (await http.post(CHAT, json=body("hello"))).status_code == 200
    assert begun == ["small"] and [name.split("_")[0] for name in threads] == ["prepare-small"]


async def test_beyond_the_queue_s_bound_a_large_body_gets_429(
    reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "LARGE_WAITING_MAX", 2)
    async with (
        listening(build_server(reader, EngineConfig())) as url,
        httpx2.AsyncClient(base_url=url, timeout=30, trust_env=False) as client,
    ):
        reader.gate_at = "gate"
        text = "gate " + "a b " * 20_000
        held = [asyncio.create_task(client.post(CHAT, json=body(text))) for _ in range(3)]
        assert await asyncio.to_thread(reader.reached.wait, 10)
        await asyncio.sleep(0.3)
        refused = await client.post(CHAT, json=body(text))
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        reader.gate.set()
        assert {(await task).status_code for task in held} <= {200, 400}


async def test_large_schemas_and_very_many_messages_are_refused(http: httpx2.AsyncClient) -> None:
    schema = {
        "type": "object",
        "properties": {f"property{n}": {"type": "string"} for n in range(SCHEMA_BYTES_MAX // 20)},
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = await http.post(CHAT, json={**body("hi"), "response_format": form})
    assert reply.json()["error"]["code"] == "invalid_schema"
    messages = [{"role": "user", "content": "a"}] * (MESSAGES_MAX + 1)
    reply = await http.post(CHAT, json={"messages": messages})
    assert reply.status_code == 400 and reply.json()["error"]["param"] == "messages"


async def test_deeply_nested_arguments_of_an_old_call_are_text(http: httpx2.AsyncClient) -> None:
    call = {"id": "1", "function": {"name": "f", "arguments": "[" * 20_000}}
    tool = {"type": "function", "function": {"name": "f"}}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]
    reply = await http.post(CHAT, json={"messages": messages, "tools": [tool], "session_id": "s"})
    assert reply.status_code in (200, 400), reply.text


@pytest.mark.parametrize("seed", range(20))
def test_no_text_has_fewer_tokens_than_the_floor_says(
    vocabulary: LlamaVocabulary, seed: int
) -> None:
    rng = random.Random(seed)
    longest = max(
        (bindings.token_bytes(vocabulary._handle, t, special=True) for t in range(vocabulary.size)),
        key=len,
    ).decode()
    parts = [longest, "\x04", "\x00", "é", "🙂", " ", "\n", "word", "<|im_end|>", "=" * 200, "\x1d"]
    text = "".join(rng.choice(parts) * rng.randint(1, 200) for _ in range(20))
    for special in (True, False):
        assert vocabulary.tokens_at_least(text) <= len(vocabulary.tokenize(text, special=special))


def test_the_floor_counts_no_byte_that_may_vanish() -> None:
    bytes_alone = [bytes([value]) for value in range(256)]
    assert TokenFloor.of_pieces([*bytes_alone, b"abcd"], strips_space=False).tokens("a" * 9) == 3
    gaps = TokenFloor.of_pieces([*bytes_alone[5:], b"abcd"], strips_space=False)
    assert gaps.tokens("\x04" * 100 + "a") == 1
    strips = TokenFloor.of_pieces([*bytes_alone, b"abcd"], strips_space=True)
    assert strips.tokens(" \n" * 100 + "abcde") == 2
    assert TokenFloor(0).tokens("anything") == 0
