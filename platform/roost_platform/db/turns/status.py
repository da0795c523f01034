"""Progress of running turns and their status messages, as the channels show them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from sqlalchemy import and_, bindparam, or_, select, tuple_, union
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.outbox import ProgressSnapshot, StatusMessage, is_under_way
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing
from roost_platform.db.conversations.addresses import address_of
from roost_platform.db.conversations.settings import PROGRESS
from roost_platform.db.reply_targets import reply_target_of
from roost_platform.db.turns.children.telling import lines_of

SNAPSHOTS_MAX = 500  # running turns shown at once; the longest running go first
KNOWN_MAX = 200  # messages of ours looked at around a lost status message
ORPHANS_MAX = 100  # status messages the janitor is given at once

# These run many times a second, so they are built once.
_OF_ACCOUNTS = tuple_(models.Conversation.channel, models.Conversation.account).in_(
    bindparam("accounts", expanding=True)
)
# Two look-ups by index: most turns are over, and their status messages are closed.
# Whether a turn waits for agents that work for it: it is shown, and its Stop button works.
_HAS_AGENTS = (
    select(models.ChildTask.conversation_id)
    .where(
        models.ChildTask.parent_turn_id == models.Turn.id,
        models.ChildTask.state == "running",
        models.ChildTask.is_waited,
    )
    .exists()
)
_WAITS_FOR_AGENTS = and_(
    models.Turn.state == "waiting", models.Turn.stop_requested_at.is_(None), _HAS_AGENTS
)
_SHOWN = union(
    select(models.Turn.id).where(models.Turn.state == "running"),
    select(models.Turn.id).where(_WAITS_FOR_AGENTS),
    select(models.StatusMessageRow.turn_id).where(models.StatusMessageRow.state == "open"),
)
_SNAPSHOTS = (
    select(models.RunProgress, models.Turn, models.Conversation)
    .join(models.Turn, models.Turn.id == models.RunProgress.turn_id)
    .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
    .where(_OF_ACCOUNTS, models.Turn.id.in_(_SHOWN))
    .order_by(models.Turn.started_at)
    .limit(SNAPSHOTS_MAX)
)
_UNSENT = select(models.Outbox.id).where(
    models.Outbox.turn_id == models.Turn.id, models.Outbox.state == "pending"
)
_ORPHANS = (
    select(models.StatusMessageRow, models.Turn, models.Conversation)
    .join(models.Turn, models.Turn.id == models.StatusMessageRow.turn_id)
    .join(models.Conversation, models.Conversation.id == models.Turn.conversation_id)
    .where(
        models.StatusMessageRow.state.in_(("planned", "lost", "open")),
        models.Turn.state != "running",
        ~_WAITS_FOR_AGENTS,
        ~_UNSENT.exists(),
        _OF_ACCOUNTS,
    )
    .order_by(models.StatusMessageRow.edited_at)
    .limit(ORPHANS_MAX)
)
_UNFENCED = select(models.Turn.id).where(
    models.Turn.id == bindparam("turn_id"),
    or_(models.Turn.state == "running", _WAITS_FOR_AGENTS),
    models.Turn.stop_requested_at.is_(None),
)
_LOCK_UNFENCED = _UNFENCED.with_for_update(read=True, of=models.Turn)
# The first message that a turn took: the one it replies to may stand below its status message.
_FIRST_MESSAGE = (
    select(models.Inbox.message_id)
    .where(models.Inbox.turn_id == bindparam("turn_id"))
    .order_by(models.Inbox.sequence)
    .limit(1)
)
_STATUS = (
    select(models.StatusMessageRow, models.Conversation)
    .join(models.Conversation, models.Conversation.id == models.StatusMessageRow.conversation_id)
    .where(models.StatusMessageRow.turn_id == bindparam("turn_id"))
)


class StatusStore:
    """The part of the Outbox port that shows progress. See `roost_channels.outbox.Outbox`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._passed = database.passed

    async def progress(self, channels: Sequence[tuple[str, str]]) -> Sequence[ProgressSnapshot]:
        """The snapshots of turns to show on these accounts, the longest running first."""
        if not channels:
            return []
        async with self._database.read() as session:
            rows = (await session.execute(_SNAPSHOTS, {"accounts": list(channels)})).all()
            waiting = [turn.id for _, turn, _ in rows if turn.state == "waiting"]
            agents = await lines_of(session, waiting) if waiting else {}
            return [_with_agents(snapshot_of(*row), agents.get(row[1].id, ())) for row in rows]

    async def status_message(self, turn_id: str) -> StatusMessage | None:
        """The turn's status message, None before one is planned."""
        async with self._database.read() as session:
            row = (await session.execute(_STATUS, {"turn_id": turn_id})).first()
            return None if row is None else _status(*row)

    async def plan_status_message(self, status: StatusMessage) -> bool:
        """Store a status message before a request with it leaves; False if it must not leave.

        The turn's row is locked, so that it ends either before this or knows of the request.
        """
        async with self._database.write() as session:
            if await session.scalar(_LOCK_UNFENCED, {"turn_id": status.turn_id}) is None:
                return False
            if status.message_id is None:
                turn = await session.get_one(models.Turn, status.turn_id)
                return await insert_missing(
                    session,
                    models.StatusMessageRow,
                    turn_id=turn.id,
                    conversation_id=turn.conversation_id,
                    **_columns(status),
                )
            row = await session.get_one(
                models.StatusMessageRow, status.turn_id, with_for_update=True
            )
            if is_under_way(row.left_at, self._passed):
                return False
            _store(row, status)
        return True

    async def put_status_message(self, status: StatusMessage) -> None:
        """Store the status message of a turn."""
        async with self._database.write() as session:
            row = await session.get(models.StatusMessageRow, status.turn_id)
            if row is None:
                turn = await session.get_one(models.Turn, status.turn_id)
                row = models.StatusMessageRow(
                    turn_id=status.turn_id, conversation_id=turn.conversation_id
                )
                session.add(row)
            _store(row, status)

    async def overtaken(self, turn_id: str) -> bool:
        """Whether anything was sent to the chat since the turn began."""
        later = (
            select(models.Part.id)
            .join(models.Turn, models.Turn.conversation_id == models.Part.conversation_id)
            .join(models.Outbox, models.Outbox.id == models.Part.outbox_id)
            .where(
                models.Turn.id == turn_id,
                models.Part.sent_at >= models.Turn.started_at,
                models.Outbox.edits_id.is_(None),  # an edit puts nothing below the others
            )
            .limit(1)
        )
        async with self._database.read() as session:
            return await session.scalar(later) is not None

    async def fenced(self, turn_id: str) -> bool:
        """Whether no progress of the turn may be shown any more."""
        async with self._database.read() as session:
            return await session.scalar(_UNFENCED, {"turn_id": turn_id}) is None

    async def orphans(self, channels: Sequence[tuple[str, str]]) -> Sequence[StatusMessage]:
        """Status messages of ended turns that nobody closed."""
        if not channels:
            return []
        async with self._database.read() as session:
            rows = (await session.execute(_ORPHANS, {"accounts": list(channels)})).all()
            return [await _orphan(session, *row) for row in rows]


