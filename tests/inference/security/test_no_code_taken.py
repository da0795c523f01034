"""The engine's port takes no command, template, code or address that it then uses."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest

from roost_inference.engine import Engine
from roost_inference.testing.raw_server import raw_server
from roost_inference.wire.chat_call import ChatCall
from roost_inference.wire.session_hint import SessionHint

DANGEROUS = re.compile(
    r"url|uri|host|port|webhook|callback|command|shell|exec|eval|code|script|python|template"
    r"|jinja|path|file|import|module|plugin|loader|adapter"
)
# What such a name stands for all the same.
HARMLESS = {
    "image_url": "refused: the bundled model sees no pictures, and none is fetched",
    "remote_host": "only loopback and ROOST_ENGINE__HANDOVER_PEERS are asked, whatever it says",
    "remote_port": "the same",
    "chat_template": "refused: only the model's own template is rendered, or the settings' one",
    "chat_template_kwargs": "values of variables, which the template writes as they are",
}


def names(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield from schema["properties"]
        for part in schema.values():
            yield from names(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from names(part)


def test_s17_no_field_of_the_wire_is_named_like_code_or_an_address() -> None:
    found = {*names(ChatCall.model_json_schema()), *names(SessionHint.model_json_schema())}
    assert {"messages", "tools", "cache_salt", "reason"} <= found
    assert {name for name in found if any(map(DANGEROUS.fullmatch, name.split("_")))} <= set(
        HARMLESS
    )


@pytest.fixture
async def trap() -> AsyncIterator[str]:
    """The address of a server that must not be asked."""
    visits: list[int] = []

    async def visited(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        visits.append(1)

    async with raw_server(visited) as url:
        yield f"{url}/x"
    assert visits == []


async def test_s17_nothing_that_a_request_names_is_fetched_or_rendered(
    real_url: str, real_engine: Engine, trap: str
) -> None:
    hi = [{"role": "user", "content": "hi"}]
    picture = {"type": "image_url", "image_url": {"url": trap}}
    schema = {"type": "object", "properties": {"a": {"$ref": trap}}, "$schema": trap, "$id": trap}
    function = {"name": "f", "description": "{{ 7*7 }}", "parameters": schema}
    template = "{{ 7919 * 7907 }}{% for x in range(9) %}{{ x }}{% endfor %}"
    bodies: list[dict[str, Any]] = [
        {"messages": [{"role": "user", "content": [picture]}]},
        {"messages": hi, "tools": [{"type": "function", "function": function}]},
        {
            "messages": hi,
            "tool_choice": "required",
            "tools": [{"type": "function", "function": function}],
        },
        {
            "messages": hi,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": schema},
            },
        },
        {"messages": hi, "model": trap},
        {"messages": hi, "chat_template": template},
        {"messages": hi, "chat_template_kwargs": {"template": template}},
        {"messages": hi, "kv_transfer_params": {"remote_host": trap, "remote_url": trap}},
        {"messages": hi, "session_id": trap, "cache_salt": trap, "tenant": trap},
        {"messages": hi, "lora": trap, "documents": [trap], "tools_url": trap},
        {"messages": [{"role": "user", "content": f"Say {template}"}]},
    ]
    async with httpx2.AsyncClient(base_url=real_url, timeout=60) as http:
        for body in bodies:
            answer = await http.post("/v1/chat/completions", json={**body, "max_tokens": 4})
            assert answer.status_code < 500, answer.text
            assert "62615533" not in answer.text
        plain = await http.post(
            "/v1/chat/completions",
            json={"messages": [{"role": "user", "content": template}], "max_tokens": 1},
        )
        same = [{"role": "user", "content": "x" + template[1:]}]
        other = await http.post("/v1/chat/completions", json={"messages": same, "max_tokens": 1})
        for action in ("pin", "prefetch", "offload", "exec", "../../etc/passwd"):
            answer = await http.post(f"/v1/sessions/x/{action}", json={"reason": trap})
            assert answer.status_code < 500
        for name in (trap, "../../etc/passwd", "%2e%2e%2fetc"):
            assert (await http.get(f"/v1/models/{name}")).status_code == 404
    # A template in a message is its text: as many tokens as the same characters without braces.
    tokens = [one.json()["usage"]["prompt_tokens"] for one in (plain, other)]
    assert abs(tokens[0] - tokens[1]) <= 3
