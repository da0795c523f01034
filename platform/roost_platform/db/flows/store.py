"""Flows in the database: one row for each turn that is a flow; its journal are the turn's calls."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal, cast

from sqlalchemy import bindparam, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost.effects import Effect
from roost.flows.journal import Entry, EntryState, Op
from roost_platform.db import models
from roost_platform.db.attempts.forking import done_before
from roost_platform.db.base.engine import Database
from roost_platform.db.base.text import clean
from roost_platform.db.locks import check_running, get_turn, lock_turn
from roost_platform.db.people.tenants import Tenants
from roost_platform.db.turns import steps
from roost_platform.db.turns.flow_entries import close_entries
from roost_platform.db.turns.lookups import facts_of, person_of
from roost_platform.db.turns.recording import asked_columns, record_model_call
from roost_platform.db.waits.approvals import latest
from roost_platform.errors import NotFound
from roost_workflows.ports import CALL_ENDED, ModelCall
from roost_workflows.storage.flows import FlowRecord, Generated, NewEntry, StoredEntry

# Every advance reads these.
_ENTRIES: Final = (
    select(models.ToolCall)
    .where(models.ToolCall.turn_id == bindparam("id"), models.ToolCall.op != "")
    .order_by(models.ToolCall.step)
)
_COUNT: Final = (
    select(func.count())
    .select_from(models.ToolCall)
    .where(models.ToolCall.turn_id == bindparam("id"), models.ToolCall.op != "")
)
_SAID: Final = (
    select(models.Transcript.content)
    .where(models.Transcript.turn_id == bindparam("id"), models.Transcript.role == "user")
    .order_by(models.Transcript.position)
)


class FlowStore:
    """Implements `roost_workflows.storage.flows.FlowRuns`; every method is one transaction."""

    def __init__(self, database: Database, tenants: Tenants) -> None:
        self._database = database
        self._tenants = tenants

    async def read(self, turn_id: str) -> FlowRecord:
        """See `FlowRuns.read`."""
        async with self._database.read() as session:
            turn = await get_turn(session, turn_id)
            conversation = await session.get_one(models.Conversation, turn.conversation_id)
            flow = await session.get(models.FlowRun, turn_id)
            facts = await facts_of(session, turn, conversation)
            if flow is not None and flow.run_key:
                facts = replace(facts, key=flow.run_key)
            entries = (await session.scalars(_ENTRIES, {"id": turn_id})).all()
            said = (await session.scalars(_SAID, {"id": turn_id})).all()
            # A flow takes its task alone: the schema of the answer is for models.
            task = await session.get(models.ChildTask, conversation.id)
            return FlowRecord(
                turn_id=turn_id,
                name=turn.agent if flow is None else flow.name,
                message="\n\n".join(said) if task is None else task.task,
                facts=facts,
                cache_salt=await self._salt(session, conversation) or turn_id,
                input=None if flow is None else flow.input,
                code_hash="" if flow is None else flow.code_hash,
                entries=tuple(stored_entry(call) for call in entries),
                is_stopped=turn.stop_requested_at is not None,
                worker_deaths=turn.worker_deaths,
                now=self._database.now(),
                is_child=task is not None,
            )

    async def begin(
        self, turn_id: str, name: str, code_hash: str, input: Mapping[str, Any]
    ) -> None:
        """See `FlowRuns.begin`."""
        async with self._database.write() as session:
            turn, conversation = await lock_turn(session, turn_id)
            if await session.get(models.FlowRun, turn_id) is not None:
                return
            person = await person_of(session, turn, conversation)
            chat = await _chat_of(session, conversation)
            await self._tenants.salt(session, chat.channel, chat.account, chat.chat)
            session.add(
                models.FlowRun(
                    turn_id=turn_id,
                    name=name,
                    code_hash=code_hash,
                    input=clean(dict(input)),
                    started_by="" if person is None else person.id,
                    created_at=self._database.now(),
                )
            )

    async def add(self, turn_id: str, known: int, entries: Sequence[NewEntry]) -> bool:
        """See `FlowRuns.add`."""
        async with self._database.write() as session:
            turn, _ = await lock_turn(session, turn_id)
            if await session.scalar(_COUNT, {"id": turn_id}) != known:
                return False
            now = self._database.now()
            flow = await session.get_one(models.FlowRun, turn_id)
            for step, new in enumerate(entries, known + 1):
                row = _row(turn_id, step, new, now)
                if flow.forked_from:
                    await _count_as_done(session, flow, row, now)
                session.add(row)
                await session.flush()
            flow.advances += 1
            turn.resumes, turn.error = 0, ""  # it makes progress
            return True

    async def answer(self, turn_id: str, text: str) -> Literal["answer", "stopped"]:
        """See `FlowRuns.answer`."""
        async with self._database.write() as session:
            turn, _ = await lock_turn(session, turn_id, running=False)
            step = (await session.scalar(_COUNT, {"id": turn_id}) or 0) + 1
            if await steps.read_step(session, turn_id, step) is not None:
                return "answer"
            check_running(turn)
            if turn.stop_requested_at is not None:
                return "stopped"
            now = self._database.now()
            flow = await session.get(models.FlowRun, turn_id)
            if flow is not None:
                flow.result = clean(text)
            await close_entries(session, turn, now)
            call = ModelCall("answer", text, started_at=now)
            await steps.commit(session, turn_id, step, call, now)
            return "answer"

    async def finish_generate(self, turn_id: str, path: str, generated: Generated) -> None:
        """See `FlowRuns.finish_generate`."""
        async with self._database.write() as session:
            turn, _ = await lock_turn(session, turn_id)
            call = await entry_of(session, turn_id, path)
            if call.state in CALL_ENDED:
                return
            now = self._database.now()
            before = await session.get(models.TurnStep, (turn_id, call.step))
            if before is not None:  # of an attempt before this one
                await session.delete(before)
                await session.flush()
            row = _model_call(turn_id, call.step, generated, before, now)
            session.add(row)
            record_model_call(session, turn, row)
            turn.error = ""
            status: Literal["ok", "error"] = "error" if generated.error else "ok"
            result = generated.error or generated.text
            await steps.finish_call(
                session, turn_id, call.step, path, status, result, generated.error, now
            )

    async def finish_wait(self, turn_id: str, path: str) -> None:
        """See `FlowRuns.finish_wait`."""
        async with self._database.write() as session:
            await lock_turn(session, turn_id)
            call = await entry_of(session, turn_id, path)
            if call.state != "ready":
                return
            result = "" if call.wait == "sleep" else await _said(session, call)
            now = self._database.now()
            await steps.finish_call(session, turn_id, call.step, path, "ok", result, "", now)

    async def begin_undo(self, turn_id: str, path: str) -> int:
        """See `FlowRuns.begin_undo`."""
        async with self._database.write() as session:
            await lock_turn(session, turn_id)
            call = await entry_of(session, turn_id, path)
            if call.state in CALL_ENDED:
                return 0
            now = self._database.now()
            call.state, call.started_at = "running", call.started_at or now
            call.attempts += 1
            return call.attempts

    async def _salt(self, session: AsyncSession, conversation: models.Conversation) -> str | None:
        chat = await _chat_of(session, conversation)
        return await self._tenants.known_salt(session, chat.channel, chat.account, chat.chat)


def _row(turn_id: str, step: int, new: NewEntry, now: float) -> models.ToolCall:
    is_over = new.entry.state in CALL_ENDED
    return models.ToolCall(
        turn_id=turn_id,
        step=step,
        call_id=new.entry.path,
        position=0,
        name=new.entry.name,
        arguments=clean(new.entry.arguments),
        effect=new.effect,
        state=new.entry.state,
        result=clean(new.entry.result),
        op=new.entry.op,
        args_hash=new.entry.args_hash,
        attempts=0,
        started_at=now if is_over else None,
        finished_at=now if is_over else None,
    )


async def _count_as_done(
    session: AsyncSession, flow: models.FlowRun, row: models.ToolCall, now: float
) -> None:
    """Give the entry the result of an earlier run that did the same outside."""
    if row.state != "planned" or row.op not in ("call", "spawn"):
        return
    done = await done_before(session, flow, row.op, row.name, row.args_hash)
    if done is not None:
        row.state, row.result, row.error = done.state, done.result, done.error
        row.started_at = row.finished_at = now


def _model_call(
    turn_id: str, step: int, generated: Generated, before: models.TurnStep | None, now: float
) -> models.TurnStep:
    """The model call of a `generate` entry. before: what an earlier attempt cost is added."""
    usage = generated.usage
    return models.TurnStep(
        turn_id=turn_id,
        step=step,
        state="closed",
        finish="tools",
        text=clean(generated.text),
        model=generated.model,
        engine_message_id=generated.engine_message_id,
        prompt_tokens=usage.prompt_tokens + (before.prompt_tokens if before else 0),
        cached_tokens=usage.cached_tokens + (before.cached_tokens if before else 0),
        completion_tokens=usage.completion_tokens + (before.completion_tokens if before else 0),
        time_to_first_token_s=usage.time_to_first_token_s,
        duration_s=usage.duration_s,
        engine=clean(usage.engine) or None,
        started_at=generated.started_at,
        created_at=now,
        **{**asked_columns(generated.asked), "prompt_end": None},  # it reads no transcript
    )


async def _chat_of(session: AsyncSession, conversation: models.Conversation) -> models.Conversation:
    """The chat at the top, whose cached prefixes the agents that work for it share."""
    if conversation.root_id is None:
        return conversation
    return await session.get_one(models.Conversation, conversation.root_id)


async def entry_of(session: AsyncSession, turn_id: str, path: str) -> models.ToolCall:
    """The entry of this path. Raises NotFound."""
    call = await session.scalar(
        select(models.ToolCall).where(
            models.ToolCall.turn_id == turn_id,
            models.ToolCall.call_id == path,
            models.ToolCall.op != "",
        )
    )
    if call is None:
        raise NotFound(f"No entry {path} in the journal of turn {turn_id}.")
    return call


def stored_entry(call: models.ToolCall) -> StoredEntry:
    """The entry of a row."""
    entry = Entry(
        path=call.call_id,
        op=cast(Op, call.op),
        name=call.name,
        arguments=call.arguments,
        state=cast(EntryState, call.state),
        result=call.result,
    )
    return StoredEntry(entry, call.step, cast(Effect, call.effect), call.wait)


async def _said(session: AsyncSession, call: models.ToolCall) -> str:
    """What somebody answered or decided, as JSON text."""
    asked = await latest(session, call.turn_id, call.step, call.call_id)
    if call.op == "approve":
        is_yes = asked is not None and asked.state == "approved"
        reason = "" if asked is None else asked.reason
        who = "" if asked is None else asked.decided_name
        return json.dumps({"approved": is_yes, "reason": reason, "by": who}, ensure_ascii=False)
    is_answered = asked is not None and asked.state == "answered"
    answers = asked.answers if asked is not None and is_answered else None
    return json.dumps({"answers": answers}, ensure_ascii=False)
