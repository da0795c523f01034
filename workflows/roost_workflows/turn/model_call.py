"""One model call: read the context, stream the engine, commit what it decided."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from temporalio import activity
from temporalio.exceptions import ApplicationError

from roost.agent import Agent
from roost.turn import Finish
from roost_inference.client.assembly import UNFINISHED, Completed, Delta
from roost_inference.client.engine_client import ChatRequest
from roost_inference.client.sessions import EngineSession
from roost_inference.errors import (
    BodyTooLarge,
    EngineError,
    EngineUnavailable,
    InvalidRequest,
    PromptTooLong,
)
from roost_workflows.agents import AgentRegistry
from roost_workflows.hints.session_hints import IDLE_TTL_S, TOOL_GRACE_S, SessionHints
from roost_workflows.model_calls import Asked, Usage
from roost_workflows.ports import ModelCall, PlannedCall, StepRecord, TurnContext, Turns
from roost_workflows.state import GenerateInput, StepResult
from roost_workflows.turn import limits
from roost_workflows.turn.activity_guard import (
    StopWatch,
    finish,
    note_error,
    refuse_deadly,
    stop_was_asked,
)
from roost_workflows.turn.failures import engine_failure, engine_words, is_taken
from roost_workflows.turn.figures import engine_figures
from roost_workflows.turn.files import FileReader
from roost_workflows.turn.planning import plan_calls
from roost_workflows.turn.progress import Board, Outages, ProgressWriter
from roost_workflows.turn.requests import asked_with, build_request
from roost_workflows.turn.suspects import Suspects
from roost_workflows.turn.window import SHORTER_MAX, ContextSizes, may_be_older

log = logging.getLogger(__name__)

# How an answer that runs no tools has finished, by the engine's reason.
FINISHES: Final[Mapping[str, Finish]] = {
    "length": "length",
    "content_filter": "filtered",
    UNFINISHED: "unfinished",
}


class ModelClient(Protocol):
    """What a model call needs of EngineClient."""

    def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
        """The completion as it is generated. Closing the generator aborts the engine's work."""
        ...


