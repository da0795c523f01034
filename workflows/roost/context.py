"""What a running tool gets: who asks, its key, notes, files, progress, and programs to run."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from roost import program
from roost.files import Files
from roost.schedules.keeper import Schedules


class NoteRecord(Protocol):
    """A note kept for one person."""

    @property
    def id(self) -> int:
        """Its number, unique for ever."""
        ...

    @property
    def text(self) -> str:
        """What was noted."""
        ...

    @property
    def created_at(self) -> float:
        """When it was noted, in seconds since the epoch."""
        ...


class NoteStore(Protocol):
    """Where notes are kept."""

    async def add(self, person_id: str, text: str, key: str) -> NoteRecord:
        """Keep a note, once for each `key`."""
        ...

    async def list(self, person_id: str) -> Sequence[NoteRecord]:
        """The person's notes, oldest first."""
        ...

    async def remove(self, person_id: str, note_id: int) -> bool:
        """Delete a note; False when the person has no such note."""
        ...


@dataclass(frozen=True, slots=True)
class Person:
    """The person whom the agent talks with; `id` is the same on every channel."""

    id: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """The conversation a call belongs to; `key` names it to operators."""

    id: str
    key: str = ""
    channel: str = ""


class Notes:
    """Notes of one person. Adding is idempotent: the call's key is part of each note."""

    def __init__(self, store: NoteStore, person: Person, key: str) -> None:
        self._store = store
        self._person = person
        self._key = key
        self._added = 0

    async def add(self, text: str) -> NoteRecord:
        """Keep a note about this person."""
        self._added += 1
        suffix = "" if self._added == 1 else f":{self._added}"
        return await self._store.add(self._person.id, text, f"{self._key}{suffix}")

    async def list(self) -> Sequence[NoteRecord]:
        """The notes about this person, oldest first."""
        return await self._store.list(self._person.id)

    async def remove(self, note_id: int) -> bool:
        """Delete a note; False when this person has no such note."""
        return await self._store.remove(self._person.id, note_id)


class Context:
    """One tool call as its function sees it.

    key: identifies this call for ever; the same on every attempt, so use it as an idempotency key.
    person, session: who asked, and where. notes: what is remembered about that person.
    payload: what came along with the message and is nobody's words, such as that of a start link.
    files: what people sent in this conversation, and what goes with the answer.
    schedules: what is to be done later for that person.
    """

    def __init__(
        self,
        *,
        key: str,
        person: Person,
        session: SessionInfo,
        notes: NoteStore,
        files: Files | None = None,
        schedules: Schedules | None = None,
        payload: str = "",
        attempt: int = 1,
        on_progress: Callable[[str], None] | None = None,
        on_plan: Callable[[tuple[str, ...]], None] | None = None,
    ) -> None:
        self.key = key
        self.person = person
        self.session = session
        self.payload = payload
        self.attempt = attempt
        self.notes = Notes(notes, person, key)
        self.files = files or Files(None, key)
        self.schedules = schedules or Schedules(None, key)
        self._on_progress = on_progress
        self._on_plan = on_plan
        self._stopped = False

    @property
    def stopped(self) -> bool:
        """True once the call was stopped or timed out; synchronous tools look here in loops."""
        return self._stopped

    def stop(self) -> None:
        """Mark the call stopped; the runtime calls this before it cancels."""
        self._stopped = True

    def progress(self, text: str = "", *, steps: Sequence[str] = (), done: int = 0) -> None:
        """Tell people what the tool is doing; the latest call wins.

        steps: the plan it follows, of which the first `done` are finished. It stays visible until
            another call gives another plan.

        May be called from any thread. A tool need not call it to stay alive: the runtime sends
        heartbeats by itself.
        """
        self.relay(text, plan_lines(steps, done) if steps else None)

    def relay(self, text: str | None, plan: Sequence[str] | None) -> None:
        """Show progress that came from elsewhere, the plan with its marks; None leaves it."""
        if plan is not None and self._on_plan is not None:
            self._on_plan(tuple(plan))
        if text is not None and self._on_progress is not None:
            self._on_progress(text)

    async def run(
        self,
        argv: Sequence[str],
        *,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        input: str | None = None,
        timeout_s: float | None = None,
    ) -> program.RunResult:
        """Run a program in its own process group.

        A stop, a time-out or the end of the tool kills the whole group. Raises TimeoutError.
        """
        async with asyncio.timeout(timeout_s):
            return await program.run(argv, cwd=cwd, env=env, input=input)


def plan_lines(steps: Sequence[str], done: int) -> tuple[str, ...]:
    """Steps with their marks: ✓ finished, ▸ under way, · to come."""
    marks = ("✓" if n < done else "▸" if n == done else "·" for n in range(len(steps)))
    return tuple(f"{mark} {step}" for mark, step in zip(marks, steps, strict=True))
