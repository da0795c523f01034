"""Earlier sends and their receipts, over the outbox and the intake in memory."""

from collections.abc import Sequence

from roost_channels.delivery.receipts import newer_receipt
from roost_channels.message import Address
from roost_channels.outbox import EarlierSend, StatusMessage, StoredPart
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.testing.memory.outbox import MemoryOutbox

NOT_UNDER_WAY = ("not_sent", "failed", "expired")


class MemoryReceipts:
    """Implements Receipts; `asked` counts the questions."""

    def __init__(self, outbox: MemoryOutbox, intake: MemoryIntake) -> None:
        self._outbox = outbox
        self._intake = intake
        self.asked = 0

    async def earlier(
        self, address: Address, *, before: str, limit: int = 1
    ) -> Sequence[EarlierSend]:
        """What went to this chat before a part, newest first."""
        self.asked += 1
        outbox = self._outbox
        sends = [
            EarlierSend(
                part.id, part.message_id or "", outbox.sent_at[part.id], self._status_of(part)
            )
            for entry_id, parts in outbox.parts.items()
            if outbox.entries[entry_id].address == address
            for part in parts
            if part.id in outbox.sent_at and part.id != before
        ]
        sends += [
            EarlierSend("", status.message_id, status.edited_at)
            for status in self._statuses(address)
            if status.message_id
        ]
        return sorted(sends, key=lambda one: one.taken_at, reverse=True)[:limit]

    def _status_of(self, part: StoredPart) -> str:
        """What the provider reported of a part so far."""
        status = ""
        for receipt in self._intake.receipts:
            if receipt.part_id == part.id or (
                receipt.message_id and receipt.message_id == part.message_id
            ):
                status = newer_receipt(status, receipt.status)
        return "failed" if part.state in NOT_UNDER_WAY else status

    def _statuses(self, address: Address) -> Sequence[StatusMessage]:
        """The status message of the chat's newest turn."""
        turns = [one for one in self._outbox.snapshots.values() if one.address == address]
        if not turns:
            return [one for one in self._outbox.statuses.values() if one.address == address]
        newest = max(turns, key=lambda one: one.generation)
        status = self._outbox.statuses.get(newest.turn_id)
        return [] if status is None else [status]
