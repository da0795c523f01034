"""Commands sent in a chat, carried out in the transaction that accepts them."""

from collections.abc import Mapping
from hmac import compare_digest
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform import commands
from roost_platform.commands import Command
from roost_platform.db import models
from roost_platform.db.conversations.sessions import current_session, open_session
from roost_platform.db.conversations.settings import ProgressModes, choose_progress, choose_queue
from roost_platform.db.enqueue import enqueue
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.links import answer_link
from roost_platform.db.inbox.scheduling.listing import schedules
from roost_platform.db.inbox.scheduling.reminding import remind
from roost_platform.db.locks import open_turn
from roost_platform.db.reply_targets import reply_target
from roost_platform.db.schedules.keeping import live_of
from roost_platform.db.turns.children.telling import has_live, tasks_text
from roost_platform.db.turns.dropping import (
    NOTHING,
    Undelivered,
    drop_undelivered,
    is_droppable,
    notice_text,
    remember_notice,
)
from roost_platform.db.turns.stop import STOPPED_HEAD, Delivery, record_stop, waiting_count
from roost_platform.db.waits.answering import open_in
from roost_platform.db.waits.described import joined, waits_of
from roost_platform.queueing import QueueRules
from roost_workflows.turn.endings import lasting

# What the person who pressed a button reads, at most 200 characters. A person who is not admitted
# gets no message about it in the chat.
PRESS_ANSWERS: Final[Mapping[str, str]] = {
    "not_admitted": "This button is not for you.",
    "unknown_button": "This button does nothing any more.",
    "turn_over": "That is over already.",
}
PRESS_STOPS: Final = "Stopping."
_TOLD_IN_CHAT: Final[frozenset[str]] = frozenset({"unknown_button", "turn_over"})


async def carry_out(
    session: AsyncSession,
    arrival: Arrival,
    command: Command,
    queueing: QueueRules,
    progress_modes: ProgressModes,
) -> None:
    """Carry a command out, answer it in the chat and set the row's state."""
    conversation = arrival.conversation
    arrival.conclude("done")
    if command.name == "stop":
        await _stop(session, arrival, command)
    elif command.name == "new":
        await _open_new_session(session, arrival)
    elif command.name == "status":
        await _reply(session, arrival, await _status(session, arrival))
    elif command.name == "tasks":
        await _reply(session, arrival, await tasks_text(session, conversation, arrival.now))
    elif command.name == "queue":
        await _reply(session, arrival, choose_queue(conversation, command.argument, queueing))
    elif command.name == "progress":
        await _reply(
            session, arrival, choose_progress(conversation, command.argument, progress_modes)
        )
    elif command.name == "remind":
        await remind(session, arrival, command.argument)
    elif command.name == "schedules":
        await schedules(session, arrival, command.argument)
    elif command.name == "link":
        await _reply(session, arrival, await answer_link(session, arrival, command))
    else:
        is_start = command.name == "start"
        await _reply(session, arrival, commands.WELCOME if is_start else commands.HELP)


async def answer_unknown(session: AsyncSession, arrival: Arrival, name: str) -> None:
    """Say that there is no such command; the agent does not read it."""
    arrival.conclude("done", "unknown_command")
    await _reply(session, arrival, commands.unknown_answer(name))


async def _open_new_session(session: AsyncSession, arrival: Arrival) -> None:
    text = commands.NEW_SESSION
    if await live_of(session, arrival.conversation.id):
        text = f"{text} {commands.SCHEDULES_STAY}"
    if arrival.fallback_agent:
        text = f"{text} {commands.other_agent(arrival.conversation.agent, arrival.fallback_agent)}"
        arrival.conversation.agent = arrival.fallback_agent
    # No reason to withhold an answer that is finished.
    await _record_stop(session, arrival, text, delivery="begun")
    await open_session(session, arrival.conversation, arrival.now)


async def _record_stop(
    session: AsyncSession, arrival: Arrival, text: str = "", *, delivery: Delivery = "all"
) -> None:
    """Stop what runs and is delivered, drop what waits, and say so, with `text` if there is any."""
    stopped = await record_stop(
        session,
        arrival.conversation,
        arrival.writer,
        arrival.now,
        before=arrival.row.sequence,
        delivery=delivery,
    )
    arrival.stops = stopped.runs
    if stopped.undelivered.ids:
        tail = " ".join(filter(None, (stopped.tail, text)))
        await _reply_undelivered(session, arrival, stopped.undelivered, tail)
    elif text:
        await _reply(session, arrival, f"{text} {stopped.tail}".strip())
    elif stopped.answer:
        stays = await live_of(session, arrival.conversation.id)
        tail = f" {commands.SCHEDULES_STAY}" if stays else ""
        await _reply(session, arrival, f"{stopped.answer}{tail}")


