"""Whatever an engine streams, the client ends with an answer or one of its own errors."""

import asyncio
import contextlib
import json

import httpx2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roost_inference.client.assembly import AnswerAssembly
from roost_inference.client.events import events_of
from roost_inference.errors import EngineError

WORDS = st.sampled_from(
    [
        *("choices", "delta", "message", "content", "text", "type", "tool_calls", "function"),
        *("name", "arguments", "index", "id", "finish_reason", "usage", "error", "code", "model"),
        *("prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "role"),
        *("reasoning_content", "<think>", "</think>", "stop", "length", "tool_calls", "\ud800", ""),
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)
CHUNKS = st.fixed_dictionaries(
    {"choices": st.lists(st.dictionaries(WORDS, VALUES, max_size=4) | VALUES, max_size=2)},
    optional={"usage": VALUES, "error": VALUES, "id": VALUES, "model": VALUES},
)
LINES = (CHUNKS | VALUES).map(lambda value: f"data: {json.dumps(value)}\n\n") | st.sampled_from(
    [": alive\n\n", "data:\n\n", "data: [DONE]\n\n", "event: error\n", "\r\n", "data: {", "\ufeff"]
)
BODIES = st.lists(LINES, max_size=6).map(lambda lines: "".join(lines).encode()) | st.binary(
    max_size=64
)


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(BODIES)
def test_no_stream_of_an_engine_raises_anything_but_its_errors(body: bytes) -> None:
    async def read() -> None:
        answer = AnswerAssembly(model="m")
        request = httpx2.Request("POST", "http://127.0.0.1/v1/chat/completions")
        response = httpx2.Response(200, content=body, request=request)
        with contextlib.suppress(EngineError):
            async for event in events_of(response):
                if event.is_end:
                    answer.end_mark()
                    break
                answer.add(event.value, is_event_error=event.is_error)
            answer.end()
            done = answer.completed()
            json.dumps([done.text, [call.arguments for call in done.tool_calls]]).encode()
            assert isinstance(done.text, str) and isinstance(done.completion_tokens, int)

    asyncio.run(read())
