"""Waits that providers asked for, by chat; a restarted courier keeps to them too."""

from collections.abc import Sequence

from sqlalchemy import delete, select, tuple_

from roost_channels.message import Address
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing

WAITS_MAX = 10_000  # chats handed out at a courier's start


class WaitStore:
    """The part of the Outbox port that remembers waits."""

    _database: Database

    async def keep_wait(self, address: Address, until: float) -> None:
        """Store a wait that a provider asked for; a longer one that is stored stays."""
        key = (address.channel, address.account, address.chat)
        async with self._database.write() as session:
            await session.execute(
                delete(models.ChatWait).where(models.ChatWait.until <= self._database.now())
            )
            await insert_missing(
                session, models.ChatWait, channel=key[0], account=key[1], chat=key[2], until=until
            )
            row = await session.get_one(models.ChatWait, key, with_for_update=True)
            row.until = max(row.until, until)

    async def waits(
        self, channels: Sequence[tuple[str, str]], now: float
    ) -> Sequence[tuple[Address, float]]:
        """The chats of these accounts that must be left alone at `now`, and until when."""
        if not channels:
            return []
        query = (
            select(models.ChatWait)
            .where(
                models.ChatWait.until > now,
                tuple_(models.ChatWait.channel, models.ChatWait.account).in_(list(channels)),
            )
            .limit(WAITS_MAX)
        )
        async with self._database.read() as session:
            return [
                (Address(row.channel, row.account, row.chat), row.until)
                for row in await session.scalars(query)
            ]
