"""An outbox in memory, by the platform's rules, for tests of adapters and lanes."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from roost_channels.clock import Clock, SystemClock
from roost_channels.message import Address, Button, Media, ReplyTarget
from roost_channels.outbox import (
    UNFINISHED,
    EntryKind,
    FailureReason,
    OutboxEntry,
    PartState,
    ProgressSnapshot,
    StatusMessage,
    StoredPart,
)
from roost_channels.rendering.parts import RenderedPart


@dataclass(slots=True)
class Attempt:
    """One line of a part's history: what was filed, and when."""

    part_id: str
    what: str
    at: float
    detail: str = ""


class MemoryOutbox:
    """Implements Outbox; `history` is all that was filed, `fault` fails a method's next call."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._ids = itertools.count(1)
        self.entries: dict[str, OutboxEntry] = {}
        self.parts: dict[str, list[StoredPart]] = {}
        self.owners: dict[str, str] = {}
        self.snapshots: dict[str, ProgressSnapshot] = {}
        self.statuses: dict[str, StatusMessage] = {}
        self.stopped: set[str] = set()
        self.kept_waits: dict[Address, float] = {}
        self.invited: set[Address] = set()
        self.history: list[Attempt] = []
        self._faults: dict[str, list[Exception]] = {}
        self._changed = asyncio.Event()

    # For tests -------------------------------------------------------------------------------

    def add(
        self,
        address: Address,
        text: str,
        *,
        kind: EntryKind = "answer",
        reply_to: ReplyTarget | None = None,
        buttons: Sequence[Button] = (),
        turn_id: str | None = None,
        generation: int = 0,
        media: Sequence[Media] = (),
    ) -> OutboxEntry:
        """Queue a logical message; a turn's final fences its progress."""
        entry = OutboxEntry(
            id=f"entry-{next(self._ids)}",
            address=address,
            kind=kind,
            text=text,
            reply_to=reply_to,
            buttons=tuple(buttons),
            turn_id=turn_id,
            generation=generation,
            created_at=self._clock.time(),
            media=tuple(media),
        )
        self.entries[entry.id] = entry
        self.parts[entry.id] = []
        if turn_id in self.snapshots:
            self.snapshots[turn_id] = replace(self.snapshots[turn_id], phase="done")
        self._notify()
        return entry

    def running(self, snapshot: ProgressSnapshot) -> None:
        """Store a turn's latest snapshot."""
        self.snapshots[snapshot.turn_id] = snapshot
        self._notify()

    def fault(self, method: str, error: Exception) -> None:
        self._faults.setdefault(method, []).append(error)

    def person_wrote(self, address: Address) -> None:
        """What waited for an open session window may go, as the database does it on intake."""
        self.invited.discard(address)
        for entry in self.entries.values():
            if entry.address == address and self._open(entry):
                for part in self.parts[entry.id]:
                    if part.state == "not_sent":
                        self._put(replace(part, next_at=0.0), "woken")

    def states(self, entry: OutboxEntry) -> list[PartState]:
        return [part.state for part in self.parts[entry.id]]

    def filed(self, part_id: str) -> list[str]:
        return [attempt.what for attempt in self.history if attempt.part_id == part_id]

    # Outbox ----------------------------------------------------------------------------------

    async def wait(self, timeout_s: float) -> None:
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
        self._strike("due")
        heads: dict[Address, OutboxEntry] = {}
        for entry in self.entries.values():
            if (entry.address.channel, entry.address.account) in channels and self._open(entry):
                heads.setdefault(entry.address, entry)
        parts = {address: self._head(entry) for address, entry in heads.items()}
        return [at for at, part in parts.items() if part is None or part.next_at <= now]

    async def next_entry(self, address: Address) -> tuple[OutboxEntry, Sequence[StoredPart]] | None:
        self._strike("next_entry")
        for entry in self.entries.values():
            if entry.address == address and self._open(entry):
                return entry, tuple(self.parts[entry.id])
        return None

    async def plan(self, entry_id: str, parts: Sequence[RenderedPart]) -> Sequence[StoredPart]:
        self._strike("plan")
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
                    next_at=0.0,
                    message_id=None,
                    started_at=None,
                )
                for index, rendered in enumerate(parts)
            ]
        return tuple(self.parts[entry_id])

    async def sending(self, part_id: str, owner: str, lease_s: float) -> int:
        self._strike("sending")
        part = self.part(part_id)
        self.owners[part_id] = owner
        self._put(
            replace(
                part, state="sending", attempts=part.attempts + 1, started_at=self._clock.time()
            ),
            "sending",
        )
        return part.attempts + 1

    async def sent(self, part_id: str, message_id: str) -> None:
        self._strike("sent")
        self._put(replace(self.part(part_id), state="sent", message_id=message_id), "sent")

    async def not_sent(
        self,
        part_id: str,
        *,
        retry_at: float,
        error: str,
        code: str = "",
        http_status: int = 0,
        held: bool = False,
        invitation: str = "",
    ) -> None:
        self._strike("not_sent")
        part = replace(self.part(part_id), state="not_sent", next_at=retry_at)
        self._put(part, "not_sent", error)
        address = self.entries[part.outbox_id].address
        if held and invitation and address not in self.invited:
            self.invited.add(address)
            self._put_first(self.add(address, invitation, kind="invitation"))

    async def replan(
        self, part_id: str, rendered: RenderedPart, *, drop_reply: bool = False
    ) -> None:
        self._strike("replan")
        part = self.part(part_id)
        self._put(replace(part, rendered=rendered), "replan")
        if drop_reply:
            entry = self.entries[part.outbox_id]
            self.entries[entry.id] = replace(entry, reply_to=None)

    async def ambiguous(
        self, part_id: str, *, error: str, code: str = "", http_status: int = 0
    ) -> None:
        self._strike("ambiguous")
        self._put(replace(self.part(part_id), state="ambiguous"), "ambiguous", error)

    async def failed(
        self,
        part_id: str,
        *,
        error: str,
        code: str = "",
        http_status: int = 0,
        reason: FailureReason = "refused",
    ) -> None:
        self._strike("failed")
        part = self.part(part_id)
        for later in self.parts[part.outbox_id][part.index :]:
            self._put(replace(later, state="failed"), "failed", error)

    async def evidence(
        self, part_id: str, note: str, *, asked: str = "", answered: str = ""
    ) -> None:
        detail = f"{asked} | {answered} | {note}" if asked else note
        self.history.append(Attempt(part_id, "evidence", self._clock.time(), detail))

    async def recover(self, owner: str) -> int:
        self._strike("recover")
        found = 0
        for parts in list(self.parts.values()):
            for part in parts:
                if part.state == "sending" and self.owners.get(part.id) != owner:
                    found += 1
                    self._put(replace(part, state="ambiguous"), "ambiguous", "courier restarted")
        return found

    async def moved(self, address: Address, new_chat: str) -> None:
        for entry in list(self.entries.values()):
            if entry.address == address and self._open(entry):
                moved = replace(entry, address=replace(address, chat=new_chat))
                self.entries[entry.id] = moved
        self._notify()

    async def keep_wait(self, address: Address, until: float) -> None:
        self._strike("keep_wait")
        chat = replace(address, thread="")
        self.kept_waits[chat] = max(until, self.kept_waits.get(chat, 0.0))

    async def waits(
        self, channels: Sequence[tuple[str, str]], now: float
    ) -> Sequence[tuple[Address, float]]:
        return [
            (address, until)
            for address, until in self.kept_waits.items()
            if (address.channel, address.account) in channels and until > now
        ]

    async def progress(self, channels: Sequence[tuple[str, str]]) -> Sequence[ProgressSnapshot]:
        self._strike("progress")
        return [
            snapshot
            for snapshot in self.snapshots.values()
            if (snapshot.address.channel, snapshot.address.account) in channels
            and (snapshot.phase not in ("done", "stopped", "failed") or self._shown(snapshot))
        ]

    async def status_message(self, turn_id: str) -> StatusMessage | None:
        return self.statuses.get(turn_id)

    async def put_status_message(self, status: StatusMessage) -> None:
        self._strike("put_status_message")
        self.statuses[status.turn_id] = status

    async def overtaken(self, turn_id: str) -> bool:
        turn = self.snapshots.get(turn_id)
        return turn is not None and any(
            part.state == "sent" and (part.started_at or 0.0) >= turn.started_at
            for entry_id, parts in self.parts.items()
            if self.entries[entry_id].address == turn.address
            for part in parts
        )

    async def fenced(self, turn_id: str) -> bool:
        self._strike("fenced")
        return turn_id in self.stopped or any(
            entry.turn_id == turn_id for entry in self.entries.values()
        )

    async def orphans(self, channels: Sequence[tuple[str, str]]) -> Sequence[StatusMessage]:
        self._strike("orphans")
        return [
            self._orphan(status)
            for status in self.statuses.values()
            if status.state != "closed"
            and (status.address.channel, status.address.account) in channels
            and self._delivered(status.turn_id)
        ]

    # Small parts -----------------------------------------------------------------------------

    def part(self, part_id: str) -> StoredPart:
        for parts in self.parts.values():
            for part in parts:
                if part.id == part_id:
                    return part
        raise KeyError(part_id)

    def _put(self, part: StoredPart, what: str, detail: str = "") -> None:
        self.parts[part.outbox_id][part.index] = part
        self.history.append(Attempt(part.id, what, self._clock.time(), detail))
        self._notify()

    def _put_first(self, entry: OutboxEntry) -> None:
        self.entries = {entry.id: entry, **self.entries}

    def _open(self, entry: OutboxEntry) -> bool:
        parts = self.parts[entry.id]
        return not parts or any(part.state in UNFINISHED for part in parts)

    def _head(self, entry: OutboxEntry) -> StoredPart | None:
        return next((p for p in self.parts[entry.id] if p.state in UNFINISHED), None)

    def _shown(self, snapshot: ProgressSnapshot) -> bool:
        status = self.statuses.get(snapshot.turn_id)
        return status is not None and status.state == "open"

    def _orphan(self, status: StatusMessage) -> StatusMessage:
        """With where a status message without an id would be."""
        snapshot = self.snapshots.get(status.turn_id)
        entries = [entry for entry in self.entries.values() if entry.turn_id == status.turn_id]
        sent = [p.message_id for e in entries for p in self.parts[e.id] if p.message_id]
        reply = snapshot.reply_to if snapshot else None
        return replace(
            status,
            outcome="done",
            after=reply.message_id if reply else "",
            before=sent[0] if sent else "",
            known=tuple(sent),
        )

    def _delivered(self, turn_id: str) -> bool:
        entries = [entry for entry in self.entries.values() if entry.turn_id == turn_id]
        return bool(entries) and not any(self._open(entry) for entry in entries)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _strike(self, method: str) -> None:
        if faults := self._faults.get(method):
            raise faults.pop(0)
