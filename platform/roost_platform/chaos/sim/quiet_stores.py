"""Stores that answer the loops' polling from memory while nothing was committed."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from roost_channels.message import Address
from roost_channels.outbox import ProgressSnapshot, StatusMessage
from roost_platform.chaos.sim.storage import Commits, MortalDatabase
from roost_platform.db import models
from roost_platform.db.inbox.inbox import InboxStore
from roost_platform.db.outbox.outbox import OutboxStore

_TIMES = (
    select(models.Outbox.next_at)
    .where(models.Outbox.state == "pending")
    .order_by(models.Outbox.next_at)
)


class QuietOutbox(OutboxStore):
    """Answers polling from memory while nothing was committed; the answers are the same."""

    def __init__(self, database: MortalDatabase, commits: Commits) -> None:
        super().__init__(database)
        self._commits = commits
        self._progress: tuple[int, Sequence[ProgressSnapshot]] | None = None
        self._orphans: tuple[int, Sequence[StatusMessage]] | None = None
        self._lanes_in = database
        self._due: tuple[int, float, Sequence[Address]] = (-1, 0.0, ())
        self._due_written: tuple[int, ...] = ()

    async def progress(self, channels: Sequence[tuple[str, str]]) -> Sequence[ProgressSnapshot]:
        """See OutboxStore.progress, read again only after a commit."""
        count = self._commits.count
        if self._progress is None or self._progress[0] != count:
            self._progress = count, await super().progress(channels)
        return self._progress[1]

    async def orphans(self, channels: Sequence[tuple[str, str]]) -> Sequence[StatusMessage]:
        """See OutboxStore.orphans, read again only after a commit."""
        count = self._commits.count
        if self._orphans is None or self._orphans[0] != count:
            self._orphans = count, await super().orphans(channels)
        return self._orphans[1]

    async def due(self, channels: Sequence[tuple[str, str]], now: float) -> Sequence[Address]:
        """See OutboxStore.due, read again after a commit to its tables or when something falls due.

        Any commit costs the process its two awaits, as it would outside.
        """
        count, until, addresses = self._due
        if count == self._commits.count and now < until:
            return addresses
        count = self._commits.count
        async with self._database.read() as session:
            written = self._lanes_in.written("outbox", "conversations")
            if written != self._due_written or now >= until:
                addresses = await self._due_lanes(session, channels, now)
        async with self._database.read() as session:
            times = await session.scalars(_TIMES, {})
            until = next((at for at in times if at > now), float("inf"))
        self._due, self._due_written = (count, until, addresses), written
        return addresses


class QuietInbox(InboxStore):
    """Answers the sweeper from memory while nothing waits and nothing runs."""

    def __init__(self, *arguments: Any, commits: Commits, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._commits = commits
        self._idle_at = -1

    async def has_open_work(self) -> bool:
        """See InboxStore.has_open_work, read again only after a commit while there is none."""
        count = self._commits.count
        if self._idle_at == count:
            return False
        is_open = await super().has_open_work()
        if not is_open:
            self._idle_at = count
        return is_open
