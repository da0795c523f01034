"""A person in a chat, on each kind of database, with a clock turned by hand."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock, Person
from roost_platform.testing.scheduling import START, Reminded


@pytest.fixture
def clock() -> HandClock:
    return HandClock(START)


@pytest.fixture
async def stranger(database_url: str, clock: HandClock, tmp_path: Path) -> AsyncIterator[Reminded]:
    """Ada, of whom nobody knows where she lives."""
    policies = {("telegram", "42"): AccessPolicy("open")}
    database = Database(database_url, clock=clock)
    opened = open_stores(database, policies=policies, files=tmp_path / "files")
    bell = DoorbellLog()
    yield Reminded(Person(opened, PlatformIntake(opened, bell), bell), clock)
    await opened.close()


@pytest.fixture
async def ada(stranger: Reminded) -> Reminded:
    """Ada, who said that she lives in Rome."""
    assert await stranger.says("/remind zone rome") == ["Your time zone is Europe/Rome."]
    return stranger
