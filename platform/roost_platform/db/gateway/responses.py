"""The stored responses of the gateway; see ResponseStore."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Text, cast, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from roost_inference.errors import PromptTooLong
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.gateway.families.responses.store import (
    HISTORY_BYTES_MAX,
    HISTORY_RESPONSES_MAX,
    OPEN,
    StoredResponse,
)

DAY_S: Final = 86_400.0
# A response is stored before its call has a row; one that has none after this time is lost.
STARTS_WITHIN_S: Final = 60.0

Row = models.GatewayResponse


@dataclass(slots=True)
class GatewayResponses:
    """Responses over one database. days: how long each is kept after it was last continued."""

    database: Database
    days: float

    async def find(self, key_id: str, ids: Collection[str]) -> Mapping[str, StoredResponse]:
        """Those of these ids that belong to the key; see ResponseStore."""
        alive = select(Row).where(
            Row.id.in_(ids), Row.key_id == key_id, Row.expires_at > self.database.now()
        )
        async with self.database.read() as session:
            return {row.id: _stored(row) for row in await session.scalars(alive)}

    async def history(self, key_id: str, id: str) -> Sequence[StoredResponse]:
        """A response and all before it; see ResponseStore."""
        now = self.database.now()
        size = func.length(cast(Row.input_items, Text)) + func.length(cast(Row.resource, Text))
        chain = (
            select(Row.id, Row.previous_id, size.label("size"))
            .where(Row.id == id, Row.key_id == key_id, Row.expires_at > now)
            .cte("chain", recursive=True)
        )
        # UNION, not UNION ALL: a row that were its own ancestor would come up once.
        chain = chain.union(
            select(Row.id, Row.previous_id, size).where(
                Row.id == chain.c.previous_id, Row.key_id == key_id, Row.expires_at > now
            )
        )
        async with self.database.read() as session:
            links = (
                await session.execute(
                    select(chain.c.id, chain.c.previous_id, chain.c.size).limit(
                        HISTORY_RESPONSES_MAX + 1
                    )
                )
            ).all()
            if len(links) > HISTORY_RESPONSES_MAX:
                raise PromptTooLong(
                    f"The conversation has more than {HISTORY_RESPONSES_MAX} responses",
                    param="previous_response_id",
                )
            if sum(link.size for link in links) > HISTORY_BYTES_MAX:
                raise PromptTooLong(
                    f"The conversation is longer than {HISTORY_BYTES_MAX} bytes",
                    param="previous_response_id",
                )
            ids = [link.id for link in links]
            rows = {
                row.id: row for row in await session.scalars(select(Row).where(Row.id.in_(ids)))
            }
        await self._keep_longer(
            [row.id for row in rows.values() if row.expires_at < self._expiry(now) - DAY_S]
        )
        before = {link.id: link.previous_id for link in links}
        found: list[StoredResponse] = []
        at: str | None = id
        while at is not None and at in rows and len(found) < len(rows):
            found.append(_stored(rows[at]))
            at = before[at]
        return found[::-1]

    async def add(self, response: StoredResponse) -> None:
        """Store a new response; see ResponseStore."""
        now = self.database.now()
        async with self.database.write(is_news=False) as session:
            previous = response.previous_id
            if previous is not None and not await _is_there(session, previous):
                previous = None  # it was deleted while this one was written
            session.add(
                Row(
                    id=response.id,
                    key_id=response.key_id,
                    previous_id=previous,
                    resource=dict(response.resource),
                    input_items=list(response.input_items),
                    created_at=now,
                    expires_at=self._expiry(now),
                )
            )

    async def change(self, id: str, resource: Mapping[str, Any]) -> bool:
        """Store the new state of an open response; see ResponseStore."""
        async with self.database.write(is_news=False) as session:
            row = await session.get(Row, id, with_for_update=True)
            if row is None or row.resource.get("status") not in OPEN:
                return False
            row.resource = dict(resource)
            return True

    async def delete(self, key_id: str, id: str) -> bool:
        """Delete a response; see ResponseStore."""
        async with self.database.write(is_news=False) as session:
            gone = delete(Row).where(Row.id == id, Row.key_id == key_id).returning(Row.id)
            return await session.scalar(gone) is not None

    async def open_ones(self, ids: Collection[str]) -> Collection[str]:
        """Those of these ids that are open; see ResponseStore."""
        asked = select(Row).where(Row.id.in_(ids))
        async with self.database.read() as session:
            rows = await session.scalars(asked)
            return {row.id for row in rows if row.resource.get("status") in OPEN}

    async def is_lost(self, response: StoredResponse) -> bool:
        """Whether its process has ended; see ResponseStore."""
        call = models.GatewayCall
        call_id = str(UUID(hex=response.id.removeprefix("resp_")))
        async with self.database.read() as session:
            outcome = await session.scalar(select(call.outcome).where(call.id == call_id))
        if outcome is None:
            age_s = self.database.now() - float(response.resource.get("created_at") or 0)
            return age_s > STARTS_WITHIN_S
        return outcome != ""

    def _expiry(self, now: float) -> float:
        return now + self.days * DAY_S

    async def _keep_longer(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        until = self._expiry(self.database.now())
        async with self.database.write(is_news=False) as session:
            await session.execute(update(Row).where(Row.id.in_(ids)).values(expires_at=until))


async def _is_there(session: AsyncSession, id: str) -> bool:
    """Whether a response is there; it stays until the transaction ends."""
    asked = select(Row.id).where(Row.id == id).with_for_update(key_share=True)
    return await session.scalar(asked) is not None


def _stored(row: models.GatewayResponse) -> StoredResponse:
    return StoredResponse(
        id=row.id,
        key_id=row.key_id,
        resource=row.resource,
        input_items=row.input_items,
        previous_id=row.previous_id,
    )
