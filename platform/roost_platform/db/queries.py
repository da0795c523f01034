"""Queries that the intake and others share."""

from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.base.engine import Database


class Queries:
    """Reads; returns values, never rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def conversation_id(self, key: str) -> str | None:
        """The id of the conversation with this session key, such as `telegram:42:1001`."""
        async with self._database.read() as session:
            query = select(models.Conversation.id).where(models.Conversation.key == key)
            return await session.scalar(query)
