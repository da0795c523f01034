"""What the bundled core does not heed reaches the gateway's client."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from roost_platform.gateway.events import Usage
from roost_platform.gateway.providers.chat_decoder import WARNINGS_MAX, ChatDecoder
from roost_platform.testing.providers.gateway import gateway_server

BODY: dict[str, Any] = {
    "model": "roost/scripted",
    "messages": [{"role": "user", "content": "hi"}],
    "colour": "red",
}


async def test_a_field_that_the_core_does_not_know_is_named_by_the_gateway(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as gateway:
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False, timeout=60) as http:
            key = {"authorization": f"Bearer {gateway.secret}"}
            whole = await http.post("/v1/chat/completions", json=BODY, headers=key)
            assert [each["field"] for each in whole.json()["warnings"]] == ["colour"]
            streamed = {**BODY, "stream": True, "stream_options": {"include_usage": True}}
            stream = await http.post("/v1/chat/completions", json=streamed, headers=key)
        last = stream.text.rstrip().removesuffix("data: [DONE]").rstrip().rsplit("data: ", 1)[1]
        assert json.loads(last)["warnings"] == whole.json()["warnings"]


@pytest.mark.parametrize("foreign", ["slow", {"a": 1}, [7], [{"a": 1}], [{"a": "x" * 501}], None])
def test_what_other_providers_call_warnings_is_left_out(foreign: Any) -> None:
    assert usage(foreign).warnings == ()


def test_warnings_are_bounded() -> None:
    assert len(usage([{"field": "a"}] * (2 * WARNINGS_MAX)).warnings) == WARNINGS_MAX


def usage(warnings: Any) -> Usage:
    decoder = ChatDecoder()
    chunk = {"choices": [], "usage": {"prompt_tokens": 1}, "warnings": warnings}
    (found,) = [event for event in decoder.feed(chunk) if isinstance(event, Usage)]
    return found
