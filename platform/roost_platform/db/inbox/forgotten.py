"""Events of deleted people, kept as hashes for a while, so that no catch-up accepts them again."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models
from roost_platform.db.base.insert import insert_missing

KEPT_S: Final = 45 * 86400.0  # longer than any channel looks back


def digest(channel: str, account: str, event_id: str) -> str:
    """The hash under which an event is remembered."""
    return hashlib.sha256(f"{channel}\0{account}\0{event_id}".encode()).hexdigest()


async def remember(session: AsyncSession, rows: Iterable[tuple[str, str, str]], now: float) -> None:
    """Remember events as (channel, account, event id), and let go of those from long ago."""
    await session.execute(
        delete(models.ForgottenEvent).where(models.ForgottenEvent.forgotten_at < now - KEPT_S)
    )
    for channel, account, event_id in rows:
        values = {"digest": digest(channel, account, event_id), "forgotten_at": now}
        await insert_missing(session, models.ForgottenEvent, **values)


async def among(
    session: AsyncSession, channel: str, account: str, event_ids: Sequence[str]
) -> frozenset[str]:
    """Which of these events were forgotten."""
    by_digest = {digest(channel, account, one): one for one in event_ids}
    known = await session.scalars(
        select(models.ForgottenEvent.digest).where(models.ForgottenEvent.digest.in_(by_digest))
    )
    return frozenset(by_digest[one] for one in known)
