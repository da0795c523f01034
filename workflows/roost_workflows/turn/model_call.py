"""One model call: read the context, stream the engine, commit what it decided."""

import asyncio
import contextlib
import hashlib
import json
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Protocol

from temporalio import activity
from temporalio.exceptions import ApplicationError

from roost.agent import Agent
from roost.turn import Finish
from roost_inference.client.assembly import Completed, Delta, ToolCall
from roost_inference.client.engine_client import ChatRequest
from roost_inference.client.sessions import EngineSession
from roost_inference.errors import (
    EngineError,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
    QueueFull,
)
from roost_workflows.agents import AgentRegistry
from roost_workflows.hints.session_hints import IDLE_TTL_S, TOOL_GRACE_S, SessionHints
from roost_workflows.policies import ENGINE_FAILURES_MAX
from roost_workflows.ports import (
    ModelCall,
    PlannedCall,
    Snapshot,
    StepRecord,
    TurnContext,
    Turns,
    Usage,
)
from roost_workflows.state import GenerateInput, StepResult
from roost_workflows.turn.activity_guard import finish, refuse_deadly, stop_was_asked
from roost_workflows.turn.figures import engine_figures
from roost_workflows.turn.files import FileReader
from roost_workflows.turn.progress import Board, ProgressWriter
from roost_workflows.turn.requests import build_request
from roost_workflows.turn.suspects import Suspects
from roost_workflows.turn.window import SHORTER_MAX

log = logging.getLogger(__name__)

CALLS_PER_STEP_MAX: Final = 16
CALL_ID_LENGTH: Final = 9  # the strictest engines demand exactly nine letters and digits
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
UNPARSED: Final = "arguments_that_were_not_json"


class ModelClient(Protocol):
    """What a model call needs of EngineClient."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        """The completion as it is generated. Closing the generator aborts the engine's work."""
        ...


@dataclass(slots=True)
class _Partial:
    """What has come of a model call so far; a stop keeps it."""

    started_at: float = field(default_factory=time.time)
    first_token_at: float | None = None
    text: str = ""
    completed: Completed | None = None
    context: TurnContext | None = None

    def model_call(self, decided: Finish, calls: Sequence[PlannedCall]) -> ModelCall:
        """What storage commits: the text so far, with what was decided about it."""
        done = self.completed
        return ModelCall(
            finish=decided,
            text=self.text,
            calls=calls,
            usage=self.usage(),
            model=done.model if done else "",
            engine_message_id=done.message_id if done else "",
            started_at=self.started_at,
        )

    def usage(self) -> Usage:
        """Token counts and times until now."""
        done, first = self.completed, self.first_token_at
        return Usage(
            prompt_tokens=done.prompt_tokens if done else 0,
            cached_tokens=done.cached_tokens if done else 0,
            completion_tokens=done.completion_tokens if done else 0,
            time_to_first_token_s=None if first is None else first - self.started_at,
            duration_s=time.time() - self.started_at,
            engine=engine_figures(done.metrics) if done else {},
        )


