"""Several choices of one request: asked for at once, bounded, and ended together."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from roost_inference.errors import InvalidRequest
from roost_inference.testing.scripts import Say
from roost_platform.gateway.config import BUNDLED
from roost_platform.gateway.events import Event, Finish, Started, TextDelta, Usage
from roost_platform.gateway.families.completions.reading import (
    CHOICES_MAX,
    LOGPROBS_MAX,
    N_MAX,
    TOKENS_BY_DEFAULT,
    read_completion,
)
from roost_platform.gateway.providers.asking import BATCHES_WAITING_MAX, asked
from roost_platform.gateway.request import ModelRequest, Wire
from roost_platform.testing.providers.gateway import gateway_server


class Endless:
    """A provider that writes on for as long as it is read."""

    def __init__(self, name: str = BUNDLED, wire: Wire = "openai") -> None:
        self.name = name
        self.wire: Wire = wire
        self.written = 0
        self.open = 0
        self.seen: list[tuple[ModelRequest, Mapping[str, Any]]] = []

    async def stream(
        self, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Text until it is closed."""
        self.seen.append((request, hints))
        self.open += 1
        try:
            yield [Started(), Usage(3, output_tokens=1)]
            while True:
                self.written += 1
                yield [TextDelta("a"), Usage(3, output_tokens=2)]
                await asyncio.sleep(0)
                if request.body.get("stops"):
                    yield [Finish("stop")]
                    return
        finally:
            self.open -= 1

    async def embed(self, body: Mapping[str, Any], model: str) -> Mapping[str, Any]:
        """Nothing."""
        raise NotImplementedError

    async def models(self) -> Sequence[Mapping[str, Any]]:
        """None."""
        return ()

    async def close(self) -> None:
        """Nothing to close."""


async def test_a_client_that_does_not_read_holds_the_provider_back() -> None:
    provider = Endless("other", "anthropic")
    request = ModelRequest("chat", "m", {}, n=N_MAX)
    async with contextlib.aclosing(asked(provider, request, "m", {})) as batches:
        await anext(batches)
        for _ in range(BATCHES_WAITING_MAX * 4):
            await asyncio.sleep(0)
        assert provider.open == N_MAX
        assert provider.written <= BATCHES_WAITING_MAX + N_MAX
    assert provider.open == 0


async def test_anthropic_s_wire_is_asked_once_for_each_choice_and_others_for_all_at_once() -> None:
    hints = {"session_id": "s", "cache_salt": "k"}
    for provider, calls in (
        (Endless("other", "anthropic"), 3),
        (Endless("other"), 1 + 2),  # it gives one of three, the rest is asked for again
        (Endless(BUNDLED), 1 + 2),
    ):
        request = ModelRequest("chat", "m", {"stops": True, "seed": 5}, n=3)
        events = [e async for batch in asked(provider, request, "m", hints) for e in batch]
        assert sum(isinstance(event, Started) for event in events) == 1
        finished = [event.choice for event in events if isinstance(event, Finish)]
        assert sorted(finished) == [0, 1, 2]
        # The last figures of each call, together.
        assert events[-1] == Usage(3 * calls, output_tokens=2 * calls)
        sessions = [seen["session_id"] for _, seen in provider.seen if "session_id" in seen]
        assert sessions == ["s"]
        assert {one.body["seed"] for one, _ in provider.seen} == {5, 6, 7}


async def test_a_client_that_leaves_ends_every_choice(tmp_path: Path) -> None:
    async with gateway_server(tmp_path) as gateway:
        gateway.engine.when(lambda body: True, Say("on and on " * 500, per_second=20))
        body = {"model": "fast", "messages": [{"role": "user", "content": "x"}], "n": 3}
        for is_stream in (True, False):
            before = gateway.engine.aborted
            asking = asyncio.ensure_future(
                gateway.post("/v1/chat/completions", {**body, "stream": is_stream})
            )
            async with asyncio.timeout(30):
                while gateway.engine.running < 3:
                    await asyncio.sleep(0.01)
                asking.cancel()
                while gateway.engine.running:
                    await asyncio.sleep(0.01)
            assert gateway.engine.aborted == before + 3


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": None}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [""]}, "prompt"),
        ({"prompt": [[1, 2]]}, "prompt"),
        ({"prompt": ["a"] * (CHOICES_MAX + 1)}, "prompt"),
        ({"prompt": ["a"] * 3, "n": N_MAX}, "prompt"),
        ({"n": N_MAX + 1}, "n"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"n": 1, "best_of": 2, "stream": True}, "best_of"),
        ({"logprobs": LOGPROBS_MAX + 1}, "logprobs"),
        ({"logprobs": True}, "logprobs"),
        ({"logprobs": 1, "echo": True}, "echo"),
        ({"suffix": "b"}, "suffix"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stream_options": {}}, "stream_options"),
    ],
)
def test_a_completion_that_can_t_be_made_is_refused_by_name(
    fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_completion({"model": "m", "prompt": "a", **fields}, {})
    assert refused.value.param == param


def test_each_prompt_of_a_completion_is_a_chat_of_its_own() -> None:
    request = read_completion({"prompt": ["a", "b"], "n": 2, "best_of": 3, "top_k": 4}, {})
    assert request.n == 6
    assert request.max_tokens == TOKENS_BY_DEFAULT
    for body, prompt in zip((request.body, *request.more_bodies), "ab", strict=True):
        assert body["messages"] == [{"role": "user", "content": prompt}]
        assert body["logprobs"] is True and body["top_k"] == 4
