"""Asks one target one short question, for an operator who wants to know whether it answers."""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Final

from roost_inference.errors import EngineError
from roost_platform.gateway.answer import Answer
from roost_platform.gateway.errors import Overloaded, ProviderSilent
from roost_platform.gateway.events import CallDelta, ReasoningDelta, TextDelta, Usage
from roost_platform.gateway.ids import new_call_id
from roost_platform.gateway.keys.ports import CallLog, Outcome, Reservation, Spent
from roost_platform.gateway.keys.prices import Prices
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import Target
from roost_platform.gateway.routing.router import CallTrace

log = logging.getLogger(__name__)

QUESTION: Final = "Say hello in one short sentence."
OUTPUT_TOKENS_MAX: Final = 64
WITHIN_S: Final = 30.0
CHARACTERS_MAX: Final = 1000
TRIALS_MAX: Final = 4  # at once, in this process


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of the question. answer, reasoning, error: at most CHARACTERS_MAX characters.

    error_code, error: why there is no answer, else empty. ttft_ms: until the first word; None
    without one.
    """

    model: str
    target: str
    answer: str
    reasoning: str
    error_code: str
    error: str
    ttft_ms: float | None
    duration_ms: float
    input_tokens: int
    output_tokens: int
    cost_microusd: int


@dataclass(slots=True)
class Trials:
    """Tries targets, also those that cool down: their health learns from what becomes of it.

    Each trial is counted in the usage as the person's. running: trials under way.
    """

    prices: Prices
    calls: CallLog
    within_s: float = WITHIN_S
    running: int = 0

    async def run(self, model: str, target: Target, person: str) -> Trial:
        """Ask the target. Raises Overloaded while TRIALS_MAX others run."""
        if self.running >= TRIALS_MAX:
            raise Overloaded(f"{TRIALS_MAX} targets are being tried already")
        self.running += 1
        try:
            return await self._run(model, target, person)
        finally:
            self.running -= 1

    async def _run(self, model: str, target: Target, person: str) -> Trial:
        trace, said = CallTrace(prompt_bytes=len(QUESTION)), Answer()
        outcome: Outcome = "failed"
        status, code, why = 500, "", ""
        attempt = target.health.attempt()
        try:
            await self._ask(target, trace, said)
            outcome, status = "ok", 200
            attempt.answered()
            attempt.completed()
        except EngineError as error:
            attempt.failed(error)
            trace.tries.append((target.name, error.code))
            status, code, why = error.http_status, error.code, error.message
        finally:
            attempt.leave()
        spent = self.prices.spent(new_call_id(), trace, outcome, status, code)
        await self._record(model, spent, person)
        first = said.choices[0]
        return Trial(
            model=model,
            target=target.name,
            answer=first.text[:CHARACTERS_MAX],
            reasoning=first.reasoning_text[:CHARACTERS_MAX],
            error_code=code,
            error=why[:CHARACTERS_MAX],
            ttft_ms=spent.ttft_ms,
            duration_ms=spent.duration_ms,
            input_tokens=spent.input_tokens,
            output_tokens=spent.output_tokens,
            cost_microusd=spent.cost_microusd,
        )

    async def _ask(self, target: Target, trace: CallTrace, said: Answer) -> None:
        body = {
            "messages": [{"role": "user", "content": QUESTION}],
            "max_tokens": OUTPUT_TOKENS_MAX,
        }
        request = ModelRequest(
            family="chat",
            model=target.name,
            body=body,
            stream=True,
            max_tokens=OUTPUT_TOKENS_MAX,
            prompt_bytes=len(QUESTION),
        )
        try:
            async with (
                asyncio.timeout(self.within_s),
                contextlib.aclosing(target.provider.stream(request, target.model, {})) as batches,
            ):
                async for batch in batches:
                    if trace.target is None:
                        trace.target, trace.first = target, time.monotonic()
                    said.take(batch)
                    for event in batch:
                        match event:
                            case TextDelta() | ReasoningDelta():
                                trace.produced_bytes += len(event.text)
                            case CallDelta():
                                trace.produced_bytes += len(event.arguments)
                            case Usage():
                                trace.usage = event
        except TimeoutError:
            raise ProviderSilent(f"No whole answer within {self.within_s:.0f} s") from None

    async def _record(self, model: str, spent: Spent, person: str) -> None:
        wanted = Reservation(
            call_id=spent.call_id,
            key_id="",
            family="chat",
            model=model,
            tokens=0,
            cost_microusd=0,
            person=person,
        )
        try:
            await self.calls.record(wanted, spent)
        except Exception as error:
            log.warning("the row of a trial was not written: %r", error)
