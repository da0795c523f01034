"""What went before and what was told of it, over the outbox and the intake in memory."""

from collections.abc import Sequence

from roost_channels.message import Address
from roost_channels.outbox import EarlierSend
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.testing.memory.outbox import MemoryOutbox


class MemoryReceipts:
    """Implements Receipts; `asked` counts the questions."""

    def __init__(self, outbox: MemoryOutbox, intake: MemoryIntake) -> None:
        self._outbox = outbox
        self._intake = intake
        self.asked = 0

    async def earlier(
        self, address: Address, *, than: str, limit: int = 1
    ) -> Sequence[EarlierSend]:
        self.asked += 1
        told = {seen.part_id: seen.status for seen in self._intake.receipts}
        taken_at = {one.part_id: one.at for one in self._outbox.history if one.what == "sent"}
        parts = [
            EarlierSend(part.id, part.message_id or "", taken_at[part.id], told.get(part.id, ""))
            for entry_id, parts in self._outbox.parts.items()
            if self._outbox.entries[entry_id].address == address
            for part in parts
            if part.id in taken_at and part.id != than
        ]
        statuses = [
            EarlierSend("", status.message_id, status.edited_at)
            for status in self._outbox.statuses.values()
            if status.address == address and status.message_id
        ]
        found = sorted([*parts, *statuses], key=lambda one: one.taken_at, reverse=True)
        return found[:limit]
