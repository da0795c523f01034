"""Search in what was said: transcripts, and messages that no turn took."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from roost_platform.db import models
from roost_platform.views.pagination import like
from roost_platform.views.sessions import display_title

FOUND_MAX: Final = 30  # of one page
TEXT_CHARS_MIN, TEXT_CHARS_MAX = 2, 200
WORDS_MAX: Final = 5
EXCERPT_BEFORE, EXCERPT_AFTER = 60, 160  # characters around what was found


@dataclass(frozen=True, slots=True)
class Found:
    """One message that fits. The excerpt is cut in three, with what was found in the middle.

    href: the session's page with this message at the end of it.
    role: user | assistant | operator | tool | system. waits: for a message that no turn took, its
        state: pending, held, dropped or ignored.
    """

    id: str
    conversation_id: str
    key: str
    channel: str
    title: str
    href: str
    session_number: int | None
    role: str
    author: str
    at: float
    before: str
    match: str
    after: str
    waits: str = ""


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The newest messages that fit. older: the id to go on before; empty at the end."""

    found: tuple[Found, ...] = ()
    older: str = ""


async def search(session: AsyncSession, text: str, before: str = "") -> SearchResult:
    """Messages with every word of the text, the newest first; letters may be large or small.

    before: only messages older than the one with this id. Nothing is found for less than
    TEXT_CHARS_MIN characters.
    """
    words = text[:TEXT_CHARS_MAX].split()[:WORDS_MAX]
    if len("".join(words)) < TEXT_CHARS_MIN:
        return SearchResult()
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    said = await _said(session, words, before, is_sqlite=is_sqlite)
    waiting = await _not_taken(session, words, before, is_sqlite=is_sqlite)
    rows = sorted([*said, *waiting], key=lambda one: one.id, reverse=True)
    page = tuple(rows[:FOUND_MAX])
    return SearchResult(page, older=page[-1].id if len(rows) > FOUND_MAX else "")


async def _said(
    session: AsyncSession, words: Sequence[str], before: str, *, is_sqlite: bool
) -> list[Found]:
    """Of the transcripts. The rows are chosen first, so that only these are joined."""
    row = models.Transcript
    chosen = _newest(
        select(row.id).where(_has(row.content, words, is_sqlite=is_sqlite)), row.id, before
    ).subquery()
    found = await session.execute(
        select(row, models.Session.number, models.Conversation, models.Identity.display_name)
        .join(chosen, chosen.c.id == row.id)
        .join(models.Session, models.Session.id == row.session_id)
        .join(models.Conversation, models.Conversation.id == models.Session.conversation_id)
        .outerjoin(models.Identity, models.Identity.id == models.Conversation.identity_id)
    )
    return [
        Found(
            id=entry.id,
            href=f"/sessions/{conversation.id}?number={number}&before={entry.position + 1}",
            session_number=number,
            role=entry.role,
            author=entry.name,
            at=entry.created_at,
            **_common(conversation, person, entry.content, words),
        )
        for entry, number, conversation, person in found
    ]


async def _not_taken(
    session: AsyncSession, words: Sequence[str], before: str, *, is_sqlite: bool
) -> list[Found]:
    """Of the inbox: what no turn took, so that no transcript has it."""
    row = models.Inbox
    chosen = _newest(
        select(row.id).where(row.turn_id.is_(None), _has(row.text, words, is_sqlite=is_sqlite)),
        row.id,
        before,
    ).subquery()
    found = await session.execute(
        select(row, models.Conversation, models.Identity.display_name)
        .join(chosen, chosen.c.id == row.id)
        .join(models.Conversation, models.Conversation.id == row.conversation_id)
        .outerjoin(models.Identity, models.Identity.id == models.Conversation.identity_id)
    )
    return [
        Found(
            id=entry.id,
            href=f"/sessions/{conversation.id}",
            session_number=None,
            role="user",
            author=str(entry.sender.get("display_name", "")),
            at=entry.received_at,
            waits=entry.state,
            **_common(conversation, person, entry.text, words),
        )
        for entry, conversation, person in found
    ]


def _newest(statement: Select[Any], id: InstrumentedAttribute[str], before: str) -> Select[Any]:
    """One row more than a page, newest first; ids grow with time."""
    if before:
        statement = statement.where(id < before)
    return statement.order_by(id.desc()).limit(FOUND_MAX + 1)


def _has(
    column: InstrumentedAttribute[str], words: Sequence[str], *, is_sqlite: bool
) -> ColumnElement[bool]:
    """Whether the text has every word. SQLite folds only ASCII letters: others are spelled out."""
    if not is_sqlite:
        return and_(*(column.ilike(like(word), escape="\\") for word in words))
    return and_(
        *(or_(*(column.like(like(form), escape="\\") for form in _forms(word))) for word in words)
    )


def _forms(word: str) -> list[str]:
    """The word as it was written, small, large and with a large first letter."""
    if word.isascii():
        return [word]
    return sorted({word, word.lower(), word.upper(), word.capitalize()})


def _common(
    conversation: models.Conversation, person: str | None, text: str, words: Sequence[str]
) -> dict[str, Any]:
    before, match, after = excerpt_of(text, words)
    return {
        "conversation_id": conversation.id,
        "key": conversation.key,
        "channel": conversation.channel,
        "title": display_title(conversation, person),
        "before": before,
        "match": match,
        "after": after,
    }


def excerpt_of(text: str, words: Sequence[str]) -> tuple[str, str, str]:
    """What stands around the first of the words that is in the text: before, it, after."""
    lowered = text.lower()
    folds = len(lowered) == len(text)  # else places in one are not places in the other
    for word in words:
        at = lowered.find(word.lower()) if folds else text.find(word)
        if at >= 0:
            break
    else:
        at, word = 0, ""
    end = at + len(word)
    start, stop = max(0, at - EXCERPT_BEFORE), end + EXCERPT_AFTER
    before = f"{'…' if start else ''}{text[start:at]}"
    after = f"{text[end:stop]}{'…' if stop < len(text) else ''}"
    return _line(before), _line(text[at:end]), _line(after)


def _line(text: str) -> str:
    """The text with each line break as a space."""
    return " ".join(text.splitlines())
