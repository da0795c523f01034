"""What a provider does not count, or counts as nothing, is in the usage as an estimate."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost_platform.db import models
from roost_platform.testing.providers.gateway import GatewayServer, gateway_server
from roost_platform.testing.providers.upstream import Act, Upstream, delta, upstream

pytestmark = pytest.mark.usefixtures("sqlite_url")  # a migrated file is copied

TEXT = "Twelve words."
HELLO = [{"role": "user", "content": "Hello"}]
END = {"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
JSON = {"content-type": "application/json"}


@pytest.fixture
async def provider() -> AsyncIterator[Upstream]:
    async with upstream() as serving:
        yield serving


@pytest.fixture
async def gateway(tmp_path: Path, provider: Upstream) -> AsyncIterator[GatewayServer]:
    providers = {
        "p": {"base_url": provider.base_url},
        "a": {"base_url": provider.base_url, "wire": "anthropic"},
    }
    settings = {"providers": providers, "gateway": {"retries": 0}}
    async with gateway_server(tmp_path, overrides=settings) as server:
        yield server


async def counted(gateway: GatewayServer, path: str, body: dict[str, Any]) -> tuple[int, int, int]:
    """Tokens read, those of them from a cache, and tokens written, in the row of this call."""
    await gateway.post(path, body)
    await gateway.until_idle()
    newest = select(models.GatewayCall).order_by(models.GatewayCall.started_at.desc()).limit(1)
    async with gateway.database.read() as session:
        row = await session.scalar(newest)
    assert row is not None
    return row.input_tokens, row.cached_tokens, row.output_tokens


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": None, "completion_tokens": None},
        {"prompt_tokens": "many", "completion_tokens": 10**30},
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_counts_that_are_none_are_no_free_answer(
    gateway: GatewayServer, provider: Upstream, usage: Any, stream: bool
) -> None:
    provider.acts = [Act(events=[delta(TEXT), {**END, "usage": usage}, "[DONE]"])]
    body = {"model": "p/m", "messages": HELLO, "stream": stream}
    read, _, written = await counted(gateway, "/v1/chat/completions", body)
    assert read > 0 and written == 4


async def test_only_the_count_that_is_missing_is_estimated(
    gateway: GatewayServer, provider: Upstream
) -> None:
    body = {"model": "p/m", "messages": HELLO}
    for usage, expected in (
        ({"prompt_tokens": 77, "completion_tokens": 0}, (77, 0, 4)),
        ({"prompt_tokens": 77, "completion_tokens": 9}, (77, 0, 9)),
    ):
        provider.acts = [Act(events=[delta(TEXT), {**END, "usage": usage}, "[DONE]"])]
        assert await counted(gateway, "/v1/chat/completions", body) == expected


async def test_a_refusal_and_vectors_without_counts_are_in_the_usage(
    gateway: GatewayServer, provider: Upstream
) -> None:
    provider.acts = [Act(events=[delta(refusal=TEXT), END, "[DONE]"])]
    body = {"model": "p/m", "messages": HELLO}
    assert (await counted(gateway, "/v1/chat/completions", body))[2] == 4
    vector = '"data": [{"index": 0, "embedding": [0.5]}]'
    for answer, tokens in (
        (f"{{{vector}}}", 100),
        (f'{{{vector}, "usage": {{"total_tokens": 91}}}}', 91),
        ('{"data": []}', 0),
    ):
        provider.acts = [Act(headers=JSON, body=answer.encode())]
        embed = {"model": "p/m", "input": "x" * 400}
        assert await counted(gateway, "/v1/embeddings", embed) == (tokens, 0, 0)


OVER = {"type": "message_stop"}


def begun(**usage: int) -> dict[str, Any]:
    return {"type": "message_start", "message": {"id": "m", "usage": usage}}


def piece(text: str) -> dict[str, Any]:
    words = {"type": "text_delta", "text": text}
    return {"type": "content_block_delta", "index": 0, "delta": words}


def ended(**usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([begun(input_tokens=70), piece(TEXT), ended()], (70, 0, 4)),
        # The count of the start is a placeholder.
        ([begun(input_tokens=70, output_tokens=1), piece(TEXT), ended()], (70, 0, 4)),
        ([begun(input_tokens=70, output_tokens=1), piece(TEXT), OVER], (70, 0, 4)),
        # A later event with no count of the prompt takes none back, but may correct it.
        ([begun(input_tokens=70), piece(TEXT), ended(input_tokens=0, output_tokens=3)], (70, 0, 3)),
        (
            [
                begun(input_tokens=70),
                piece(TEXT),
                ended(input_tokens=0, cache_read_input_tokens=60, output_tokens=3),
            ],
            (60, 60, 3),
        ),
        # The answer breaks off: the prompt is what the provider has counted, with its cached part.
        (
            [begun(input_tokens=10, cache_read_input_tokens=60, output_tokens=1), piece(TEXT)],
            (70, 60, 4),
        ),
    ],
)
async def test_counts_of_an_answer_in_anthropic_s_form_are_those_that_were_told(
    gateway: GatewayServer,
    provider: Upstream,
    events: Sequence[Any],
    expected: tuple[int, int, int],
) -> None:
    provider.acts = [Act(events=events)]
    body = {"model": "a/m", "messages": HELLO, "stream": True, "max_tokens": 9}
    assert await counted(gateway, "/v1/messages", body) == expected
