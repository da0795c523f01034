"""The texts that compressed prompts left out; see Originals."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import delete, select

from roost_platform.db import models
from roost_platform.db.base.engine import Database

KEPT_S: Final = 86_400.0  # from the last prompt that left the text out
REFRESH_S: Final = 3600.0  # how often that time is written again
OF_KEY_MAX: Final = 1000  # texts of one key; the oldest ones go first
KNOWN_MAX: Final = 50_000


@dataclass(slots=True)
class StoredOriginals:
    """Texts in one database."""

    database: Database
    _written: dict[tuple[str, str], float] = field(default_factory=dict)

    async def keep(self, key_id: str, texts: Mapping[str, str]) -> None:
        """Keep these texts; see Originals. Texts that have expired are deleted by the way."""
        row, now = models.GatewayOriginal, self.database.now()
        due = [
            reference
            for reference in texts
            if now - self._written.get((key_id, reference), 0.0) > REFRESH_S
        ]
        due = due[-OF_KEY_MAX:]
        if not due:
            return
        async with self.database.write(is_news=False) as session:
            await session.execute(delete(row).where(row.expires_at <= now))
            await session.execute(delete(row).where(row.key_id == key_id, row.reference.in_(due)))
            session.add_all(
                row(
                    key_id=key_id,
                    reference=reference,
                    text=texts[reference].replace("\0", "\ufffd"),
                    created_at=now,
                    expires_at=now + KEPT_S,
                )
                for reference in due
            )
            await session.flush()
            newest = row.created_at.desc()
            surplus = (
                select(row.reference)
                .where(row.key_id == key_id)
                .order_by(newest, row.reference)
                .offset(OF_KEY_MAX)
            )
            gone = list(await session.scalars(surplus))
            if gone:
                await session.execute(
                    delete(row).where(row.key_id == key_id, row.reference.in_(gone))
                )
        if len(self._written) > KNOWN_MAX:
            self._written.clear()
        self._written |= {(key_id, reference): now for reference in due}

    async def find(self, key_id: str, reference: str) -> str | None:
        """The text of this reference; see Originals."""
        row = models.GatewayOriginal
        async with self.database.read() as session:
            text: str | None = await session.scalar(
                select(row.text).where(
                    row.key_id == key_id,
                    row.reference == reference,
                    row.expires_at > self.database.now(),
                )
            )
        return text
