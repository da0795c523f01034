"""Queued messages, turns and status messages in memory, and how tests fill and read them."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from roost_channels.clock import Clock, Passed, SystemClock
from roost_channels.message import Address, Button, Media, ReplyTarget
from roost_channels.outbox import (
    EntryKind,
    OutboxEntry,
    PartState,
    ProgressSnapshot,
    StatusMessage,
    StoredPart,
)


@dataclass(slots=True)
class HistoryLine:
    """One line of a part's history: what was recorded, and when."""

    part_id: str
    what: str
    at: float
    detail: str = ""


@dataclass(slots=True)
class Claim:
    """Who sends a part, and until when the claim holds."""

    owner: str
    lease_until: float


class MemoryQueue:
    """The state of an outbox in memory.

    entries, parts: by entry id; the order of `entries` is the order of the lanes.
    due_at: by entry id, when its lane is due. over: ids of entries that are not pending any more.
    claims: by part id. held: parts that wait for the person. sent_at: by part id, when the provider
        took the part.
    snapshots, statuses: by turn id. stopped: turns that a person stopped.
    history: all that was recorded, oldest first.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._passed = Passed.by(self._clock)
        self._ids = itertools.count(1)
        self.entries: dict[str, OutboxEntry] = {}
        self.parts: dict[str, list[StoredPart]] = {}
        self.due_at: dict[str, float] = {}
        self.over: set[str] = set()
        self.claims: dict[str, Claim] = {}
        self.held: set[str] = set()
        self.sent_at: dict[str, float] = {}
        self.snapshots: dict[str, ProgressSnapshot] = {}
        self.statuses: dict[str, StatusMessage] = {}
        self.stopped: set[str] = set()
        self.kept_waits: dict[Address, float] = {}
        self.invited: set[Address] = set()
        self.wrote_at: dict[Address, float] = {}
        self.history: list[HistoryLine] = []
        self._faults: dict[str, list[Exception]] = {}
        self._changed = asyncio.Event()

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
        edits_id: str = "",
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
            edits_id=edits_id,
        )
        self.entries[entry.id] = entry
        self.parts[entry.id] = []
        self.due_at[entry.id] = entry.created_at
        if turn_id in self.snapshots:
            self.snapshots[turn_id] = replace(self.snapshots[turn_id], phase="done")
        self._notify()
        return entry

    def running(self, snapshot: ProgressSnapshot) -> None:
        """Store a turn's latest snapshot."""
        self.snapshots[snapshot.turn_id] = snapshot
        self._notify()

    def person_wrote(self, address: Address) -> None:
        """What waited for an open session window may go, as the database does it on intake."""
        now = self.wrote_at[address] = self._clock.time()
        self.invited.discard(address)
        for entry in self.entries.values():
            if entry.address != address or not self.is_open(entry):
                continue
            parts = self.parts[entry.id]
            if entry.kind == "invitation" and all(part.state == "planned" for part in parts):
                self.over.add(entry.id)
            for part in parts:
                if part.id in self.held:
                    self.held.discard(part.id)
                    self.due_at[entry.id] = now
                    self._put(part, "woken", next_at=now)

    def lose_proof(self, part_id: str) -> None:
        """Undo a proof, as if the courier had died before it could store the proof."""
        part = self.part(part_id)
        self.sent_at.pop(part_id, None)
        self.over.discard(part.outbox_id)
        self._put(part, "proof lost", state="sending", message_id=None)

    def states(self, entry: OutboxEntry) -> list[PartState]:
        """The states of an entry's parts, in their order."""
        return [part.state for part in self.parts[entry.id]]

    def recorded(self, part_id: str) -> list[str]:
        """What was recorded of a part, oldest first."""
        return [line.what for line in self.history if line.part_id == part_id]

    def part(self, part_id: str) -> StoredPart:
        """The part of that id as it stands now; raises KeyError."""
        for parts in self.parts.values():
            for part in parts:
                if part.id == part_id:
                    return part
        raise KeyError(part_id)

    def is_open(self, entry: OutboxEntry) -> bool:
        """Whether an entry is still pending."""
        return entry.id not in self.over

    def fault(self, method: str, error: Exception) -> None:
        """Let the next call of a method raise this error."""
        self._faults.setdefault(method, []).append(error)

    def _raise_fault(self, method: str) -> None:
        if faults := self._faults.get(method):
            raise faults.pop(0)

    def _put(self, part: StoredPart, what: str, detail: str = "", **changes: Any) -> None:
        self.parts[part.outbox_id][part.index] = replace(part, **changes)
        self.history.append(HistoryLine(part.id, what, self._clock.time(), detail))
        self._notify()

    def _conclude(self, entry_id: str) -> None:
        """Bring the entry in line with its parts: a failed part ends it, so do sent ones alone."""
        states = {part.state for part in self.parts[entry_id]}
        if "failed" in states or states == {"sent"}:
            self.over.add(entry_id)
        else:
            self.due_at[entry_id] = self._clock.time()

    def _put_first(self, entry: OutboxEntry) -> None:
        self.entries = {entry.id: entry, **self.entries}

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
