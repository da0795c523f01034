"""How a provider is asked: for one answer, for several choices, or for vectors."""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Final

from roost_inference.client.assembly import count_of
from roost_inference.errors import InvalidRequest
from roost_platform.gateway.events import Embedded, Event, Finish, Started, Usage
from roost_platform.gateway.providers.provider import Provider
from roost_platform.gateway.providers.wire_limits import check_wire
from roost_platform.gateway.request import ModelRequest

BATCHES_WAITING_MAX: Final = 64  # of all choices together, until the client has read some


def asked(
    provider: Provider, request: ModelRequest, model: str, hints: Mapping[str, Any]
) -> AsyncGenerator[Sequence[Event], None]:
    """The answer of a provider as batches of events, whatever kind of answer is wanted.

    Raises FieldNotSupported for a request that it can't obey.
    """
    check_wire(request, provider.wire, provider.name)
    if request.family == "embeddings":
        return _embedded(provider, request, model)
    if request.n > 1:
        return _Choices(provider, request, model, hints).batches()
    return provider.stream(request, model, hints)


async def _embedded(
    provider: Provider, request: ModelRequest, model: str
) -> AsyncGenerator[Sequence[Event], None]:
    value = await provider.embed(request.body, model)
    usage = value.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    # Voyage tells the sum alone, which is that of the prompt: vectors are no tokens.
    tokens = count_of(counts.get("prompt_tokens")) or count_of(counts.get("total_tokens"))
    yield [Embedded(value), *([Usage(input_tokens=tokens)] if tokens else [])]


class _Choices:
    """Several choices. A provider that gives several gets one call for each prompt; from others,
    and for choices that are missing at the end of such a call, each choice is asked for by itself.
    All calls run at once, and one that fails ends them all.
    """

    def __init__(
        self, provider: Provider, request: ModelRequest, model: str, hints: Mapping[str, Any]
    ) -> None:
        self._provider = provider
        self._request = request
        self._model = model
        self._hints = hints
        self._bodies = [request.body, *request.more_bodies]
        self._each = max(1, request.n // len(self._bodies))
        self._waiting: asyncio.Queue[Sequence[Event] | Exception | None] = asyncio.Queue(
            BATCHES_WAITING_MAX
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._has_started = False
        self._usages: dict[tuple[int, int], Usage] = {}  # the last one of each call counts

    async def batches(self) -> AsyncGenerator[Sequence[Event], None]:
        """The events of all choices as they come, and their usage together."""
        gives_several = self._provider.wire == "openai"
        step = self._each if gives_several else 1
        for first in range(0, self._each * len(self._bodies), step):
            self._start(first, step)
        ended = 0
        try:
            while ended < len(self._tasks):
                item = await self._waiting.get()
                if item is None:
                    ended += 1
                elif isinstance(item, Exception):
                    raise item
                elif item:
                    yield item
            if self._usages:
                yield [_sum(list(self._usages.values()))]
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, first: int, count: int) -> None:
        self._tasks.append(asyncio.create_task(self._call(first, count)))

    async def _call(self, first: int, count: int) -> None:
        """Ask for `count` choices, the first of which is the choice `first`."""
        finished: set[int] = set()
        try:
            try:
                await self._ask(first, count, finished)
            except InvalidRequest as error:
                # It may refuse to give several; if not, single calls are refused in the same way.
                if count == 1 or finished or type(error) is not InvalidRequest:
                    raise
            for index in range(first, first + count):
                if count > 1 and index not in finished:
                    self._start(index, 1)
        except Exception as error:
            await self._waiting.put(error)
        else:
            await self._waiting.put(None)

    async def _ask(self, first: int, count: int, finished: set[int]) -> None:
        body = self._bodies[first // self._each]
        hints = dict(self._hints)
        if first:
            hints.pop("session_id", None)  # one sequence at a time continues a session
        if count == 1 and first and isinstance(body.get("seed"), int):
            body = {**body, "seed": body["seed"] + first}  # or all choices would be the same
        request = dataclasses.replace(
            self._request, body=body, n=count, more_bodies=(), direct=None
        )
        stream = self._provider.stream(request, self._model, hints)
        try:
            async for batch in stream:
                await self._waiting.put(self._placed(batch, first, count, finished))
        finally:
            await stream.aclose()

    def _placed(
        self, batch: Sequence[Event], first: int, count: int, finished: set[int]
    ) -> list[Event]:
        """The events with the numbers of their choices; usage and further starts are kept back."""
        placed: list[Event] = []
        for event in batch:
            if isinstance(event, Usage):
                self._usages[first, count] = event
            elif isinstance(event, Started):
                if not self._has_started:
                    placed.append(event)
                self._has_started = True
            elif not isinstance(event, Embedded):
                index = first + event.choice
                if isinstance(event, Finish):
                    finished.add(index)
                placed.append(dataclasses.replace(event, choice=index) if first else event)
        return placed


def _sum(usages: Sequence[Usage]) -> Usage:
    """What all calls have used together: each of them has read the prompt."""
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        cache_write_tokens=sum(usage.cache_write_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in usages),
    )
