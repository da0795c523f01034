"""Sends a request to the first target that answers; no other one is tried after its first byte."""

import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from roost_inference.errors import EngineError
from roost_platform.gateway.config import BUNDLED
from roost_platform.gateway.errors import ProviderSilent, UnreadableAnswer
from roost_platform.gateway.events import (
    CallDelta,
    Embedded,
    Event,
    ReasoningDelta,
    RefusalDelta,
    Started,
    TextDelta,
    Usage,
)
from roost_platform.gateway.providers.asking import asked
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import Catalogue, Target
from roost_platform.gateway.routing.client_errors import client_error
from roost_platform.gateway.routing.patience import Patience
from roost_platform.gateway.routing.search import Search, Taken
from roost_platform.gateway.sizes import PromptSize

T = TypeVar("T")
Ask = Callable[[Target], AsyncGenerator[T, None]]

HELD_MAX = 64  # items before the one with which an answer begins
# A provider that thinks for long sends pings or comments meanwhile. It may do so for this many
# times the bound of its first byte.
ALIVE_TIMES = 10


@dataclass(slots=True)
class CallTrace:
    """What becomes of one call, for usage, pages and spans; filled while it runs.

    Times are monotonic seconds. target: the one that answered. model: the provider's own name of
    it. tries: targets that were asked and failed, with the code of the error, and those that were
    passed over as `busy` or `cooling`. prompt: what the provider has told of the prompt before the
    end. is_embedded: vectors have come. saved_tokens: of the prompt, by compressing it. patience:
    of the waits for more of the answer.
    """

    started: float = field(default_factory=time.monotonic)
    first: float | None = None
    target: Target | None = None
    usage: Usage | None = None
    prompt: Usage | None = None
    model: str = ""
    prompt_bytes: int = 0
    size: PromptSize = field(default_factory=PromptSize)
    saved_tokens: int = 0
    produced_bytes: int = 0
    is_embedded: bool = False
    tries: list[tuple[str, str]] = field(default_factory=list)
    patience: Patience | None = field(default=None, repr=False)

    @property
    def counted(self) -> Usage:
        """What the provider has counted so far; of the output only the count at its end is one."""
        if self.usage is None and self.prompt is not None:
            return replace(self.prompt, output_tokens=0)
        return self.usage or Usage()

    @property
    def target_name(self) -> str:
        """`provider/model` of the target that answered, empty for none."""
        if self.target is None or not self.target.model:
            return f"{BUNDLED}/{self.model}" if self.model else ""
        return self.target.name

    def heard(self, text: str) -> None:
        """Take down text that has gone to the client past the events."""
        self.produced_bytes += _size(text)
        if self.patience is not None:
            self.patience.renew()

    def note(self, batch: Sequence[Event]) -> None:
        """Take down what these events tell."""
        for event in batch:
            match event:
                case TextDelta() | ReasoningDelta() | RefusalDelta():
                    self.produced_bytes += _size(event.text)
                case CallDelta():
                    self.produced_bytes += len(event.name) + len(event.arguments)
                case Usage():
                    self.usage = event
                case Started():
                    self.model, self.prompt = event.model, event.prompt
                case Embedded():
                    self.is_embedded = bool(event.value.get("data"))


def _at_once(item: Any) -> bool:
    return True


def _pass_over(item: Any) -> None:
    """Nothing is noted of it."""


@dataclass(slots=True)
class Router:
    """Routes requests over a catalogue."""

    catalogue: Catalogue

    def stream(
        self, request: ModelRequest, trace: CallTrace, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Batches of events of the first target that answers. Raises EngineError; StreamBroken
        after the first batch: what the client has read can't be taken back.
        """

        def ask(target: Target) -> AsyncGenerator[Sequence[Event], None]:
            # They are for the engine in use, and no other provider needs to see them.
            own = hints if target.provider.name == BUNDLED else {}
            return asked(target.provider, request, target.model, own)

        def told(error: EngineError) -> EngineError:
            return client_error(error, has_begun=trace.target is not None)

        return self._routed(request.model, trace, ask, _has_content, trace.note, told)

    def route(
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
        return self._routed(model, trace, ask, begins, _pass_over, None)

    async def _routed(
        self,
        model: str,
        trace: CallTrace,
        ask: Ask[T],
        begins: Callable[[T], bool],
        note: Callable[[T], None],
        told: Callable[[EngineError], EngineError] | None,
    ) -> AsyncGenerator[T, None]:
        """See route. note: is given each item before it goes on. told: what a client is told of
        an error. All in one generator, as each one more costs a part of a call.
        """
        try:
            search = Search(await self.catalogue.resolve(model), self.catalogue, trace.tries)
            while True:
                taken = await search.next()
                target, attempt, patience = taken.target, taken.attempt, Patience()
                try:
                    async with contextlib.aclosing(ask(target)) as items:
                        bound_s = _alive_s(target)
                        beginning = await _beginning(taken, items, begins, patience)
                        trace.target, trace.first = target, time.monotonic()
                        trace.patience = patience
                        for item in beginning:
                            note(item)
                            yield item
                        while (more := await _next(items, target, patience, bound_s)) is not None:
                            note(more)
                            yield more
                        attempt.completed()
                    return
                except EngineError as error:
                    self.catalogue.hide_key(target, error)
                    attempt.failed(error)
                    if trace.target is not None:
                        raise
                    search.failed(target, error)
                finally:
                    patience.close()
                    taken.leave()
        except EngineError as error:
            if told is None:
                raise
            raise told(error) from error


def _alive_s(target: Target) -> float | None:
    """How long a provider may say that it lives and nothing else."""
    bound_s = target.first_byte_timeout_s
    return None if bound_s is None else bound_s * ALIVE_TIMES


async def _next(
    items: AsyncGenerator[T, None], target: Target, patience: Patience, bound_s: float | None
) -> T | None:
    """The next item, None behind the last one. Raises ProviderSilent after this time: comments and
    pings without end are no answer.
    """
    try:
        with patience(bound_s):
            return await anext(items, None)
    except TimeoutError:
        raise ProviderSilent(f"{target.name} said nothing new for {bound_s:g} s") from None


async def _beginning(
    taken: Taken,
    items: AsyncGenerator[T, None],
    begins: Callable[[T], bool],
    patience: Patience,
) -> list[T]:
    """The items until the answer has begun. Raises ProviderSilent where the first one takes too
    long, UnreadableAnswer for one without content.
    """
    held: list[T] = []
    bound_s, alive_s = taken.target.first_byte_timeout_s, _alive_s(taken.target)
    try:
        with patience(bound_s):
            async for item in items:
                if not held and alive_s is not None:  # it lives; what it says may take a while
                    bound_s = alive_s
                    patience.extend(alive_s)
                held.append(item)
                if begins(item) or len(held) >= HELD_MAX:
                    taken.attempt.answered()
                    return held
    except TimeoutError:
        raise ProviderSilent(f"{taken.target.name} sent nothing for {bound_s:g} s") from None
    raise UnreadableAnswer("The provider's answer has no content")


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode(errors="replace"))


def _has_content(batch: Sequence[Event]) -> bool:
    """Whether a client is told anything of this batch."""
    return any(not isinstance(event, Started) for event in batch)
