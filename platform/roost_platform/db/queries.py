"""Look-ups that the intake, the API and the command line share."""

from sqlalchemy import select

from roost_platform.db import models
from roost_platform.db.base.engine import Database


class Queries:
    """Reads only; returns frozen values, never rows."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def conversation_id(self, key: str) -> str | None:
        """The conversation of a session key, such as `telegram:42:1001`."""
        async with self._database.read() as session:
            query = select(models.Conversation.id).where(models.Conversation.key == key)
            return await session.scalar(query)
