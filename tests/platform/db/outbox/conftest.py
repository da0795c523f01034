"""A chat over each kind of outbox: in memory, on SQLite and on PostgreSQL."""

from collections.abc import AsyncIterator

import pytest

from roost_platform.testing.contracts import Chat, MemoryChat, stored_chat


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def chat_url(request: pytest.FixtureRequest) -> str:
    """A fresh, migrated database of each kind; empty for the outbox in memory."""
    if request.param == "memory":
        return ""
    name = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    url: str = request.getfixturevalue(name)
    return url


@pytest.fixture
async def chat(chat_url: str) -> AsyncIterator[Chat]:
    if not chat_url:
        yield MemoryChat()
        return
    async with stored_chat(chat_url) as opened:
        yield opened
