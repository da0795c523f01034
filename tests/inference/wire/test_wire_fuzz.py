"""No chat request makes the engine's server fail: drawn fields in drawn places give 2xx or 4xx."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roost_inference.engine import Engine
from roost_inference.http.listener import listening
from roost_inference.server import build_server
from roost_inference.wire.chat_call import ChatCall

CHAT = "/v1/chat/completions"
FIELDS = sorted(
    {
        alias
        for name, field in ChatCall.model_fields.items()
        for alias in (name, field.alias)
        if alias
    }
)
INNER = [
    "role", "content", "type", "text", "function", "name", "parameters", "properties", "required",
    "tool_calls", "arguments", "id", "tool_call_id", "json_schema", "schema", "strict", "enum",
    "include_usage", "$ref", "$defs", "items", "pattern", "minimum", "anyOf",
]  # fmt: skip
WORDS = [
    "user", "system", "assistant", "tool", "json_schema", "json_object", "object", "string", "auto",
    "required", "none", "<tool_call>", "<|im_start|>system", "#/$defs/a", "((a+)+)+$", "\x00", "😀",
]  # fmt: skip
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**23, -(10**23), 2**63, -1, 0, 10**400])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([*WORDS, "\ud83d", "\udc00x"])
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4)
    ),
    max_leaves=12,
)
ARGUMENTS = st.text(max_size=6) | st.sampled_from(
    ["[" * 50_000, '{"a":' * 400, "{}", "NaN", "9" * 5000]
)
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system", "assistant", "tool"])},
        optional={
            "content": VALUES,
            "tool_call_id": LEAVES,
            "tool_calls": st.lists(
                st.fixed_dictionaries(
                    {
                        "id": st.text(max_size=3),
                        "type": st.just("function"),
                        "function": st.fixed_dictionaries(
                            {"name": st.text(max_size=3), "arguments": ARGUMENTS}
                        ),
                    }
                ),
                max_size=2,
            ),
        },
    ),
    max_size=3,
)
TOOLS = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.just("function"),
            "function": st.fixed_dictionaries(
                {"name": st.text("ab_-", max_size=3), "parameters": VALUES}
            ),
        }
    ),
    max_size=2,
)
SCHEMAS = st.fixed_dictionaries(
    {
        "type": st.just("json_schema"),
        "json_schema": st.fixed_dictionaries({"name": st.just("x"), "schema": VALUES}),
    }
)
REQUESTS = st.builds(
    lambda base, more: {**base, **more},
    st.fixed_dictionaries(
        {
            "messages": MESSAGES | st.just([{"role": "user", "content": "hi"}]),
            "max_tokens": st.just(2),
        },
        optional={"tools": TOOLS, "response_format": SCHEMAS, "stream": st.booleans()},
    ),
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=2),
)
BOUNDED = settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server(real_engine: Engine) -> Iterator[tuple[asyncio.Runner, httpx2.AsyncClient]]:
    """A server of the bundled model and a client, on a loop that hypothesis runs step by step."""
    with asyncio.Runner() as runner:
        serving = listening(build_server(real_engine))
        url = runner.run(serving.__aenter__())
        http = httpx2.AsyncClient(base_url=url, timeout=60, trust_env=False)
        yield runner, http
        runner.run(http.aclose())
        runner.run(serving.__aexit__(None, None, None))


async def statuses(http: httpx2.AsyncClient, body: bytes, path: str = CHAT) -> None:
    reply = await http.post(path, content=body)
    assert reply.status_code < 500, reply.text
    if reply.status_code >= 400:
        error = reply.json()["error"]
        assert error["message"] and error["type"]


@BOUNDED
@given(request=REQUESTS)
def test_s12_no_chat_request_makes_the_server_fail(
    server: tuple[asyncio.Runner, httpx2.AsyncClient], request: dict[str, Any]
) -> None:
    runner, http = server
    runner.run(statuses(http, json.dumps(request).encode()))


@BOUNDED
@given(value=VALUES)
def test_no_hint_about_a_session_makes_the_server_fail(
    server: tuple[asyncio.Runner, httpx2.AsyncClient], value: Any
) -> None:
    runner, http = server
    for body in (value, {"reason": value}, {"ttl_s": value}, {"cache_salt": value}):
        runner.run(statuses(http, json.dumps(body).encode(), "/v1/sessions/x/pin"))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"messages":' * 50_000,
        b"\xff\xfe",
        b"",
        b"9" * 5000,
        b'{"messages": [{"role": "user", "content": "\\ud83d"}], "max_tokens": 1}',
        b'{"messages": [{"role": "user", "content": "x"}], "max_tokens": 1e400}',
        b'{"messages": NaN}',
    ],
)
def test_bodies_that_are_hardly_json_are_refused_or_read(
    server: tuple[asyncio.Runner, httpx2.AsyncClient], body: bytes
) -> None:
    runner, http = server
    runner.run(statuses(http, body))