async def _orphan(
    session: AsyncSession,
    row: models.StatusMessageRow,
    turn: models.Turn,
    conversation: models.Conversation,
) -> StatusMessage:
    """The status message with the outcome of its turn, and with the messages around it where its
    own id is unknown.
    """
    status = replace(
        _status(row, conversation),
        outcome=turn.state,
        elapsed_s=max((turn.finished_at or turn.started_at) - turn.started_at, 0.0),
    )
    if row.message_id is not None or turn.reply_to is None:
        return status
    ours = await session.execute(
        select(models.Part.message_id, models.Outbox.turn_id)
        .join(models.Outbox, models.Outbox.id == models.Part.outbox_id)
        .where(
            models.Part.conversation_id == row.conversation_id,
            models.Part.sent_at >= turn.started_at,
            models.Part.message_id.is_not(None),
        )
        .order_by(models.Part.sent_at)
        .limit(KNOWN_MAX)
    )
    parts = [(str(message_id), turn_id) for message_id, turn_id in ours]
    final = next((message_id for message_id, turn_id in parts if turn_id == turn.id), "")
    after = await session.scalar(_FIRST_MESSAGE, {"turn_id": turn.id})
    return replace(status, after=after or "", before=final, known=tuple(one for one, _ in parts))


def _with_agents(snapshot: ProgressSnapshot, lines: tuple[str, ...]) -> ProgressSnapshot:
    """The snapshot of a turn that waits, with the agents that work for it; others as they are."""
    return replace(snapshot, phase="agents", plan=lines, tools=()) if lines else snapshot


def snapshot_of(
    progress: models.RunProgress, turn: models.Turn, conversation: models.Conversation
) -> ProgressSnapshot:
    """The progress row as channels show it."""
    reply_to = reply_target_of(turn.reply_to)
    return ProgressSnapshot(
        turn_id=turn.id,
        conversation_id=conversation.id,
        address=address_of(conversation),
        generation=turn.number,
        phase=progress.phase,
        text=progress.text,
        tools=tuple(str(line) for line in progress.tools),
        reply_to=reply_to,
        inbound_message_id="" if reply_to is None else reply_to.message_id,
        started_at=turn.started_at,
        updated_at=progress.updated_at,
        version=progress.version,
        plan=tuple(str(line) for line in progress.plan or ()),
        mode=str(conversation.settings.get(PROGRESS, "")),
        nonce=turn.nonce,
    )


def _status(row: models.StatusMessageRow, conversation: models.Conversation) -> StatusMessage:
    return StatusMessage(
        turn_id=row.turn_id,
        address=address_of(conversation),
        message_id=row.message_id,
        shown=row.shown,
        state=cast(Literal["planned", "lost", "open", "closed"], row.state),
        edited_at=row.edited_at,
        late_until=row.late_until,
        left_at=row.left_at,
        answer_part_id=row.answer_part_id or "",
    )


def _columns(status: StatusMessage) -> dict[str, Any]:
    return {
        "message_id": status.message_id,
        "shown": status.shown,
        "state": status.state,
        "edited_at": status.edited_at,
        "late_until": status.late_until,
        "left_at": status.left_at,
        "answer_part_id": status.answer_part_id or None,
    }


def _store(row: models.StatusMessageRow, status: StatusMessage) -> None:
    for name, value in _columns(status).items():
        setattr(row, name, value)
