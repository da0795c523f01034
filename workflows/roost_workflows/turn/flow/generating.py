"""A flow's `generate`: one model call over the prompt and the data alone, of a bounded size."""

import contextlib
import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from temporalio import activity

from roost.agent import Agent, ModelSettings
from roost.flows.journal import Step
from roost.flows.prompting import TRIES_MAX, again, misfit, prompt_of, without_fence
from roost.text import cap
from roost_inference.client.assembly import Completed
from roost_inference.client.engine_client import ChatRequest
from roost_inference.errors import (
    BodyTooLarge,
    ContentRefused,
    EngineError,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
)
from roost_workflows.model_calls import Asked, Usage
from roost_workflows.ports import Turns
from roost_workflows.storage.flows import FlowRecord, FlowRuns, Generated, StoredEntry
from roost_workflows.turn.activity_guard import finish, note_error
from roost_workflows.turn.failures import engine_failure, engine_words
from roost_workflows.turn.figures import engine_figures
from roost_workflows.turn.manifest import manifest_of_entry
from roost_workflows.turn.model_call import ModelClient
from roost_workflows.turn.progress import Board, Outages, ProgressWriter
from roost_workflows.turn.requests import PRIORITY_CONTINUATION

log = logging.getLogger(__name__)

LABEL: Final = "Writing"
# Another attempt at the very same prompt ends the same way: the flow may go another way.
REFUSED: Final = (PromptTooLong, BodyTooLarge, ContentRefused, InvalidRequest)


@dataclass(frozen=True, slots=True)
class Spending:
    """What the model calls of one entry cost together."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0

    def plus(self, done: Completed) -> "Spending":
        """With one more call."""
        return Spending(
            self.prompt_tokens + done.prompt_tokens,
            self.cached_tokens + done.cached_tokens,
            self.completion_tokens + done.completion_tokens,
        )


class Generator:
    """Makes the model calls of flows."""

    def __init__(self, flows: FlowRuns, turns: Turns, engine: ModelClient, board: Board) -> None:
        self._flows = flows
        self._turns = turns
        self._engine = engine
        self._board = board
        self._outages = Outages(turns, board)
        self._shown: dict[str, str] = {}  # whose text people see of each turn, by its path

    async def run(self, record: FlowRecord, stored: StoredEntry, step: Step[Any]) -> None:
        """Have the model write, and keep what can be used. Raises ApplicationError where the engine
        fails; Temporal tries again.
        """
        entry, turn_id = stored.entry, record.turn_id
        begun = await self._turns.begin_call(turn_id, stored.step, entry.path)
        if begun.state not in ("planned", "running"):
            return
        self._board.put(turn_id, begun.key, LABEL)
        began = time.monotonic()
        try:
            async with ProgressWriter(self._turns, self._board, turn_id, "thinking") as progress:
                try:
                    generated = await self._generate(record, stored, step, progress)
                finally:
                    if self._shown.get(turn_id) == entry.path:
                        del self._shown[turn_id]
        except EngineError as error:
            level = logging.WARNING if error.retryable else logging.ERROR
            log.log(level, "turn %s: model call failed: %r", turn_id, error)
            await note_error(self._turns, turn_id, engine_words(error))
            attempt = activity.info().attempt
            raised = engine_failure(error, attempt)
            if not isinstance(error, REFUSED):
                now = time.monotonic()
                await self._outages.failed(
                    turn_id, error, raised, attempt=attempt, began=began, now=now
                )
                raise raised from None
            generated = Generated(error=f"the model refused it: {raised.type}")
        self._outages.over(turn_id)
        await finish(self._flows.finish_generate(turn_id, entry.path, generated))
        mark = "✗" if generated.error else "✓"
        self._board.put(turn_id, begun.key, f"{LABEL} {mark}")

    async def _generate(
        self, record: FlowRecord, stored: StoredEntry, step: Step[Any], progress: ProgressWriter
    ) -> Generated:
        agent = step.target if isinstance(step.target, Agent) else None
        schema = json.loads(stored.entry.arguments).get("schema")
        messages = prompt_of(stored.entry.arguments, agent)
        # People read texts as they are written, one at a time; JSON is for the function.
        is_shown = schema is None and self._shown.setdefault(record.turn_id, stored.entry.path) == (
            stored.entry.path
        )
        spent, first_at, why = Spending(), None, ""
        started_at, began = time.time(), time.monotonic()  # nobody sets the other clock
        forced, tries = schema, 0
        while tries < TRIES_MAX:
            tries += 1
            request = _request(messages, agent, record, forced)
            try:
                done, first = await self._ask(request, progress, is_shown=is_shown)
            except InvalidRequest:
                if forced is None:
                    raise
                # The engine can't follow this schema: the answer is checked anyway.
                forced = None
                request = _request(messages, agent, record, None)
                done, first = await self._ask(request, progress, is_shown=is_shown)
            first_at = first_at or first
            spent = spent.plus(done)
            text = without_fence(done.text) if schema is not None else done.text
            why = misfit(step, text)
            if not why:
                break
            messages = [*messages, *again(text, why)]
        usage = Usage(
            prompt_tokens=spent.prompt_tokens,
            cached_tokens=spent.cached_tokens,
            completion_tokens=spent.completion_tokens,
            time_to_first_token_s=None if first_at is None else first_at - began,
            duration_s=time.monotonic() - began,
            engine=engine_figures(done.metrics),
        )
        told = cap(f"What the model wrote can't be used: {why}") if why else ""
        manifest = manifest_of_entry(
            agent,
            request,
            path=stored.entry.path,
            args_hash=stored.entry.args_hash,
            code_hash=record.code_hash,
            tries=tries,
        )
        asked = Asked(
            temperature=request.temperature, max_tokens=request.max_tokens, manifest=manifest
        ).ended(done.finish_reason, done.model)
        return Generated(text, told, usage, done.model, done.message_id, started_at, asked)

    async def _ask(
        self, request: ChatRequest, progress: ProgressWriter, *, is_shown: bool
    ) -> tuple[Completed, float | None]:
        """One answer, and when its first word came. Raises EngineError."""
        first_at: float | None = None
        text = ""
        progress.waits_for_engine()
        async with contextlib.aclosing(self._engine.stream(request)) as events:
            async for event in events:
                progress.hears_engine()
                first_at = first_at or time.monotonic()
                if isinstance(event, Completed):
                    return event, first_at
                text = event.text if event.replaces else text + event.text
                if text and is_shown:
                    progress.show(phase="answering", text=text)
        raise EngineUnavailable("the engine's stream ended without a result")


def _request(
    messages: list[dict[str, Any]],
    agent: Agent | None,
    record: FlowRecord,
    schema: Mapping[str, Any] | None,
) -> ChatRequest:
    settings = agent.settings if agent is not None else ModelSettings()
    extra: dict[str, object] = {}
    if settings.repetition_penalty is not None:
        extra["repetition_penalty"] = settings.repetition_penalty
    if schema is not None:
        form = {"name": "answer", "schema": dict(schema)}
        extra["response_format"] = {"type": "json_schema", "json_schema": form}
    return ChatRequest(
        messages=messages,
        max_tokens=settings.max_tokens,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=settings.seed,
        stop=list(settings.stop),
        cache_salt=record.cache_salt,
        priority=PRIORITY_CONTINUATION,
        extra=extra,
        model=settings.name,
        agent=agent.name if agent is not None else record.name,
        person=record.facts.person.id,
        session=record.facts.session.id,
    )
