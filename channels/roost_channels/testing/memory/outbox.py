"""An outbox in memory that keeps the rules of the database, for tests of adapters and lanes."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from roost_channels.errors import Failure
from roost_channels.message import Address
from roost_channels.outbox import UNFINISHED, FailureReason, OutboxEntry, PartOver, StoredPart
from roost_channels.rendering.parts import RenderedPart
from roost_channels.testing.memory.progress import MemoryProgress
from roost_channels.testing.memory.queue import Claim, HistoryLine

FINAL = ("sent", "failed")


class PartUnavailable(Exception):
    """A part can't be sent now: it is finished, or another courier is sending it."""


class PartFinished(PartUnavailable, PartOver):
    """A part can't be sent any more."""


class MemoryOutbox(MemoryProgress):
    """Implements Outbox; `fault` fails a method's next call."""

    async def wait(self, timeout_s: float) -> None:
        """Return when something changed, at the latest after `timeout_s`."""
        # The wake-up is noted before anybody waits, so that none is lost.
        changed = self._changed
        waits = [
            asyncio.ensure_future(changed.wait()),
            asyncio.ensure_future(self._clock.sleep(timeout_s)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiting in waits:
                waiting.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    async def due(self, channels: Sequence[tuple[str, str]], now: float) -> Sequence[Address]:
        """The lanes of these accounts whose first entry is due, in the order of their entries."""
        self._raise_fault("due")
        return [at for at, due_at in self._heads(channels).items() if due_at <= now]

    async def next_due(self, channels: Sequence[tuple[str, str]]) -> float:
        """When the first lane of these accounts is due; infinity when none waits."""
        return min(self._heads(channels).values(), default=float("inf"))

    def _heads(self, channels: Sequence[tuple[str, str]]) -> dict[Address, float]:
        """When the first open entry of each lane is due, in the order of the entries."""
        heads: dict[Address, OutboxEntry] = {}
        for entry in self.entries.values():
            if (entry.address.channel, entry.address.account) in channels and self.is_open(entry):
                heads.setdefault(entry.address, entry)
        return {at: self.due_at[entry.id] for at, entry in heads.items()}

    async def next_entry(self, address: Address) -> tuple[OutboxEntry, Sequence[StoredPart]] | None:
        """The first entry of a lane and its parts; sends whose lease ended become ambiguous."""
        self._raise_fault("next_entry")
        now = self._clock.time()
        for entry in self.entries.values():
            if entry.address == address and self.is_open(entry):
                for part in self.parts[entry.id]:
                    if part.state == "sending" and self.claims[part.id].lease_until <= now:
                        self._put(part, "ambiguous", "its courier's lease ended", state="ambiguous")
                return self._as_seen(entry), tuple(self.parts[entry.id])
        return None

    def _as_seen(self, entry: OutboxEntry) -> OutboxEntry:
        """The entry with the provider's id of the message that it replaces, and its status."""
        status = self.statuses.get(entry.turn_id or "")
        entry = replace(entry, status_left_at=status.left_at if status else 0.0)
        target = self.parts.get(entry.edits_id, [])
        return replace(entry, edits=target[-1].message_id or "") if target else entry

    async def skip(self, entry_id: str) -> None:
        """End an entry that needs no sending."""
        self.over.add(entry_id)
        self._notify()

    async def plan(self, entry_id: str, parts: Sequence[RenderedPart]) -> Sequence[StoredPart]:
        """Store an entry's parts, once; returns the parts that are stored."""
        self._raise_fault("plan")
        if not self.parts[entry_id]:
            self.parts[entry_id] = [
                StoredPart(
                    id=f"{entry_id}-part-{index}",
                    outbox_id=entry_id,
                    index=index,
                    count=len(parts),
                    rendered=rendered,
                    state="planned",
                    attempts=0,
                    next_at=self.due_at[entry_id],
                    message_id=None,
                    started_at=None,
                )
                for index, rendered in enumerate(parts)
            ]
        return tuple(self.parts[entry_id])

    async def sending(self, part_id: str, owner: str, lease_s: float, *, after: int = -1) -> int:
        """Claim a part and count one more try; returns the try's number."""
        self._raise_fault("sending")
        part, now = self.part(part_id), self._clock.time()
        if part.state not in UNFINISHED or part.outbox_id in self.over:
            raise PartFinished(f"part {part_id} is {part.state}")
        if after >= 0 and part.attempts != after:
            raise PartFinished(f"part {part_id} has had another attempt")
        claim = self.claims.get(part_id)
        if part.state == "sending" and claim and claim.owner != owner and claim.lease_until > now:
            raise PartUnavailable(f"{claim.owner} is sending part {part_id}")
        self.claims[part_id] = Claim(owner, now + lease_s)
        self.held.discard(part_id)
        attempts = part.attempts + 1
        self._put(part, "sending", state="sending", attempts=attempts, started_at=now)
        return attempts

    async def sent(self, part_id: str, message_id: str) -> bool:
        """Record the proof that the provider took a part; False where an earlier one stands."""
        self._raise_fault("sent")
        part = self.part(part_id)
        if part.state == "sent":
            return part.message_id == message_id
        self.sent_at[part_id] = self._clock.time()
        self._put(part, "sent", state="sent", message_id=message_id)
        self._conclude(part.outbox_id)
        return True

    async def not_sent(
        self,
        part_id: str,
        failure: Failure,
        *,
        retry_at: float,
        held: bool = False,
        invitation: str = "",
        attempt: int = 0,
    ) -> None:
        """Record that a part was provably not sent, and when it is due again."""
        self._raise_fault("not_sent")
        part, now = self.part(part_id), self._clock.time()
        if part.state in FINAL or attempt not in (0, part.attempts):
            return
        address = self.entries[part.outbox_id].address
        if held:
            # Who wrote after the request left has opened the window already.
            held = self.wrote_at.get(address, 0.0) <= (part.started_at or now)
            retry_at = retry_at if held else now
            (self.held.add if held else self.held.discard)(part_id)
        self.due_at[part.outbox_id] = retry_at
        self._put(part, "not_sent", failure.error, state="not_sent", next_at=retry_at)
        if held and invitation and address not in self.invited:
            self.invited.add(address)
            self._put_first(self.add(address, invitation, kind="invitation"))

    async def replan(
        self, part_id: str, rendered: RenderedPart, *, drop_reply: bool = False, attempt: int = 0
    ) -> None:
        """Replace the rendering of a part that is to be sent again."""
        self._raise_fault("replan")
        part, now = self.part(part_id), self._clock.time()
        if part.state in FINAL or attempt not in (0, part.attempts):
            return
        is_repeat = part.state == "ambiguous"
        mark: dict[str, Any] = {"duplicate_label": True} if is_repeat else {"plain": True}
        self.due_at[part.outbox_id] = now
        self._put(part, "replan", rendered=rendered, state="not_sent", next_at=now, **mark)
        if drop_reply:
            entry = self.entries[part.outbox_id]
            self.entries[entry.id] = replace(entry, reply_to=None)

    async def ambiguous(self, part_id: str, failure: Failure, *, attempt: int = 0) -> None:
        """Record that nobody knows whether a part was sent."""
        self._raise_fault("ambiguous")
        part, now = self.part(part_id), self._clock.time()
        if part.state in FINAL or attempt not in (0, part.attempts):
            return
        self.due_at[part.outbox_id] = now
        self._put(part, "ambiguous", failure.error, state="ambiguous", next_at=now)

    async def failed(
        self, part_id: str, failure: Failure, *, reason: FailureReason = "refused", attempt: int = 0
    ) -> None:
        """Record a dead letter: the part fails, and its entry with it."""
        self._raise_fault("failed")
        part = self.part(part_id)
        if part.state == "sent" or attempt not in (0, part.attempts):
            return
        self._put(part, "failed", failure.error, state="failed")
        self._conclude(part.outbox_id)

    async def evidence(
        self, part_id: str, note: str, *, asked: str = "", answered: str = "", attempt: int = 0
    ) -> None:
        """Write down what was concluded about a part, for operators."""
        if attempt not in (0, self.part(part_id).attempts):
            return
        detail = f"{asked} | {answered} | {note}" if asked else note
        self.history.append(HistoryLine(part_id, "evidence", self._clock.time(), detail))

    async def recover(self, owner: str) -> int:
        """Parts that another owner left `sending` become ambiguous; returns how many."""
        self._raise_fault("recover")
        left = [
            part
            for parts in self.parts.values()
            for part in parts
            if part.state == "sending" and self.claims[part.id].owner != owner
        ]
        for part in left:
            self.due_at[part.outbox_id] = self._clock.time()
            self._put(part, "ambiguous", "courier restarted", state="ambiguous")
        return len(left)

    async def moved(self, address: Address, new_chat: str) -> None:
        """The chat has a new id: its conversation and its unsent messages follow."""
        for entry in list(self.entries.values()):
            if entry.address == address and self.is_open(entry):
                to = replace(address, chat=new_chat)
                self.entries[entry.id] = replace(entry, address=to)
        self._notify()

    async def keep_wait(self, address: Address, until: float) -> None:
        """Store a wait that a provider asked for; a longer one that is stored stays."""
        self._raise_fault("keep_wait")
        chat = replace(address, thread="")
        self.kept_waits[chat] = max(until, self.kept_waits.get(chat, 0.0))

    async def waits(
        self, channels: Sequence[tuple[str, str]], now: float
    ) -> Sequence[tuple[Address, float]]:
        """The chats of these accounts that must be left alone at `now`, and until when."""
        return [
            (address, until)
            for address, until in self.kept_waits.items()
            if (address.channel, address.account) in channels and until > now
        ]
