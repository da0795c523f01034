"""Sends a request to the first target that answers; no other one is tried after its first byte."""

import contextlib
import random
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
from roost_platform.gateway.events import Event, Usage
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import Catalogue, RoutedModel, Target

TRIES_MAX = 16  # of one request, over all its models and targets


@dataclass(slots=True)
class CallTrace:
    """What becomes of one call, for usage, pages and spans; filled while it runs.

    Times are monotonic seconds. tries: targets that were asked, with the error of each that failed.
    """

    started: float = field(default_factory=time.monotonic)
    first: float | None = None
    target: Target | None = None
    usage: Usage | None = None
    output_characters: int = 0
    tries: list[tuple[str, str]] = field(default_factory=list)


@dataclass(slots=True)
class Router:
    """Routes requests over a catalogue. choose: chance, for weights and the order of equals."""

    catalogue: Catalogue
    choose: random.Random = field(default_factory=random.Random)

    async def stream(
        self, request: ModelRequest, trace: CallTrace, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Batches of events of the first target that answers. Raises EngineError.

        Before the first batch, a target that fails is followed by the next one; an error after it
        ends the answer: what the client has read can't be taken back.
        """
        last = _LastError()
        for target in self._candidates(request, trace, last):
            has_begun = False
            try:
                async with contextlib.aclosing(self._ask(target, request, hints)) as batches:
                    async for batch in batches:
                        if not has_begun:
                            has_begun, trace.target = True, target
                            trace.first = time.monotonic()
                        for event in batch:
                            if isinstance(event, Usage):
                                trace.usage = event
                        yield batch
                return
            except EngineError as failed:
                trace.tries.append((target.name, failed.code))
                if has_begun:
                    raise _broken(failed) from failed
                if not _helps_elsewhere(failed):
                    raise
                last.error = failed
        raise last.error or Overloaded("Every target of this model is busy or cooling down")

    async def _ask(
        self, target: Target, request: ModelRequest, hints: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[Event], None]:
        """The target's answer; its health learns what became of it."""
        target.in_flight += 1
        is_settled = False
        try:
            async with contextlib.aclosing(
                target.provider.stream(request, target.model, hints)
            ) as batches:
                async for batch in batches:
                    if not is_settled:
                        is_settled = True
                        target.health.succeed()
                    yield batch
        except EngineError as error:
            is_settled = True
            target.health.fail(error)
            raise
        finally:
            target.in_flight -= 1
            if not is_settled:
                target.health.leave()

    def _candidates(
        self, request: ModelRequest, trace: CallTrace, last: "_LastError"
    ) -> Iterator[Target]:
        """The targets to try, in order: of the model, then of the models it falls back to."""
        model = self.catalogue.find(request.model)
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
            for name in model.config.longer if is_too_long else model.config.fallbacks:
                if name not in seen:
                    seen.add(name)
                    with contextlib.suppress(UnknownModel):
                        queue.append(self.catalogue.find(name))


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
