"""Asks a model with a compressed prompt, and answers its calls for what was left out."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from roost_inference.errors import InvalidRequest, PromptTooLong
from roost_platform.gateway.compression.originals import Originals
from roost_platform.gateway.compression.planning import TARGET_SHARE, Bounds, Plan, plan
from roost_platform.gateway.compression.retrieval import Retrieval, tool_name
from roost_platform.gateway.compression.rounds import Round, add_round, first_request, next_request
from roost_platform.gateway.compression.sent_rows import SentRows
from roost_platform.gateway.events import Event, Usage
from roost_platform.gateway.keys.estimates import prompt_size
from roost_platform.gateway.keys.ports import GatewayKey
from roost_platform.gateway.keys.prices import BYTES_PER_TOKEN, estimated_tokens
from roost_platform.gateway.request import ModelRequest
from roost_platform.gateway.routing.catalogue import RoutedModel
from roost_platform.gateway.routing.router import CallTrace, Router
from roost_platform.gateway.sizes import PromptSize

log = logging.getLogger(__name__)

ROUNDS_MAX: Final = 8  # in which a model may retrieve within one call of a client
HELD_PROMPTS: Final = 2  # for how many readings of its prompt a call holds tokens
LARGE_BYTES: Final = 64 * 1024  # prompts above it are worked on in a thread
BYTES_PER_TOKEN_MAX: Final = 6  # no usual text has more

RETRIEVING_CHOICES: Final = (None, "auto", "required")  # of a tool, which leave ours to the model

Batches = AsyncGenerator[Sequence[Event], None]


@dataclass(slots=True)
class Compression:
    """Compresses prompts above a threshold; see the package. clock: seconds, monotonic."""

    router: Router
    originals: Originals
    above_tokens: int
    clock: Callable[[], float] = time.monotonic
    sent: SentRows = field(default_factory=SentRows)

    def is_on(self, request: ModelRequest, model: RoutedModel, key: GatewayKey) -> bool:
        """Whether this call may be compressed: where it is switched on, and its model can be
        offered one more tool.
        """
        body = request.body
        return (
            (key.compress or model.config.compress)
            and request.n == 1
            and not request.more_bodies
            and bool(request.messages)
            and body.get("tool_choice") in RETRIEVING_CHOICES
        )

    def held(self, request: ModelRequest, model: RoutedModel, key: GatewayKey) -> ModelRequest:
        """The request whose size is that of all that may be read for it."""
        if not self.is_on(request, model, key):
            return request
        if request.prompt_bytes <= self._bounds(request, model).above_bytes:
            return request
        return replace(request, prompt_bytes=request.prompt_bytes * HELD_PROMPTS)

    async def stream(
        self,
        request: ModelRequest,
        model: RoutedModel,
        key: GatewayKey,
        trace: CallTrace,
        hints: Mapping[str, Any],
    ) -> Batches:
        """The answer as Router.stream gives it. Whatever goes wrong with compressing, the prompt
        goes out as it came; raises PromptTooLong where that does not fit.
        """
        bounds = self._bounds(request, model)
        planned = await self._planned(request, key, bounds)
        if _is_too_long(planned.prompt_bytes, request, model):
            planned = await self._planned(request, key, replace(bounds, is_forced=True))
            if not model.config.longer and _never_fits(planned.prompt_bytes, model):
                raise PromptTooLong(f"The prompt does not fit the context of {model.name}")
        try:
            async with contextlib.aclosing(
                self._answer(request, planned, key, trace, hints)
            ) as batches:
                async for batch in batches:
                    yield batch
            return
        except PromptTooLong as error:
            if trace.first is not None:
                raise
            again = await self._forced(request, key, bounds, error)
            if again.prompt_bytes >= planned.prompt_bytes:
                raise
        except InvalidRequest as error:
            if trace.first is not None or not planned.originals:
                raise
            # Such as a model that takes no tools.
            log.warning("a compressed prompt was refused: %s", error.code)
            again = Plan(request.messages, {}, request.prompt_bytes)
        trace.saved_tokens, trace.prompt_bytes = 0, request.prompt_bytes
        trace.size = prompt_size(request)
        async with contextlib.aclosing(self._answer(request, again, key, trace, hints)) as batches:
            async for batch in batches:
                yield batch

    async def _forced(
        self, request: ModelRequest, key: GatewayKey, bounds: Bounds, error: PromptTooLong
    ) -> Plan:
        """A plan for a provider that takes no more than it says in this error."""
        target = min(bounds.target_bytes, int(request.prompt_bytes * TARGET_SHARE))
        if error.limit_tokens is not None:
            target = min(target, int(error.limit_tokens * TARGET_SHARE * BYTES_PER_TOKEN))
        return await self._planned(request, key, Bounds(bounds.above_bytes, target, True))

    def _bounds(self, request: ModelRequest, model: RoutedModel) -> Bounds:
        above = self.above_tokens
        target = int(above * TARGET_SHARE)
        if model.config.context_tokens is not None:
            room = model.config.context_tokens - (request.max_tokens or 0)
            target = min(target, max(0, int(room * TARGET_SHARE)))
        return Bounds(above * BYTES_PER_TOKEN, target * BYTES_PER_TOKEN)

    async def _planned(self, request: ModelRequest, key: GatewayKey, bounds: Bounds) -> Plan:
        """What is sent; the prompt as it came where that fails."""
        now = self.clock()
        try:
            if request.prompt_bytes > LARGE_BYTES:
                planned = await asyncio.to_thread(plan, request, key.id, bounds, self.sent, now)
            else:
                planned = plan(request, key.id, bounds, self.sent, now)
            if planned.originals:
                await self.originals.keep(key.id, planned.originals)
            return planned
        except Exception:
            log.exception("a prompt was not compressed")
            return Plan(request.messages, {}, request.prompt_bytes)

    async def _answer(
        self,
        request: ModelRequest,
        planned: Plan,
        key: GatewayKey,
        trace: CallTrace,
        hints: Mapping[str, Any],
    ) -> Batches:
        """The answer to the prompt of this plan."""
        if not planned.originals:
            async with contextlib.aclosing(self.router.stream(request, trace, hints)) as batches:
                async for batch in batches:
                    yield batch
            return
        name = tool_name(request.body)
        asked = first_request(request, planned, name)
        trace.saved_tokens = estimated_tokens(max(0, request.prompt_bytes - asked.prompt_bytes))
        trace.prompt_bytes = asked.prompt_bytes
        trace.size = PromptSize()  # nothing is learnt of a prompt that was read in several rounds
        retrieval = Retrieval(key.id, planned.originals, self.originals)
        answered = Round(name)
        read_bytes = 0
        for left in range(ROUNDS_MAX, -1, -1):
            step = CallTrace(prompt_bytes=asked.prompt_bytes)
            try:
                async with contextlib.aclosing(self.router.stream(asked, step, hints)) as batches:
                    async for batch in batches:
                        if shown := answered.take(batch):
                            yield shown
            finally:
                add_round(trace, step)
            used, bound = trace.usage or Usage(), request.max_tokens
            rest = None if bound is None else bound - used.output_tokens
            if left == 0 or not answered.retrieves or (rest is not None and rest <= 0):
                break
            read_bytes += asked.prompt_bytes
            further = asked.prompt_bytes if key.has_budget else 0
            if further and _is_spent(request, used, read_bytes, further):
                break
            is_last = left == 1 or bool(
                further and _is_spent(request, used, read_bytes, 2 * further)
            )
            answers = await retrieval.answer(answered.retrieves, is_last=is_last)
            asked = next_request(asked, answered, answers, rest)
            answered = Round(name, is_first=False, follows=answered.text or answered.follows)
        yield answered.ending(trace.usage or Usage())


def _is_spent(request: ModelRequest, used: Usage, read_bytes: int, further_bytes: int) -> bool:
    """Whether reading so much more would pass what a budget holds for the prompt.

    Where a target is known to have few tokens for its bytes, less is held than by the estimate.
    """
    held_bytes = request.prompt_bytes * HELD_PROMPTS
    tokens = used.input_tokens + estimated_tokens(further_bytes)
    return read_bytes + further_bytes > held_bytes or tokens > estimated_tokens(held_bytes)


def _is_too_long(prompt_bytes: int, request: ModelRequest, model: RoutedModel) -> bool:
    """Whether a prompt of this size seems to pass the model's context."""
    most = model.config.context_tokens
    return most is not None and estimated_tokens(prompt_bytes) + (request.max_tokens or 0) > most


def _never_fits(prompt_bytes: int, model: RoutedModel) -> bool:
    """Whether a prompt of this size passes the model's context, however its tokens are counted."""
    most = model.config.context_tokens
    return most is not None and prompt_bytes > most * BYTES_PER_TOKEN_MAX