async def _reply_undelivered(
    session: AsyncSession, arrival: Arrival, undelivered: Undelivered, tail: str = ""
) -> None:
    text = notice_text(undelivered, STOPPED_HEAD, tail)
    notice_id = await _reply(session, arrival, text)
    await remember_notice(session, undelivered, notice_id, STOPPED_HEAD, tail)


async def _stop(session: AsyncSession, arrival: Arrival, command: Command) -> None:
    conversation_id = arrival.conversation.id
    turn = await open_turn(session, conversation_id)
    if command.turn_id:
        await _stop_by_button(session, arrival, command, turn)
    elif (
        command.is_phrase
        and turn is None
        and not await has_live(session, conversation_id)
        and not await waiting_count(session, conversation_id)
        and not await is_droppable(session, conversation_id)
    ):
        arrival.conclude("pending")  # nothing to stop: the words are meant for the agent
    else:
        await _record_stop(session, arrival)


async def _stop_by_button(
    session: AsyncSession, arrival: Arrival, command: Command, running: models.Turn | None
) -> None:
    """Stop the turn that the button belongs to; of one that is over, the delivery of its answer,
    if the person has seen a part of it.
    """
    turn = await session.get(models.Turn, command.turn_id)
    if turn is None or turn.conversation_id != arrival.conversation.id:
        arrival.conclude("done", "turn_over")
        return
    is_ours = compare_digest(command.nonce.encode(), turn.nonce.encode())
    if running is not None and running.id == turn.id:
        if is_ours:
            await _record_stop(session, arrival, delivery="begun")
        else:
            arrival.conclude("ignored", "unknown_button")  # somebody made it up
        return
    undelivered = NOTHING
    if is_ours:
        undelivered = await drop_undelivered(
            session, arrival.conversation, arrival.now, turn_id=turn.id, only_begun=True
        )
    if undelivered.ids:
        await _reply_undelivered(session, arrival, undelivered)
    else:
        arrival.conclude("done", "turn_over")


async def answer_press(session: AsyncSession, arrival: Arrival) -> None:
    """Decide what the person who pressed a button is told, in the chat if there is no other way."""
    row = arrival.row
    if arrival.answer is not None:  # of a card
        if arrival.event.answered_in_chat and arrival.answer:
            await _reply(session, arrival, arrival.answer)
        return
    stops = PRESS_STOPS if row.state == "done" else ""
    arrival.answer = PRESS_ANSWERS.get(row.reason_code, stops)
    if arrival.event.answered_in_chat and row.reason_code in _TOLD_IN_CHAT:
        await _reply(session, arrival, arrival.answer)


async def _status(session: AsyncSession, arrival: Arrival) -> str:
    conversation, now = arrival.conversation, arrival.now
    turn = await open_turn(session, conversation.id)
    waiting = await waiting_count(session, conversation.id)
    chat_session = await current_session(session, conversation, now)
    from_user = await session.scalar(
        select(func.count())
        .select_from(models.Transcript)
        .where(
            models.Transcript.session_id == chat_session.id,
            models.Transcript.role == "user",
            models.Transcript.note_kind != "agent",
        )
    )
    work = "Idle." if turn is None else f"Working for {lasting(now - turn.started_at)}."
    if turn is not None and turn.waiting_since is not None:
        work = await _waits(session, arrival, turn)
    if turn is not None and turn.stop_requested_at is not None:
        work = "Stopping."
    lines = [work]
    if waiting:
        lines.append(f"{waiting} message{'' if waiting == 1 else 's'} waiting.")
    lines.append(f"Agent: {conversation.agent}.")
    messages = f"{from_user or 0} message{'' if from_user == 1 else 's'} of yours"
    lines.append(f"Conversation {chat_session.number}, with {messages}.")
    return "\n".join(lines)


async def _waits(session: AsyncSession, arrival: Arrival, turn: models.Turn) -> str:
    """What a parked turn waits for, and since when."""
    questions = await open_in(session, arrival.conversation.id)
    person = None
    if arrival.row.identity_id:
        person = await session.get(models.Identity, arrival.row.identity_id)
    waits = await waits_of(session, turn, questions, person, arrival.now)
    since_s = arrival.now - (turn.waiting_since or arrival.now)
    return f"Waiting for {joined(waits) or 'something'}, for {lasting(since_s)} now."


async def _reply(session: AsyncSession, arrival: Arrival, text: str) -> str:
    """Queue an answer of the platform, as a reply where the event was a message; returns its id."""
    is_message = arrival.row.kind == "message"
    return await enqueue(
        session,
        arrival.conversation,
        kind="notice",
        body=text,
        dedupe_key=f"inbox:{arrival.row.id}",
        now=arrival.now,
        reply_to=await reply_target(session, arrival.row) if is_message else None,
    )
