"""Tenants: whose conversations share cached prefixes, and the salts that keep the others apart."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from secrets import token_hex

from sqlalchemy.ext.asyncio import AsyncSession

from roost_inference.client.sessions import EngineSession
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.base.insert import insert_missing
from roost_platform.settings.sections import TenantScope

SALT_BYTES = 16


@dataclass(slots=True)
class SessionChanges:
    """Which sessions go on and which have ended by a committed batch, for hints to the engine."""

    continuing: list[EngineSession] = field(default_factory=list)
    ended: list[EngineSession] = field(default_factory=list)


class Tenants:
    """Mints one random salt for each tenant: nobody outside can name another tenant's cache."""

    def __init__(self, database: Database, scope: TenantScope = "chat") -> None:
        self._database = database
        self._scope = scope

    async def salt(self, session: AsyncSession, channel: str, account: str, chat: str) -> str:
        """The salt of the tenant that a chat's conversations belong to, minted when new.

        Needs a writing session.
        """
        name = self._name(channel, account, chat)
        row = await session.get(models.Tenant, name)
        if row is None:
            now = self._database.now()
            minted = {"name": name, "salt": token_hex(SALT_BYTES), "created_at": now}
            await insert_missing(session, models.Tenant, **minted)
            row = await session.get_one(models.Tenant, name)
        return row.salt

    async def known_salt(
        self, session: AsyncSession, channel: str, account: str, chat: str
    ) -> str | None:
        """The same in a session that only reads; None before it is minted."""
        row = await session.get(models.Tenant, self._name(channel, account, chat))
        return None if row is None else row.salt

    def _name(self, channel: str, account: str, chat: str) -> str:
        match self._scope:
            case "chat":
                return f"{channel}:{account}:{chat}"
            case "account":
                return f"{channel}:{account}"
            case "installation":
                return "installation"

    async def salts(self, accounts: Iterable[tuple[str, str]]) -> list[str]:
        """The salts of these accounts, each once; none where each chat has its own.

        accounts: (channel, account).
        """
        if self._scope == "chat":
            return []
        async with self._database.write() as session:
            salts = [await self.salt(session, *account, "") for account in accounts]
        return list(dict.fromkeys(salts))

    async def note_change(
        self,
        session: AsyncSession,
        conversation: models.Conversation,
        before: str | None,
        goes_on: bool,
        changes: SessionChanges,
    ) -> None:
        """Note what an accepted batch means for a conversation's session, which was `before`."""
        current = conversation.session_id
        is_over = before is not None and before != current
        if not is_over and not (goes_on and current is not None):
            return
        salt = await self.salt(
            session, conversation.channel, conversation.account, conversation.chat
        )
        if is_over and before is not None:
            changes.ended.append(EngineSession(before, salt))
        elif current is not None:
            changes.continuing.append(EngineSession(current, salt))