@dataclass(slots=True)
class _Partial:
    """What has come of a model call so far; a stop keeps it."""

    started_at: float = field(default_factory=time.time)
    began: float = field(default_factory=time.monotonic)  # nobody sets this clock
    first_token: float | None = None
    text: str = ""
    completed: Completed | None = None
    context: TurnContext | None = None
    limit: str = ""
    asked: Asked | None = None

    def model_call(self, decided: Finish, calls: Sequence[PlannedCall]) -> ModelCall:
        """What storage commits: the text so far, with what was decided about it."""
        done = self.completed
        reason = done.finish_reason if done else ""
        return ModelCall(
            finish=decided,
            text=self.text,
            calls=calls,
            usage=self.usage(),
            model=done.model if done else "",
            engine_message_id=done.message_id if done else "",
            started_at=self.started_at,
            limit=self.limit,
            asked=self.asked.ended(reason, done.model if done else "") if self.asked else None,
        )

    def usage(self) -> Usage:
        """Token counts and times until now."""
        done, first = self.completed, self.first_token
        return Usage(
            prompt_tokens=done.prompt_tokens if done else 0,
            cached_tokens=done.cached_tokens if done else 0,
            completion_tokens=done.completion_tokens if done else 0,
            time_to_first_token_s=None if first is None else first - self.began,
            duration_s=time.monotonic() - self.began,
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
        stops: StopWatch | None = None,
    ) -> None:
        self._stops = stops or StopWatch()
        self._suspects = suspects or Suspects()
        self._files = files or FileReader(None)
        self._turns = turns
        self._hints = hints
        self._engine = engine
        self._registry = registry
        self._board = board
        self._sizes = ContextSizes()
        self._outages = Outages(turns, board)
        self._worked = limits.WorkTime()

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
            agent = self._registry.agent(context.turn.agent)
            if agent is None:
                log.error("turn %s: there is no agent %r", call.turn_id, context.turn.agent)
                raise ApplicationError("unknown_agent", type="unknown_agent", non_retryable=True)
            so_far.context = context
            context = await self._files.read(context)
            so_far.limit = limits.reached(agent, context.spent)
            call = replace(call, last=call.last or bool(so_far.limit))
            try:
                async with asyncio.timeout(
                    self._worked.left_s(call, agent, context.spent)
                ) as clock:
                    async with self._stops.watching(call.turn_id):
                        await self._stream(call, agent, context, so_far)
            except TimeoutError:
                if not clock.expired():
                    raise
                raise ApplicationError(
                    "out_of_time", type="out_of_time", non_retryable=True
                ) from None
            return await self._commit(call, agent, so_far)
        except asyncio.CancelledError:
            # Only a recorded stop counts: without one the turn goes on in another attempt.
            if stop_was_asked() and await finish(self._turns.stop_requested(call.turn_id)):
                return await self._stop(call, so_far)
            raise

    async def _stream(
        self, call: GenerateInput, agent: Agent, context: TurnContext, so_far: _Partial
    ) -> None:
        """Stream one completion; a history that does not fit the model is shortened."""
        pictures = await self._files.pictures(context)
        session_id = context.turn.session_id
        shorter = self._sizes.level(session_id, context.messages)
        forces = context.given is not None and context.given.schema is not None
        while True:
            # In a thread: it walks over all that people wrote, and others must not wait for that.
            def build(shorter: int = shorter, forces: bool = forces) -> tuple[ChatRequest, Asked]:
                with self._suspects.in_thread(call.turn_id):
                    request = build_request(
                        agent,
                        context,
                        step=call.step,
                        last=call.last,
                        shorter=shorter,
                        pictures=pictures,
                        forces=forces,
                    )
                    how = asked_with(agent, context, request, shorter, pictures, last=call.last)
                    return request, how

            request, so_far.asked = await asyncio.to_thread(build)
            try:
                await self._ask(call, request, so_far)
                self._outages.over(call.turn_id)
                return
            except (PromptTooLong, BodyTooLarge) as error:
                so_far.text = ""
                if shorter >= SHORTER_MAX:
                    await note_error(self._turns, call.turn_id, engine_words(error))
                    raise engine_failure(error, activity.info().attempt) from None
                self._sizes.learn(session_id, context.messages, shorter, error)
                shorter = self._sizes.level(session_id, context.messages, shorter + 1)
            except EngineError as error:
                attempt = activity.info().attempt
                if is_taken(error, attempt):
                    so_far.completed, so_far.text = error.completed, error.completed.text
                    return
                so_far.text = ""  # the next attempt begins again
                if forces and isinstance(error, InvalidRequest):
                    forces = False  # it can't follow this schema: the answer is checked anyway
                    continue
                if shorter < SHORTER_MAX and may_be_older(error, context.messages):
                    # Without what was said before, this conversation can go on.
                    shorter = SHORTER_MAX
                    continue
                level = logging.WARNING if error.retryable else logging.ERROR
                log.log(level, "turn %s: model call failed: %r", call.turn_id, error)
                await note_error(self._turns, call.turn_id, engine_words(error))
                raised = engine_failure(error, attempt)
                await self._outages.failed(
                    *(call.turn_id, error, raised),
                    attempt=attempt,
                    began=so_far.began,
                    now=time.monotonic(),
                )
                raise raised from None

    async def _ask(self, call: GenerateInput, request: ChatRequest, so_far: _Partial) -> None:
        """Stream one answer to its end. Raises EngineError."""
        async with (
            ProgressWriter(self._turns, self._board, call.turn_id, "thinking") as progress,
            contextlib.aclosing(self._engine.stream(request)) as events,
        ):
            progress.waits_for_engine()
            async for event in events:
                progress.hears_engine()
                if isinstance(event, Completed):
                    so_far.completed, so_far.text = event, event.text
                elif event.text or event.replaces:
                    so_far.first_token = so_far.first_token or time.monotonic()
                    so_far.text = event.text if event.replaces else so_far.text + event.text
                    progress.show(phase="answering", text=so_far.text)
        if so_far.completed is None:
            raise EngineUnavailable("the engine's stream ended without a result")

    async def _commit(self, call: GenerateInput, agent: Agent, so_far: _Partial) -> StepResult:
        done = so_far.completed
        assert done is not None
        calls = [] if call.last else plan_calls(agent, call, done)
        # Storage knows of a stop, and keeps the answer as partial text then.
        decided = FINISHES.get(done.finish_reason, "answer")
        if calls:
            if await self._turns.stop_requested(call.turn_id):
                return await self._stop(call, so_far)
            decided, so_far.limit = "tools", ""
        elif not done.text.strip() and decided in ("answer", "unfinished"):
            decided = "empty"
        if call.last and not so_far.limit and (done.tool_calls or _is_at_a_loss(call, decided)):
            so_far.limit = "too_many_steps"
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
        agent = self._registry.agent(context.turn.agent)
        session = EngineSession(context.turn.session_id, context.cache_salt)
        if record.finish != "tools" and context.given is not None:
            self._hints.ended(session)
            return
        if record.finish != "tools":
            self._hints.waits(session, "idle", IDLE_TTL_S)
            return
        tools = [agent.tool(call.name) for call in record.calls] if agent else []
        longest_s = max((tool.timeout_s for tool in tools if tool), default=0.0)
        self._hints.waits(session, "tool", longest_s + TOOL_GRACE_S)


def _is_at_a_loss(call: GenerateInput, decided: Finish) -> bool:
    """Whether the last of several model calls said nothing."""
    return decided == "empty" and call.step > 1
