"""A person in a chat over SQLite, with a clock turned by hand."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.queueing import QueueRules
from roost_platform.testing.chats import DoorbellLog, HandClock, Person

Chat = Callable[[QueueRules], AbstractAsyncContextManager[Person]]


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def chat(sqlite_url: str, clock: HandClock) -> Chat:
    """Opens Ada's chat with these queue rules."""

    @asynccontextmanager
    async def opened(rules: QueueRules) -> AsyncIterator[Person]:
        policies = {("telegram", "42"): AccessPolicy("open")}
        stores = open_stores(Database(sqlite_url, clock=clock), policies=policies, queueing=rules)
        bell = DoorbellLog()
        intake = PlatformIntake(stores, bell)
        yield Person(stores, intake, bell)
        await intake.close()
        await stores.close()

    return opened


@pytest.fixture
async def ada(chat: Chat) -> AsyncIterator[Person]:
    async with chat(QueueRules()) as person:
        yield person
