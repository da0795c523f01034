"""One operation in flight per chat: the lock that answers and progress share."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from roost_channels.message import Address


class Lanes:
    """A lock per chat, kept only while somebody holds or awaits it.

    Topics of one chat share its lane: the provider's limits are per chat.
    """

    def __init__(self) -> None:
        self._locks: dict[tuple[str, str, str], asyncio.Lock] = {}
        self._users: dict[tuple[str, str, str], int] = {}

    def busy(self, address: Address) -> bool:
        """Whether an operation is in flight or waiting; progress then gives way."""
        return (address.channel, address.account, address.chat) in self._locks

    @asynccontextmanager
    async def lock(self, address: Address) -> AsyncIterator[None]:
        """Wait for the chat's lock, and keep it inside the block."""
        chat = (address.channel, address.account, address.chat)
        lock = self._locks.setdefault(chat, asyncio.Lock())
        self._users[chat] = self._users.get(chat, 0) + 1
        try:
            async with lock:
                yield
        finally:
            self._users[chat] -= 1
            if not self._users[chat]:
                del self._users[chat], self._locks[chat]

    def __len__(self) -> int:
        return len(self._locks)