class ModelCaller:
    """Makes the model calls of turns, over storage and an engine."""

    def __init__(
        self,
        turns: Turns,
        engine: ModelClient,
        registry: AgentRegistry,
        board: Board,
        hints: SessionHints,
        suspects: Suspects | None = None,
        files: FileReader | None = None,
    ) -> None:
        self._suspects = suspects or Suspects()
        self._files = files or FileReader(None)
        self._turns = turns
        self._hints = hints
        self._engine = engine
        self._registry = registry
        self._board = board

    async def run(self, call: GenerateInput) -> StepResult:
        """The committed decision of this step; that of an earlier attempt is returned as it is."""
        committed = await self._turns.step(call.turn_id, call.step)
        if committed is not None:
            return StepResult.of(committed)
        so_far = _Partial()
        try:
            context = await self._turns.context(call.turn_id, call.step)
            if context.turn.stop_requested:
                return StepResult("stopped")
            refuse_deadly(context.turn)
            agent = self._registry.get(context.turn.agent)
            if agent is None:
                log.error("turn %s: there is no agent %r", call.turn_id, context.turn.agent)
                raise ApplicationError("unknown_agent", type="unknown_agent", non_retryable=True)
            so_far.context = context
            context = await self._files.read(context)
            await self._stream(call, agent, context, so_far)
            return await self._commit(call, agent, so_far)
        except asyncio.CancelledError:
            # Only a recorded stop counts: without one the turn goes on in another attempt.
            if stop_was_asked() and await self._turns.stop_requested(call.turn_id):
                return await self._stop(call, so_far)
            raise

    async def _stream(
        self, call: GenerateInput, agent: Agent, context: TurnContext, so_far: _Partial
    ) -> None:
        """Stream one completion; a history that does not fit the model is shortened."""
        pictures = await self._files.pictures(context)
        for shorter in range(SHORTER_MAX + 1):
            # In a thread: it walks over all that people wrote, and others must not wait for that.
            def build(shorter: int = shorter) -> ChatRequest:
                with self._suspects.in_thread(call.turn_id):
                    return build_request(
                        agent,
                        context,
                        step=call.step,
                        last=call.last,
                        shorter=shorter,
                        pictures=pictures,
                    )

            request = await asyncio.to_thread(build)
            try:
                async with (
                    ProgressWriter(self._turns, self._board, call.turn_id, "thinking") as progress,
                    contextlib.aclosing(self._engine.stream(request)) as events,
                ):
                    async for event in events:
                        if isinstance(event, Completed):
                            so_far.completed, so_far.text = event, event.text
                        elif event.text:
                            so_far.first_token_at = so_far.first_token_at or time.time()
                            so_far.text += event.text
                            progress.show(phase="answering", text=so_far.text)
                if so_far.completed is None:
                    raise EngineUnavailable("the engine's stream ended without a result")
                return
            except PromptTooLong:
                if shorter == SHORTER_MAX:
                    raise engine_failure(PromptTooLong(), activity.info().attempt) from None
            except EngineError as error:
                so_far.text = ""  # the next attempt begins again
                log.warning("turn %s: model call failed: %r", call.turn_id, error)
                if isinstance(error, EngineUnavailable):
                    await self._show_unreachable(call.turn_id)
                raise engine_failure(error, activity.info().attempt) from None

    async def _show_unreachable(self, turn_id: str) -> None:
        """Show people why nothing happens until the next attempt; lossy, as all progress."""
        snapshot = Snapshot("unreachable", tools=self._board.lines(turn_id))
        try:
            await self._turns.progress(turn_id, snapshot)
        except Exception as error:
            log.warning("progress of turn %s not written: %r", turn_id, error)

    async def _commit(self, call: GenerateInput, agent: Agent, so_far: _Partial) -> StepResult:
        done = so_far.completed
        assert done is not None
        calls = [] if call.last else plan_calls(agent, call, done)
        decided: Finish = "answer"  # storage knows of a stop, and keeps it as partial text then
        if calls:
            if await self._turns.stop_requested(call.turn_id):
                return await self._stop(call, so_far)
            decided = "tools"
        elif not done.text.strip():
            decided = "empty"
        elif done.finish_reason == "length":
            decided = "length"
        return StepResult.of(await self._commit_step(call, decided, calls, so_far))

    async def _stop(self, call: GenerateInput, so_far: _Partial) -> StepResult:
        return StepResult.of(await self._commit_step(call, "stopped", (), so_far))

    async def _commit_step(
        self,
        call: GenerateInput,
        decided: Finish,
        calls: Sequence[PlannedCall],
        so_far: _Partial,
    ) -> StepRecord:
        model_call = so_far.model_call(decided, calls)
        record = await finish(self._turns.commit_step(call.turn_id, call.step, model_call))
        if so_far.context is not None:
            self._hint_wait(so_far.context, record)
        return record

    def _hint_wait(self, context: TurnContext, record: StepRecord) -> None:
        """Hint what the session waits for now: its tools, or the next message."""
        agent = self._registry.get(context.turn.agent)
        session = EngineSession(context.turn.session_id, context.cache_salt)
        if record.finish != "tools":
            self._hints.waits(session, "idle", IDLE_TTL_S)
            return
        tools = [agent.tool(call.name) for call in record.calls] if agent else []
        longest_s = max((tool.timeout_s for tool in tools if tool), default=0.0)
        self._hints.waits(session, "tool", longest_s + TOOL_GRACE_S)


def plan_calls(agent: Agent, call: GenerateInput, done: Completed) -> list[PlannedCall]:
    """The calls to run. A call that the token limit cut off is neither run nor kept."""
    planned = []
    for index, requested in enumerate(done.tool_calls):
        if index == CALLS_PER_STEP_MAX:
            log.warning(
                "turn %s: the model asked for %d calls, %d are run",
                call.turn_id,
                len(done.tool_calls),
                CALLS_PER_STEP_MAX,
            )
            break
        arguments = canonical_arguments(requested)
        if arguments is None:
            if done.finish_reason == "length":
                continue
            arguments = json.dumps({UNPARSED: requested.arguments}, ensure_ascii=False)
        tool = agent.tool(requested.name)
        # A tool that does not exist only returns an error, which is safe to repeat.
        effect = tool.effect if tool else "pure"
        planned.append(PlannedCall(call_id(call, index), requested.name, arguments, effect))
    return planned


def canonical_arguments(requested: ToolCall) -> str | None:
    """The arguments as compact JSON text of an object, None when they are not one."""
    try:
        value: Any = json.loads(requested.arguments or "{}")
        return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return None


def call_id(call: GenerateInput, index: int) -> str:
    """An id of our own: unique in the transcript and the same in every attempt, unlike engines'
    ids.
    """
    digest = hashlib.sha256(f"{call.turn_id}:{call.step}:{index}".encode()).digest()
    return "".join(ALPHABET[byte % len(ALPHABET)] for byte in digest[:CALL_ID_LENGTH])


def engine_failure(error: EngineError, attempt: int) -> ApplicationError:
    """An engine's error for Temporal: its code, and whether and when to try again."""
    delay: timedelta | None = None
    final = not error.retryable
    if isinstance(error, PromptTooLong):
        code = "too_long"
    elif isinstance(error, InvalidRequest):
        code = "refused"
    elif isinstance(error, QueueFull):
        code, delay = "queue_full", timedelta(seconds=error.retry_after_s)
    elif isinstance(error, EngineUnavailable):
        code = "engine_unavailable"
    else:
        code, final = "engine_failed", final or attempt >= ENGINE_FAILURES_MAX
    return ApplicationError(code, type=code, non_retryable=final, next_retry_delay=delay)
