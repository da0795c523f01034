"""The life of a turn in the database."""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.committed.told import tell
from roost_platform.db.base.engine import Database
from roost_platform.db.base.ids import new_id, new_nonce
from roost_platform.db.base.text import clean
from roost_platform.db.conversations.sessions import current_session
from roost_platform.db.locks import get_turn, lock_conversation, lock_turn, open_turn
from roost_platform.db.people.tenants import Tenants
from roost_platform.db.policies.switches import off_rule, tell_off
from roost_platform.db.turns import end, parking, steps
from roost_platform.db.turns.context import read_call, read_context, record, resumed
from roost_platform.db.turns.delays import tell_delay
from roost_platform.db.turns.stop import record_stop
from roost_platform.db.turns.transcript import (
    TURN_MESSAGES_MAX,
    album_wait_s,
    complete_rows,
    pending_rows,
    take,
    waiting_span,
)
from roost_platform.errors import NotFound, TurnOver
from roost_platform.queueing import QueueRules, batch_max
from roost_workflows.ports import (
    CallContext,
    CallRecord,
    CallStatus,
    ModelCall,
    Postponed,
    Snapshot,
    StepRecord,
    TurnContext,
    TurnRecord,
)
from roost_workflows.storage.ends import Settled
from roost_workflows.turn.endings import BY_OPERATOR

# These run several times a second while a model writes, or in every turn: they are built once.
_STOP = select(models.Turn.stop_requested_at).where(models.Turn.id == bindparam("id"))
_RUNS = select(models.Turn.id).where(
    models.Turn.id == bindparam("running"), models.Turn.state == "running"
)
_PROGRESS = (
    update(models.RunProgress)
    .where(models.RunProgress.turn_id == bindparam("running"), _RUNS.exists())
    .values(version=models.RunProgress.version + 1)
)

_ERROR = (
    update(models.Turn)
    .where(models.Turn.id == bindparam("running"), models.Turn.state == "running")
    .values(error=bindparam("error"))
    .execution_options(synchronize_session=False)
)
# Runs of the session that take up a turn again without a model call that succeeds; then something
# ends each of them, and the turn is given up. A worker's death does not end a run.
RESUMES_MAX = 20
ERROR_CHARS_MAX = 8000


