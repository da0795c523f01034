"""One streamed request, and the times at which its pieces arrived."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import httpx2

from roost_inference.client.refusals import error_of, json_of, refusal
from roost_inference.errors import EngineFailed

EVENT_BYTES_MAX = 2**20
# For one read: on a machine worth measuring no prompt of the benchmarks takes longer.
READ_TIMEOUT_S = 120.0


@dataclass(slots=True)
class Call:
    """A request on the wire; times are time.perf_counter()'s, filled in as the answer comes."""

    sent_s: float
    piece_s: list[float] = field(default_factory=list)
    text: str = ""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ttft_ms(self) -> float:
        """Time to the first piece of text."""
        return (self.piece_s[0] - self.sent_s) * 1000

    @property
    def gaps_ms(self) -> list[float]:
        """Between one piece and the next."""
        return [(later - earlier) * 1000 for earlier, later in pairwise(self.piece_s)]

    @property
    def tokens_per_second(self) -> float:
        """After the first token."""
        return tokens_per_second([self])


def tokens_per_second(calls: Sequence[Call]) -> float:
    """All tokens over all time, from the first token of each answer on."""
    tokens = sum(call.completion_tokens - 1 for call in calls)
    return tokens / sum(call.piece_s[-1] - call.piece_s[0] for call in calls)


def connect(url: str, key: str = "") -> httpx2.AsyncClient:
    """A client for one server; `url` without /v1."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx2.AsyncClient(
        base_url=url.rstrip("/").removesuffix("/v1"),
        headers=headers,
        timeout=READ_TIMEOUT_S,
        limits=httpx2.Limits(max_connections=None),
        trust_env=False,
    )


async def ask(
    http: httpx2.AsyncClient,
    messages: Sequence[Mapping[str, Any]],
    max_tokens: int,
    *,
    model: str = "",
    session_id: str | None = None,
    salt: str | None = None,
    ignore_eos: bool = True,
    call: Call | None = None,
    **fields: object,
) -> Call:
    """Stream an answer to its end, greedy unless `fields` of the body say otherwise.

    `call` is filled in while the request runs, so that others can watch it. Raises EngineError.
    """
    body: dict[str, Any] = {
        "messages": list(messages),
        "max_tokens": max_tokens,
        "temperature": 0,
        "ignore_eos": ignore_eos,
        "stream": True,
        "stream_options": {"include_usage": True},
        **({"model": model} if model else {}),
        **({"cache_salt": salt} if salt else {}),
        **fields,
    }
    headers = {"x-session-id": session_id} if session_id else {}
    call = call or Call(0.0)
    call.sent_s = time.perf_counter()
    async with http.stream("POST", "/v1/chat/completions", json=body, headers=headers) as response:
        if response.status_code != 200:
            raise refusal(response.status_code, response.headers, await response.aread())
        source = httpx2.EventSource(response, max_event_size=EVENT_BYTES_MAX)
        async for event in source:
            if event.data.strip() == "[DONE]":
                break
            _take(call, json_of(event.data.encode()))
    if not call.piece_s:
        raise EngineFailed("The answer has no text")
    return call


def _take(call: Call, chunk: Any) -> None:
    now = time.perf_counter()
    if not isinstance(chunk, dict):
        raise EngineFailed("The engine sent an event that is not an object")
    error = error_of(chunk)
    if error is not None:
        raise error
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        text = delta.get("content") or delta.get("reasoning_content") or ""
        if text:
            call.text += text
            call.piece_s.append(now)
    if isinstance(chunk.get("metrics"), dict):
        call.metrics = chunk["metrics"]
    usage = chunk.get("usage")
    if isinstance(usage, dict):
        details = usage.get("prompt_tokens_details") or {}
        call.prompt_tokens = int(usage.get("prompt_tokens") or 0)
        call.completion_tokens = int(usage.get("completion_tokens") or 0)
        call.cached_tokens = int(details.get("cached_tokens") or 0)
