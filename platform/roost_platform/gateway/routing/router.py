"""Sends a request to the first target that answers; no other one is tried after its first byte."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from roost_inference.errors import ContentRefused, EngineError, EngineFailed, EngineRefused
from roost_platform.gateway.config import BUNDLED
from roost_platform.gateway.errors import ProviderRefused, ProviderSilent, StreamBroken
from roost_platform.gateway.events import (
    CallDelta,
    Event,
    ReasoningDelta,
    Started,
    TextDelta,
    Usage,
)
from roost_platform.gateway.providers.asking import asked
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import Catalogue, Target
from roost_platform.gateway.routing.search import Search, Taken
from roost_platform.gateway.sizes import PromptSize

T = TypeVar("T")
Ask = Callable[[Target], AsyncGenerator[T, None]]

HELD_MAX = 64  # items before the one with which an answer begins


@dataclass(slots=True)
class CallTrace:
    """What becomes of one call, for usage, pages and spans; filled while it runs.

    Times are monotonic seconds. target: the one that answered. model: the provider's own name of
    it. tries: targets that were asked and failed, with the code of the error, and those that were
    passed over as `busy` or `cooling`. saved_tokens: of the prompt, by compressing it.
    """

    started: float = field(default_factory=time.monotonic)
    first: float | None = None
    target: Target | None = None
    usage: Usage | None = None
    model: str = ""
    prompt_bytes: int = 0
    size: PromptSize = field(default_factory=PromptSize)
    saved_tokens: int = 0
    produced_bytes: int = 0
    tries: list[tuple[str, str]] = field(default_factory=list)

    @property
    def target_name(self) -> str:
        """`provider/model` of the target that answered, empty for none."""
        if self.target is None or not self.target.model:
            return f"{BUNDLED}/{self.model}" if self.model else ""
        return self.target.name


def _at_once(item: Any) -> bool:
    return True


@dataclass(slots=True)
class Router:
    """Routes requests over a catalogue."""

    catalogue: Catalogue

    async def stream(
        self, request: ModelRequest, trace: CallTrace, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Batches of events of the first target that answers. Raises EngineError; StreamBroken
        after the first batch: what the client has read can't be taken back.
        """

        def ask(target: Target) -> AsyncGenerator[Sequence[Event], None]:
            # They are for the engine in use, and no other provider needs to see them.
            own = hints if target.provider.name == BUNDLED else {}
            return asked(target.provider, request, target.model, own)

        routed = self.route(request.model, trace, ask, begins=_has_content)
        try:
            async with contextlib.aclosing(routed) as batches:
                async for batch in batches:
                    for event in batch:
                        match event:
                            case TextDelta() | ReasoningDelta():
                                trace.produced_bytes += len(event.text.encode(errors="replace"))
                            case CallDelta():
                                trace.produced_bytes += len(event.name) + len(event.arguments)
                            case Usage():
                                trace.usage = event
                            case Started():
                                trace.model = event.model
                    yield batch
        except EngineError as error:
            raise _told(error, trace) from error

    async def route(
        self,
        model: str,
        trace: CallTrace,
        ask: Ask[T],
        *,
        begins: Callable[[T], bool] = _at_once,
    ) -> AsyncGenerator[T, None]:
        """What the first target says that answers when it is asked this way. Raises EngineError.

        A target that fails before its answer begins is followed by the next one. begins: whether an
        answer begins with this item; what comes before is held back with it.
        """
        search = Search(await self.catalogue.resolve(model), self.catalogue, trace.tries)
        while True:
            taken = await search.next()
            target, attempt = taken.target, taken.attempt
            try:
                async with contextlib.aclosing(ask(target)) as items:
                    beginning = await _beginning(taken, items, begins)
                    trace.target, trace.first = target, time.monotonic()
                    for item in beginning:
                        yield item
                    async for item in items:
                        yield item
                    attempt.completed()
                return
            except EngineError as error:
                attempt.failed(error)
                if trace.target is not None:
                    raise
                search.failed(target, error)
            finally:
                taken.leave()


async def _beginning(
    taken: Taken, items: AsyncGenerator[T, None], begins: Callable[[T], bool]
) -> list[T]:
    """The items until the answer has begun. Raises ProviderSilent where the first one takes too
    long, EngineFailed for an answer without content.
    """
    held: list[T] = []
    bound_s = taken.target.first_byte_timeout_s
    try:
        async with asyncio.timeout(bound_s) as clock:
            async for item in items:
                clock.reschedule(None)
                held.append(item)
                if begins(item) or len(held) >= HELD_MAX:
                    taken.attempt.answered()
                    return held
    except TimeoutError:
        raise ProviderSilent(f"{taken.target.name} sent nothing for {bound_s:g} s") from None
    raise EngineFailed("The provider's answer has no content")


def _has_content(batch: Sequence[Event]) -> bool:
    """Whether a client is told anything of this batch."""
    return any(not isinstance(event, Started) for event in batch)


def _told(error: EngineError, trace: CallTrace) -> EngineError:
    """An error as the client is told."""
    if isinstance(error, ContentRefused | StreamBroken):
        return error
    if trace.target is not None:
        return StreamBroken(f"The provider's answer broke off: {error.message}")
    if isinstance(error, EngineRefused):
        return ProviderRefused(f"A provider refuses this gateway: {error.message}")
    return error