class TurnStore:
    """Implements `roost_workflows.ports.Turns`; every method is one transaction."""

    def __init__(
        self,
        database: Database,
        queueing: QueueRules | None = None,
        tenants: Tenants | None = None,
    ) -> None:
        self._database = database
        self._queueing = queueing or QueueRules()
        self._tenants = tenants or Tenants(database)

    async def begin(self, conversation_id: str) -> TurnRecord | Postponed | None:
        """See `ports.Turns.begin`."""
        async with self._database.write() as session:
            try:
                conversation = await lock_conversation(session, conversation_id)
            except NotFound:
                return None
            turn = await open_turn(session, conversation_id)
            if turn is not None and turn.state == "waiting":
                return await self._go_on(session, turn)
            if turn is not None:
                turn.resumes += 1
                if turn.resumes <= RESUMES_MAX:
                    return await resumed(session, turn)
                await end.settle(session, turn.id, "failed", "no_progress", self._database.now())
            pending = await pending_rows(session, conversation_id)
            if not pending:
                return None
            if (rule := await off_rule(session, conversation)) is not None:
                await self._stay_off(session, conversation, rule)
                return None
            count, oldest, newest = await waiting_span(session, conversation_id, pending)
            mode = self._queueing.mode_of(conversation)
            now = self._database.now()
            wait_s = max(
                self._queueing.wait_s(mode, oldest, newest, now),
                album_wait_s(pending[0], now),
            )
            if wait_s and conversation.kind == "chat":  # agents don't write in bits
                return Postponed(wait_s)
            taken = complete_rows(pending[: batch_max(mode, count, TURN_MESSAGES_MAX)], now)
            return record(await self._start(session, conversation, taken))

    async def _stay_off(
        self, session: AsyncSession, conversation: models.Conversation, rule: models.ToolPolicy
    ) -> None:
        """Keep messages of a chat whose agent is switched off. Others end: a parent may wait."""
        now = self._database.now()
        if conversation.kind != "chat":
            await record_stop(session, conversation, rule.set_by, now, cause=BY_OPERATOR)
        else:
            await tell_off(session, conversation, rule, now)

    async def _go_on(self, session: AsyncSession, turn: models.Turn) -> TurnRecord | None:
        """Take up a turn that waited; None while it has to wait further."""
        is_over = turn.stop_requested_at is not None or await parking.can_go_on(session, turn.id)
        if not is_over:
            return None
        await parking.unpark(session, turn, self._database.now())
        return await resumed(session, turn)

    async def _start(
        self,
        session: AsyncSession,
        conversation: models.Conversation,
        taken: Sequence[models.Inbox],
    ) -> models.Turn:
        now = self._database.now()
        chat_session = await current_session(session, conversation, now)
        conversation.turn_count += 1
        turn = models.Turn(
            id=new_id(),
            conversation_id=conversation.id,
            session_id=chat_session.id,
            number=conversation.turn_count,
            agent=conversation.agent,
            state="running",
            queued_at=taken[0].received_at,
            started_at=now,
            nonce=new_nonce(),
        )
        await take(session, turn, chat_session, taken, now)
        tell(
            session,
            "turn begun",
            turn_id=turn.id,
            conversation_id=conversation.id,
            agent=turn.agent,
            messages=len(taken),
        )
        session.add(
            models.RunProgress(
                turn_id=turn.id,
                conversation_id=conversation.id,
                phase="queued",
                text="",
                tools=[],
                version=1,
                updated_at=now,
            )
        )
        return turn

    async def get(self, turn_id: str) -> TurnRecord:
        """See `ports.Turns.get`."""
        async with self._database.read() as session:
            return record(await get_turn(session, turn_id))

    async def step(self, turn_id: str, step: int) -> StepRecord | None:
        """See `ports.Turns.step`."""
        async with self._database.read() as session:
            return await steps.read_step(session, turn_id, step)

    async def context(self, turn_id: str, step: int) -> TurnContext:
        """See `ports.Turns.context`."""
        async with self._database.write() as session:
            turn, conversation = await lock_turn(session, turn_id)
            return await read_context(
                *(session, turn, conversation, self._tenants, self._database.now()),
                is_first=step == 1,
                steers=self._may_steer(turn, conversation),
            )

    def _may_steer(self, turn: models.Turn, conversation: models.Conversation) -> bool:
        mode = self._queueing.mode_of(conversation)
        return mode == "steer" and turn.stop_requested_at is None

    async def commit_step(self, turn_id: str, step: int, call: ModelCall) -> StepRecord:
        """See `ports.Turns.commit_step`."""
        async with self._database.write() as session:
            now = self._database.now()
            stored = await steps.commit(session, turn_id, step, call, now)
            if stored.finish == "stopped":
                # Nothing else of the turn runs: people need not wait for the session to settle it.
                await end.settle(session, turn_id, "stopped", "stopped", now)
            return stored

    async def call(self, turn_id: str, step: int, call_id: str) -> CallRecord:
        """See `ports.Turns.call`."""
        async with self._database.read() as session:
            return await steps.read_call(session, turn_id, step, call_id)

    async def call_context(self, turn_id: str, step: int, call_id: str) -> CallContext:
        """See `ports.Turns.call_context`."""
        async with self._database.read() as session:
            return await read_call(session, turn_id, step, call_id)

    async def begin_call(self, turn_id: str, step: int, call_id: str) -> CallRecord:
        """See `ports.Turns.begin_call`."""
        async with self._database.write() as session:
            now = self._database.now()
            return await steps.begin_call(session, turn_id, step, call_id, now)

    async def finish_call(
        self,
        turn_id: str,
        step: int,
        call_id: str,
        *,
        status: CallStatus,
        result: str,
        error: str = "",
        ran_s: float | None = None,
    ) -> None:
        """See `ports.Turns.finish_call`."""
        error = error[:ERROR_CHARS_MAX]
        async with self._database.write() as session:
            now = self._database.now()
            await steps.finish_call(
                session, turn_id, step, call_id, status, result, error, now, ran_s
            )

    async def close_group(self, turn_id: str, step: int) -> None:
        """See `ports.Turns.close_group`."""
        async with self._database.write() as session:
            turn, _ = await lock_turn(session, turn_id, running=False)
            await steps.close_group(session, turn, step, self._database.now())

    async def stop_requested(self, turn_id: str) -> bool:
        """See `ports.Turns.stop_requested`."""
        async with self._database.read() as session:
            row = (await session.execute(_STOP, {"id": turn_id})).first()
            if row is None:
                raise NotFound(f"No turn {turn_id}.")
            return row[0] is not None

    async def worker_died(self, turn_id: str) -> int:
        """See `ports.Turns.worker_died`."""
        async with self._database.write() as session:
            try:
                turn, _ = await lock_turn(session, turn_id)
            except (NotFound, TurnOver):
                return 0
            turn.worker_deaths += 1
            return turn.worker_deaths

    async def note_error(self, turn_id: str, error: str) -> None:
        """See `ports.Turns.note_error`."""
        values = {"running": turn_id, "error": clean(error[-ERROR_CHARS_MAX:])}
        async with self._database.write() as session:
            await session.execute(_ERROR, values)

    async def settle(
        self, turn_id: str, *, outcome: Literal["stopped", "failed"], reason: str
    ) -> Settled:
        """See `ports.Turns.settle`."""
        async with self._database.write() as session:
            now = self._database.now()
            return await end.settle(session, turn_id, outcome, reason, now)

    async def progress(self, turn_id: str, snapshot: Snapshot) -> None:
        """See `ports.Turns.progress`."""
        values = {
            "running": turn_id,
            "phase": snapshot.phase,
            "text": clean(snapshot.text),
            "tools": clean(snapshot.tools),
            "plan": clean(snapshot.plan),
            "updated_at": self._database.now(),
        }
        async with self._database.write() as session:
            if snapshot.is_delayed:
                await tell_delay(session, turn_id, self._database.now())
            await session.execute(_PROGRESS, values)
