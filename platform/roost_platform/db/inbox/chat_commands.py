"""Commands said in a chat, carried out in the transaction that accepts them."""

from hmac import compare_digest

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform import commands
from roost_platform.commands import Command
from roost_platform.db import models
from roost_platform.db.rows import current_session, open_session, queue, reply_target, running_turn
from roost_platform.db.turns.status import PROGRESS
from roost_platform.db.turns.stop import record_stop, waiting_count
from roost_platform.queueing import QUEUE_MODES, SETTING, QueueRules


async def obey(
    session: AsyncSession,
    conversation: models.Conversation,
    row: models.Inbox,
    command: Command,
    queueing: QueueRules,
    now: float,
) -> bool:
    """Carry a command out and set the row's state; True when a running turn is to be stopped."""
    row.state = "done"
    if command.name == "stop":
        return await _stop(session, conversation, row, command, now)
    if command.name == "new":
        stopped = await record_stop(session, conversation, _by(row), now, before=row.sequence)
        await open_session(session, conversation, now)
        said = f"{commands.NEW_SESSION} {commands.dropped_line(stopped.dropped)}".strip()
        await _tell(session, conversation, row, said, now)
        return stopped.turn_id is not None
    if command.name == "status":
        said = await _status(session, conversation, now)
    elif command.name == "queue":
        said = choose_queue(conversation, command.argument, queueing)
    elif command.name == "progress":
        said = choose_progress(conversation, command.argument)
    else:
        said = commands.WELCOME if command.name == "start" else commands.HELP
    await _tell(session, conversation, row, said, now)
    return False


async def _stop(
    session: AsyncSession,
    conversation: models.Conversation,
    row: models.Inbox,
    command: Command,
    now: float,
) -> bool:
    turn = await running_turn(session, conversation.id)
    if command.turn_id and (turn is None or turn.id != command.turn_id):
        row.reason = commands.TURN_OVER
        return False
    given, nonce = command.nonce.encode(), (turn.nonce if turn else "").encode()
    if command.turn_id and not compare_digest(given, nonce):
        row.state, row.reason = "ignored", commands.UNKNOWN_BUTTON  # made up by somebody
        return False
    if command.is_phrase and turn is None and not await waiting_count(session, conversation.id):
        row.state = "pending"  # nothing to stop: the words are meant for the agent
        return False
    stopped = await record_stop(session, conversation, _by(row), now, before=row.sequence)
    said = commands.told(stopped.dropped, was_running=stopped.turn_id is not None)
    if said:
        await _tell(session, conversation, row, said, now)
    return stopped.turn_id is not None


def choose_queue(conversation: models.Conversation, word: str, rules: QueueRules) -> str:
    """Set the conversation's queue mode to `word`, or tell which there are."""
    default = rules.default_of(conversation.channel)
    mode = next((known for known in QUEUE_MODES if known == word), None)
    if mode is None and word != commands.QUEUE_DEFAULT:
        now = rules.mode_of(conversation.channel, conversation.settings)
        return commands.queue_lines(now, default)
    settings = {name: v for name, v in conversation.settings.items() if name != SETTING}
    conversation.settings = settings if mode is None else {**settings, SETTING: mode}
    return commands.queue_set(mode or default)


def choose_progress(conversation: models.Conversation, word: str) -> str:
    """Set what the conversation sees of work in progress, or tell what there is to choose."""
    if word not in commands.PROGRESS_MEANINGS and word != commands.PROGRESS_DEFAULT:
        return commands.progress_lines(str(conversation.settings.get(PROGRESS, "")))
    settings = {name: v for name, v in conversation.settings.items() if name != PROGRESS}
    chosen = word if word in commands.PROGRESS_MEANINGS else ""
    conversation.settings = {**settings, PROGRESS: chosen} if chosen else settings
    return commands.progress_set(chosen)


def _by(row: models.Inbox) -> str:
    return str(row.sender.get("display_name") or row.sender.get("address") or "user")


async def _status(session: AsyncSession, conversation: models.Conversation, now: float) -> str:
    turn = await running_turn(session, conversation.id)
    waiting = await waiting_count(session, conversation.id)
    chat = await current_session(session, conversation, now)
    said = await session.scalar(
        select(func.count())
        .select_from(models.Transcript)
        .where(models.Transcript.session_id == chat.id, models.Transcript.role == "user")
    )
    work = "Idle." if turn is None else f"Working for {now - turn.started_at:.0f} s."
    if turn is not None and turn.stop_requested_at is not None:
        work = "Stopping."
    lines = [work]
    if waiting:
        lines.append(f"{waiting} message{'' if waiting == 1 else 's'} waiting.")
    lines.append(f"Agent: {conversation.agent}.")
    lines.append(f"Conversation {chat.number}, {said or 0} of your messages in it.")
    return "\n".join(lines)


async def _tell(
    session: AsyncSession,
    conversation: models.Conversation,
    row: models.Inbox,
    said: str,
    now: float,
) -> None:
    is_message = row.kind == "message"
    await queue(
        session,
        conversation,
        kind="notice",
        body=said,
        dedupe_key=f"inbox:{row.id}",
        now=now,
        reply_to=await reply_target(session, row) if is_message else None,
    )
