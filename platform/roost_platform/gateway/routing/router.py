"""Sends a request to the first target that answers; no other one is tried after its first byte."""

import contextlib
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from roost_inference.errors import (
    ContentRefused,
    EngineError,
    EngineFailed,
    EngineRefused,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
    UnknownModel,
)
from roost_platform.gateway.errors import Overloaded, ProviderSilent, StreamBroken
from roost_platform.gateway.events import CallDelta, Event, ReasoningDelta, TextDelta, Usage
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import Catalogue, RoutedModel, Target

TRIES_MAX = 16  # of one request, over all its models and targets

T = TypeVar("T")
Ask = Callable[[Target], AsyncGenerator[T, None]]


@dataclass(slots=True)
class CallTrace:
    """What becomes of one call, for usage, pages and spans; filled while it runs.

    Times are monotonic seconds. model: the provider's name of it, where there is no target. tries:
    targets that were asked, with the code of the error of each that failed. saved_tokens: of the
    prompt, by compressing it.
    """

    started: float = field(default_factory=time.monotonic)
    first: float | None = None
    target: Target | None = None
    usage: Usage | None = None
    model: str = ""
    prompt_bytes: int = 0
    saved_tokens: int = 0
    produced_bytes: int = 0
    tries: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Router:
    """Routes requests over a catalogue. choose: chance, for weights and the order of equals."""

    catalogue: Catalogue
    choose: random.Random = field(default_factory=random.Random)

    async def stream(
        self, request: ModelRequest, trace: CallTrace, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Batches of events of the first target that answers. Raises EngineError; StreamBroken
        after the first batch: what the client has read can't be taken back.
        """

        def ask(target: Target) -> AsyncGenerator[Sequence[Event], None]:
            return target.provider.stream(request, target.model, hints)

        routed = self.route(request.model, trace, ask)
        try:
            async with contextlib.aclosing(routed) as batches:
                async for batch in batches:
                    for event in batch:
                        match event:
                            case TextDelta() | ReasoningDelta():
                                trace.produced_bytes += len(event.text)
                            case CallDelta():
                                trace.produced_bytes += len(event.name) + len(event.arguments)
                            case Usage():
                                trace.usage = event
                    yield batch
        except EngineError as error:
            raise error if trace.target is None else _broken(error) from error

    async def route(self, model: str, trace: CallTrace, ask: Ask[T]) -> AsyncGenerator[T, None]:
        """What the first target says that answers when it is asked this way. Raises EngineError.

        Before its first item, a target that fails is followed by the next one.
        """
        last = _LastError()
        for target in self._candidates(model, trace, last):
            try:
                async with contextlib.aclosing(_asked(target, ask)) as items:
                    async for item in items:
                        if trace.target is None:
                            trace.target, trace.first = target, time.monotonic()
                        yield item
                return
            except EngineError as error:
                trace.tries.append((target.name, error.code))
                if trace.target is not None or not _helps_elsewhere(error):
                    raise
                last.error = error
        raise last.error or Overloaded("Every target of this model is busy or cooling down")

    def _candidates(self, name: str, trace: CallTrace, last: "_LastError") -> Iterator[Target]:
        """The targets to try, in order: of the model, then of the models it falls back to."""
        model = self.catalogue.find(name)
        tries = 0
        seen = {model.name}
        queue: list[RoutedModel] = [model]
        while queue:
            model = queue.pop(0)
            for target in model.ordered(self.choose):
                if tries >= TRIES_MAX:
                    return
                if target.is_full or not target.health.begin():
                    trace.tries.append((target.name, "busy" if target.is_full else "cooling"))
                    continue
                tries += 1
                yield target
            is_too_long = isinstance(last.error, PromptTooLong)
            for other in model.config.longer if is_too_long else model.config.fallbacks:
                if other not in seen:
                    seen.add(other)
                    with contextlib.suppress(UnknownModel):
                        queue.append(self.catalogue.find(other))


async def _asked(target: Target, ask: Ask[T]) -> AsyncGenerator[T, None]:
    """What the target says; its health learns what becomes of it."""
    target.in_flight += 1
    is_settled = False
    try:
        async with contextlib.aclosing(ask(target)) as items:
            async for item in items:
                if not is_settled:
                    is_settled = True
                    target.health.succeed()
                yield item
    except EngineError as error:
        is_settled = True
        target.health.fail(error)
        raise
    finally:
        target.in_flight -= 1
        if not is_settled:
            target.health.leave()


@dataclass(slots=True)
class _LastError:
    """Why the target before failed."""

    error: EngineError | None = None


def _helps_elsewhere(error: EngineError) -> bool:
    """Whether another target may answer what this one refused."""
    if isinstance(error, InvalidRequest):
        return isinstance(error, PromptTooLong | UnknownModel)
    return (
        isinstance(
            error, EngineRefused | QueueFull | EngineUnavailable | EngineFailed | ProviderSilent
        )
        or error.retryable
    )


def _broken(error: EngineError) -> EngineError:
    """An error after the first byte, as the client is told."""
    if isinstance(error, ContentRefused | StreamBroken):
        return error
    return StreamBroken(f"The provider's answer broke off: {error.message}")
