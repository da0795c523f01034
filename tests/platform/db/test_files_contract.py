"""One contract for files in memory, which tests use, and the files of the data folder."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import pytest

from roost_channels.errors import Rejected
from roost_channels.files import ChannelFiles
from roost_channels.message import Attachment
from roost_channels.testing.memory.files import MemoryFiles
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock, Person

ACCOUNTS = [("telegram", "42")]


class Folder(Protocol):
    """One kind of file storage, and the ways in which files get into it."""

    @property
    def files(self) -> ChannelFiles:
        """The storage under test."""

    @property
    def clock(self) -> HandClock:
        """The clock of the storage."""

    async def receive(self, name: str) -> str:
        """A message comes with a file; returns the artifact's id."""

    async def send(self, artifact_id: str) -> None:
        """The file goes with an answer that is still to be delivered."""


class MemoryFolder:
    def __init__(self) -> None:
        self.files, self.clock = MemoryFiles(), HandClock()

    async def receive(self, name: str) -> str:
        attachment = Attachment("document", f"f-{name}", name, artifact_id=name)
        self.files.arrived(attachment, at=self.clock.now)
        return name

    async def send(self, artifact_id: str) -> None:
        self.files.still_to_send.add(artifact_id)


class StoredFolder:
    def __init__(self, person: Person, clock: HandClock) -> None:
        self.person, self.clock, self.files = person, clock, person.stores.artifacts

    async def receive(self, name: str) -> str:
        before = await self._waiting()
        attachment = Attachment("document", f"f-{name}", name)
        await self.person.gives(replace(self.person.message("look"), attachments=(attachment,)))
        [artifact_id] = await self._waiting() - before
        return artifact_id

    async def _waiting(self) -> set[str]:
        due = await self.files.fetches(ACCOUNTS, self.clock.now + 1e6, 99)
        return {fetch.artifact_id for fetch in due}

    async def send(self, artifact_id: str) -> None:
        turn = await self.person.turn()
        await self.files.attach(turn.turn_id, artifact_id)
        await self.person.agent_says(turn, 0, "Here.")


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def folder_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database of each kind; empty for files in memory."""
    if request.param == "memory":
        return ""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
async def folder(folder_url: str, tmp_path: Path) -> AsyncIterator[Folder]:
    if not folder_url:
        yield MemoryFolder()
        return
    clock, doorbell = HandClock(), DoorbellLog()
    policies = {("telegram", "42"): AccessPolicy("open")}
    database = Database(folder_url, clock=clock)
    stores = open_stores(database, policies=policies, files=tmp_path / "files")
    yield StoredFolder(Person(stores, PlatformIntake(stores, doorbell), doorbell), clock)
    await stores.close()


async def due(folder: Folder, limit: int = 9) -> list[str]:
    fetches = await folder.files.fetches(ACCOUNTS, folder.clock.now, limit)
    return [fetch.artifact_id for fetch in fetches]


async def test_files_are_due_oldest_first_up_to_a_limit(folder: Folder) -> None:
    first = await folder.receive("a")
    folder.clock.advance(1)
    second = await folder.receive("b")
    assert await due(folder) == [first, second] and await due(folder, 1) == [first]
    assert list(await folder.files.fetches([("telegram", "43")], folder.clock.now, 9)) == []


async def test_a_fetched_file_is_kept_as_it_came_first(folder: Folder) -> None:
    artifact_id = await folder.receive("a")
    with pytest.raises(Rejected):
        await folder.files.read(artifact_id)
    await folder.files.fetched(artifact_id, b"bytes")
    await folder.files.not_fetched(artifact_id, "late news")
    assert await folder.files.read(artifact_id) == b"bytes" and await due(folder) == []


async def test_a_failed_try_waits_for_its_time_and_is_counted(folder: Folder) -> None:
    artifact_id = await folder.receive("a")
    later = folder.clock.now + 9
    await folder.files.not_fetched(artifact_id, "HTTP 502", retry_at=later)
    assert await due(folder) == []
    folder.clock.advance(9)
    [fetch] = await folder.files.fetches(ACCOUNTS, folder.clock.now, 9)
    assert (fetch.artifact_id, fetch.attempts, fetch.attachment.name) == (artifact_id, 1, "a")
    await folder.files.not_fetched(artifact_id, "too big")
    await folder.files.not_fetched(artifact_id, "late news", retry_at=later)
    assert await due(folder) == []


async def test_a_sweep_deletes_old_files_once_but_not_those_still_to_be_sent(
    folder: Folder,
) -> None:
    old, to_send = await folder.receive("a"), await folder.receive("b")
    for artifact_id in (old, to_send):
        await folder.files.fetched(artifact_id, b"bytes")
    await folder.send(to_send)
    folder.clock.advance(100)
    new = await folder.receive("c")
    assert [await folder.files.sweep(folder.clock.now) for _ in range(2)] == [1, 0]
    with pytest.raises(Rejected):
        await folder.files.read(old)
    assert await folder.files.read(to_send) == b"bytes" and await due(folder) == [new]
