"""Codes that link chats: a person gets one in a private chat and enters it in another."""

import secrets

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.people.access import CODE_ALPHABET, CODE_LENGTH

LINK_CODE_S = 600.0  # how long a code is valid
DAY_S = 86_400.0
LINK_CODES_MAX = 10  # codes of one person in a day; a valid one is told again and counts once
WRONG_S = 3600.0  # how long a wrong code counts
WRONG_BY_PERSON_MAX = 5
WRONG_BY_ACCOUNT_MAX = 100


async def link_code(
    session: AsyncSession, person: models.Identity, conversation: models.Conversation, now: float
) -> str | None:
    """The person's valid code, a new one where they have none; None after too many in a day."""
    # Two chats of one person may ask at once.
    await session.get(models.Identity, person.id, with_for_update=True)
    codes = models.LinkCode
    await session.execute(
        delete(codes).where(codes.identity_id == person.id, codes.created_at <= now - DAY_S)
    )
    of_person = (await session.scalars(select(codes).where(codes.identity_id == person.id))).all()
    for one in of_person:
        if one.state == "open" and one.expires_at > now:
            one.conversation_id = conversation.id  # where the person is told of the link
            return one.code
    if len(of_person) >= LINK_CODES_MAX:
        return None
    made = models.LinkCode(
        code="".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH)),
        identity_id=person.id,
        conversation_id=conversation.id,
        state="open",
        created_at=now,
        expires_at=now + LINK_CODE_S,
    )
    session.add(made)
    await session.flush()
    return made.code


async def valid_code(session: AsyncSession, code: str, now: float) -> models.LinkCode | None:
    """The code's row, locked, if it is open and its time is not over."""
    return await session.scalar(
        select(models.LinkCode)
        .where(
            models.LinkCode.code == code.replace("-", "").upper(),
            models.LinkCode.state == "open",
            models.LinkCode.expires_at > now,
        )
        .with_for_update()
    )


async def void_codes(session: AsyncSession, person_id: str) -> None:
    """End the person's open codes."""
    await session.execute(
        update(models.LinkCode)
        .where(models.LinkCode.identity_id == person_id, models.LinkCode.state == "open")
        .values(state="void")
    )


async def may_try(
    session: AsyncSession, conversation: models.Conversation, person_id: str, now: float
) -> bool:
    """Whether the person may enter a code: not after too many wrong ones of theirs or of all people
    of the account.
    """
    person, account = _subjects(conversation, person_id)
    counted = await session.execute(
        select(models.LinkFailure.subject, func.count())
        .where(
            models.LinkFailure.subject.in_((person, account)), models.LinkFailure.at > now - WRONG_S
        )
        .group_by(models.LinkFailure.subject)
    )
    wrong = {subject: count for subject, count in counted}
    is_slow = wrong.get(person, 0) < WRONG_BY_PERSON_MAX
    return is_slow and wrong.get(account, 0) < WRONG_BY_ACCOUNT_MAX


async def count_wrong(
    session: AsyncSession, conversation: models.Conversation, person_id: str, now: float
) -> None:
    """Count a wrong code; those that count no more are forgotten."""
    await session.execute(delete(models.LinkFailure).where(models.LinkFailure.at <= now - WRONG_S))
    for subject in _subjects(conversation, person_id):
        session.add(models.LinkFailure(subject=subject, at=now))
    await session.flush()


def _subjects(conversation: models.Conversation, person_id: str) -> tuple[str, str]:
    account = f"account:{conversation.channel}:{conversation.account}"
    return failures_of(person_id), account


def failures_of(person_id: str) -> str:
    """The subject under which a person's wrong codes are counted."""
    return f"person:{person_id}"
