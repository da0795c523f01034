"""Progress of turns and their status messages in memory: half of the outbox in memory."""

from collections.abc import Sequence
from dataclasses import replace

from roost_channels.outbox import ProgressSnapshot, StatusMessage, is_under_way
from roost_channels.testing.memory.queue import MemoryQueue

OVER = ("done", "stopped", "failed")


class MemoryProgress(MemoryQueue):
    """Implements ProgressStore."""

    async def progress(self, channels: Sequence[tuple[str, str]]) -> Sequence[ProgressSnapshot]:
        """Snapshots of turns that run, or whose status message is open."""
        self._raise_fault("progress")
        return [
            snapshot
            for snapshot in self.snapshots.values()
            if (snapshot.address.channel, snapshot.address.account) in channels
            and (snapshot.phase not in OVER or self._has_open_status(snapshot.turn_id))
        ]

    async def status_message(self, turn_id: str) -> StatusMessage | None:
        """The status message of a turn, None before it is planned."""
        return self.statuses.get(turn_id)

    async def plan_status_message(self, status: StatusMessage) -> bool:
        """Store a status message before a request with it leaves; False if it must not."""
        known = self.statuses.get(status.turn_id)
        is_late = known is not None and (
            status.message_id is None or is_under_way(known.left_at, self._passed)
        )
        if is_late or await self.fenced(status.turn_id):
            return False
        await self.put_status_message(status)
        return True

    async def put_status_message(self, status: StatusMessage) -> None:
        """Store a turn's status message as it stands now."""
        self._raise_fault("put_status_message")
        self.statuses[status.turn_id] = status

    async def overtaken(self, turn_id: str) -> bool:
        """Whether something of ours arrived in the turn's chat since the turn began."""
        turn = self.snapshots.get(turn_id)
        return turn is not None and any(
            self.sent_at.get(part.id, -1.0) >= turn.started_at
            for entry_id, parts in self.parts.items()
            if self.entries[entry_id].address == turn.address
            for part in parts
        )

    async def fenced(self, turn_id: str) -> bool:
        """Whether no progress of this turn may leave any more."""
        self._raise_fault("fenced")
        return (
            turn_id not in self.snapshots
            or turn_id in self.stopped
            or any(entry.turn_id == turn_id for entry in self.entries.values())
        )

    async def orphans(self, channels: Sequence[tuple[str, str]]) -> Sequence[StatusMessage]:
        """Status messages that are not closed although their final is delivered."""
        self._raise_fault("orphans")
        return [
            self._orphan(status)
            for status in self.statuses.values()
            if status.state != "closed"
            and (status.address.channel, status.address.account) in channels
            and self._is_delivered(status.turn_id)
        ]

    def _has_open_status(self, turn_id: str) -> bool:
        status = self.statuses.get(turn_id)
        return status is not None and status.state == "open"

    def _is_delivered(self, turn_id: str) -> bool:
        entries = [entry for entry in self.entries.values() if entry.turn_id == turn_id]
        return bool(entries) and not any(self.is_open(entry) for entry in entries)

    def _orphan(self, status: StatusMessage) -> StatusMessage:
        """The status with its turn's outcome and, without an id, with the place to look for it."""
        status = replace(status, outcome="done")
        snapshot = self.snapshots.get(status.turn_id)
        if status.message_id is not None or snapshot is None or snapshot.reply_to is None:
            return status
        since = snapshot.started_at
        sent = {
            part.message_id: entry.turn_id
            for entry in self.entries.values()
            if entry.address == status.address
            for part in self.parts[entry.id]
            if part.message_id and self.sent_at.get(part.id, -1.0) >= since
        }
        final = next((one for one, turn_id in sent.items() if turn_id == status.turn_id), "")
        after = snapshot.reply_to.message_id
        return replace(status, after=after, before=final, known=tuple(sent))
