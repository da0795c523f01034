"""A person in a chat, on each kind of database, with a clock turned by hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock, Person


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def stores(database_url: str, clock: HandClock, tmp_path: Path) -> AsyncIterator[Stores]:
    """All stores; the bot 42 is open to everyone, the bot 43 pairs."""
    policies = {("telegram", "42"): AccessPolicy("open"), ("whatsapp", "w"): AccessPolicy("open")}
    database = Database(database_url, clock=clock)
    opened = open_stores(database, policies=policies, files=tmp_path / "files")
    yield opened
    await opened.close()


@pytest.fixture
def doorbell() -> DoorbellLog:
    return DoorbellLog()


@pytest.fixture
def intake(stores: Stores, doorbell: DoorbellLog) -> PlatformIntake:
    return PlatformIntake(stores, doorbell)


@pytest.fixture
def ada(stores: Stores, intake: PlatformIntake, doorbell: DoorbellLog) -> Person:
    return Person(stores, intake, doorbell)


@pytest.fixture
async def sqlite_ada(sqlite_url: str, clock: HandClock) -> AsyncIterator[Person]:
    """Ada on SQLite alone, for many cases of something that storage has no part in."""
    policies = {("telegram", "42"): AccessPolicy("open")}
    opened = open_stores(Database(sqlite_url, clock=clock), policies=policies)
    bell = DoorbellLog()
    yield Person(opened, PlatformIntake(opened, bell), bell)
    await opened.close()
