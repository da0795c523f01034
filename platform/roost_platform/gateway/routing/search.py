"""Finds the next target for one request: in order, over fallbacks, with pauses between rounds."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from roost_inference.errors import (
    BodyTooLarge,
    EngineError,
    EngineRefused,
    EngineSilent,
    InvalidRequest,
    PromptTooLong,
    UnknownModel,
)
from roost_platform.gateway.errors import FieldNotSupported, Overloaded
from roost_platform.gateway.routing.catalogue import Catalogue, RoutedModel, Target
from roost_platform.gateway.routing.health import Attempt
from roost_platform.gateway.routing.slots import first_free

TRIES_MAX = 16  # of one request, over all its models, targets and rounds
NOTES_MAX = 64  # of targets that were passed over
PAUSE_S = 0.25  # before the second round; it doubles, and half of it is chance
PAUSE_S_MAX = 5.0  # a target that cools down for longer is not waited for


@dataclass(slots=True)
class Taken:
    """A target with a place at its provider, for one try. `leave` gives the place back."""

    target: Target
    attempt: Attempt
    has_left: bool = False

    def leave(self) -> None:
        """The try is over, in whatever way. Doing it twice changes nothing."""
        if not self.has_left:
            self.has_left = True
            self.attempt.leave()
            self.target.slots.release()


@dataclass(slots=True)
class Search:
    """The tries of one request. notes: (target, code of its error), as far as it has come."""

    model: RoutedModel
    catalogue: Catalogue
    notes: list[tuple[str, str]]
    error: EngineError | None = None
    tries: int = 0
    rounds: int = 0
    _given_up: set[str] = field(default_factory=set)
    _too_long: set[str] = field(default_factory=set)
    _busy: list[tuple[RoutedModel, Target]] = field(default_factory=list)
    _cooling: dict[str, Target] = field(default_factory=dict)
    _has_queued: bool = False
    _round: Iterator[tuple[RoutedModel, Target]] | None = None
    _asked: RoutedModel | None = None

    async def next(self) -> Taken:
        """The next target, taken. Raises the error of the request where there is none."""
        while self.tries < TRIES_MAX:
            if self._round is None:
                self._round, self._busy, self._cooling = self._ordered(), [], {}
            taken = self._take() or await self._queue()
            if taken is not None:
                self.tries += 1
                return taken
            if self._busy and self.error is None:
                break  # it has waited long enough, or as many wait as may
            self._round = None
            self.rounds += 1
            if self.rounds > self.catalogue.config.retries or not await self._pause():
                break
        raise self.error or self._nobody()

    def failed(self, target: Target, error: EngineError) -> None:
        """This try has failed before its first byte. Raises the error if no target may help."""
        self.notes.append((target.name, error.code))
        self.error = error
        if not helps_elsewhere(error):
            raise error
        if isinstance(error, PromptTooLong | BodyTooLarge) and self._asked is not None:
            self._too_long.add(self._asked.name)
        if not is_worth_repeating(error):
            self._given_up.add(target.name)

    def _take(self) -> Taken | None:
        """The next target of this round that can be taken at once."""
        assert self._round is not None
        for model, target in self._round:
            if target.name in self._given_up:
                continue
            if not target.slots.take():
                self._busy.append((model, target))
                self._note(target, "busy")
                continue
            if (attempt := target.health.begin()) is not None:
                self._asked = model
                return Taken(target, attempt)
            target.slots.release()
            self._cooling[target.name] = target
            self._note(target, "cooling")
        return None

    async def _queue(self) -> Taken | None:
        """Wait once for a place at a provider that is full."""
        if self._has_queued or not self._busy:
            return None
        self._has_queued = True
        place = await first_free([target.slots for _, target in self._busy])
        if place is None:
            return None
        for model, target in self._busy:
            if target.slots is place and (attempt := target.health.begin()) is not None:
                self._asked = model
                return Taken(target, attempt)
        place.release()
        return None

    async def _pause(self) -> bool:
        """Wait for the next round; False where it would not help."""
        chance = self.catalogue.chance
        pause_s = PAUSE_S * 2 ** (self.rounds - 1) * chance.uniform(0.5, 1.5)
        targets = [target for _, target in self._ordered() if target.name not in self._given_up]
        if not targets:
            return False
        ready_s = min(target.health.cooling_s for target in targets)
        if ready_s > PAUSE_S_MAX:
            return False
        if ready_s > 0:
            pause_s = max(pause_s, ready_s + chance.uniform(0, PAUSE_S))
        await asyncio.sleep(min(pause_s, PAUSE_S_MAX + PAUSE_S))
        return True

    def _ordered(self) -> Iterator[tuple[RoutedModel, Target]]:
        """The targets in order: of the model, then of the models it falls back to."""
        seen = {self.model.name}
        queue = [self.model]
        while queue:
            model = queue.pop(0)
            for target in model.ordered(self.catalogue.chance):
                yield model, target
            # Only now: whether the prompt is too long turns out on the way.
            is_too_long = model.name in self._too_long
            for other in model.config.longer if is_too_long else model.config.fallbacks:
                if other not in seen:
                    seen.add(other)
                    with contextlib.suppress(UnknownModel):
                        queue.append(self.catalogue.find(other))

    def _nobody(self) -> Overloaded:
        """The error of a request for which no target could be asked."""
        waits = [target.health.cooling_s for target in self._cooling.values()]
        name = self.model.name
        if not waits or self._busy:
            return Overloaded(
                f"Every target of the model {name!r} has as many calls as it may have"
            )
        last = next((one.health.last_error for one in self._cooling.values()), "")
        code = last.partition(":")[0]  # its words are for the operator
        why = f"; the last error of one was {code}" if code else ""
        return Overloaded(
            f"Every target of the model {name!r} cools down after failures{why}",
            retry_after_s=max(1.0, min(waits)),
        )

    def _note(self, target: Target, what: str) -> None:
        if len(self.notes) < NOTES_MAX and (target.name, what) not in self.notes:
            self.notes.append((target.name, what))


def helps_elsewhere(error: EngineError) -> bool:
    """Whether another target may answer what this one refused."""
    if isinstance(error, InvalidRequest):
        return isinstance(error, PromptTooLong | BodyTooLarge | UnknownModel | FieldNotSupported)
    return True


def is_worth_repeating(error: EngineError) -> bool:
    """Whether the same target may answer a moment later. A silent one has had all its time."""
    return error.retryable and not isinstance(error, InvalidRequest | EngineRefused | EngineSilent)
