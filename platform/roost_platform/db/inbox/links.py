"""/link in a chat: a code for the person's other chats, and what entering one does."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.commands import Command
from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.enqueue import enqueue
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.locks import lock_conversation
from roost_platform.db.people.access import NOTICE_EVERY_S
from roost_platform.db.people.link_codes import (
    LINK_CODE_S,
    count_wrong,
    link_code,
    may_try,
    valid_code,
)
from roost_platform.db.people.linking import join, lock_people

ACTOR: Final = "chat"  # in the audit trail: no operator did it

IN_PRIVATE: Final = "Send me /link in a private chat: here others can read the code."
TOO_MANY_CODES: Final = "You have had many codes today. Please try again tomorrow."
WRONG: Final = "This code is not valid. Send me /link in your other chat to get a new one."
TOO_MANY_WRONG: Final = "Those were too many wrong codes. Please try again in an hour."
OWN: Final = "That is your own code. Send it to me from the other app or account."
FORWARDED: Final = "Please type the code yourself: I take none from a forwarded message."
NOT_YET: Final = "I can link this chat once you are let in here. Your code is still valid."


def code_told(code: str) -> str:
    """The answer to /link: the code, and what it does."""
    return (
        f"To be known in another app, send me this there within {LINK_CODE_S / 60:.0f} minutes:\n\n"
        f"/link {code}\n\n"
        "You will be the same person for me there, with all that I keep about you. So show the "
        "code to nobody, and enter none that somebody sends you."
    )


def linked_told(name: str) -> str:
    """The answer to a valid code, where it was entered."""
    return f"Linked. Here, too, I know you as {name} now. Our conversations stay apart."


def _used_told(arrival: Arrival) -> str:
    sender = arrival.event.sender
    where = f"@{sender.username}" if sender.username else sender.address
    return (
        f"Linked: {arrival.writer} ({where}) entered your code and is the same person for me now. "
        "If that was not you, please tell the person who runs this assistant."
    )


async def answer_link(session: AsyncSession, arrival: Arrival, command: Command) -> str:
    """The answer to an admitted person's /link."""
    if arrival.event.is_group:
        await _void(session, arrival, command.argument)
        return IN_PRIVATE
    if command.argument:
        return arrival.link_answer
    person = await session.get_one(models.Identity, arrival.row.identity_id)
    code = await link_code(session, person, arrival.conversation, arrival.now)
    return TOO_MANY_CODES if code is None else code_told(code)


async def tell_stranger(session: AsyncSession, arrival: Arrival, person_id: str) -> None:
    """Tell somebody who may not talk here what came of their code: each answer once in
    NOTICE_EVERY_S, however often they send one.
    """
    if not arrival.link_answer:
        return
    period = f"{arrival.now // NOTICE_EVERY_S:.0f}"
    await enqueue(
        session,
        arrival.conversation,
        kind="notice",
        body=arrival.link_answer,
        dedupe_key=f"link:{person_id}:{arrival.link_answer}:{period}",
        now=arrival.now,
    )


async def _void(session: AsyncSession, arrival: Arrival, code: str) -> None:
    """End a code that others could read."""
    entry = await valid_code(session, code, arrival.now) if code else None
    if entry is not None:
        entry.state = "void"


async def enter_code(
    session: AsyncSession,
    arrival: Arrival,
    code: str,
    person: models.Identity,
    *,
    is_admitted: bool,
) -> models.Identity:
    """Try a code that was sent in a private chat by a person who is not blocked; returns who they
    are then. `arrival.link_answer` is what they are told.

    is_admitted: whether they may talk here anyway. Else only the approval of an operator lets them
    in with the person who got the code.
    """
    now, conversation = arrival.now, arrival.conversation
    if arrival.event.forwarded_from:
        arrival.link_answer = FORWARDED
        return person
    if not await may_try(session, conversation, person.id, now):
        arrival.link_answer = TOO_MANY_WRONG
        return person
    await session.flush()  # locking reads the rows again
    entry = await valid_code(session, code, now)
    giver = None
    if entry is not None and entry.identity_id == person.id:
        arrival.link_answer = OWN
        return person
    if entry is not None:
        giver, _ = await lock_people(session, entry.identity_id, person.id)
    if entry is None or giver is None or giver.access != "allowed":
        await count_wrong(session, conversation, person.id, now)
        arrival.link_answer = WRONG
        return person
    if not is_admitted and giver.decided_by_policy:
        arrival.link_answer = NOT_YET
        return person
    await _link(session, arrival, entry, giver, person)
    return giver


async def _link(
    session: AsyncSession,
    arrival: Arrival,
    entry: models.LinkCode,
    giver: models.Identity,
    person: models.Identity,
) -> None:
    """Join the person to the one who got the code; both chats and the audit trail are told."""
    now, conversation, sender = arrival.now, arrival.conversation, arrival.event.sender
    before, former_id = person.access, person.id
    entry.state = "used"
    name = giver.display_name
    joined = await join(session, giver, person, ACTOR, now)
    arrival.row.identity_id = conversation.identity_id = giver.id
    arrival.released = joined.conversations
    arrival.link_answer = linked_told(name)
    told_in = await lock_conversation(session, entry.conversation_id)
    await enqueue(
        session,
        told_in,
        kind="notice",
        body=_used_told(arrival),
        dedupe_key=f"linked:{arrival.row.id}",
        now=now,
    )
    detail = {
        "other": former_id,
        "address": f"{arrival.event.address.channel}:{sender.address}",
        "access_before": before,
        "access": giver.access,
        "code_shown_in": told_in.key,
    }
    await audit(session, now, ACTOR, "person.link", giver.id, detail)
