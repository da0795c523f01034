"""Inserting a row unless another transaction has inserted it already."""

from functools import cache
from typing import Any, cast

from sqlalchemy import Executable, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db import models


async def insert_missing(session: AsyncSession, model: type[models.Base], **values: Any) -> bool:
    """Insert a row unless its key is taken; whether it was inserted. Concurrent inserts wait for
    each other.
    """
    statement = _insert_missing(model, session.get_bind().dialect.name)
    return (await session.execute(statement, values)).first() is not None


@cache  # as many as there are tables
def _insert_missing(model: type[models.Base], dialect: str) -> Executable:
    insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
    table = cast(Table, model.__table__)
    return insert(table).on_conflict_do_nothing().returning(*table.primary_key)
