"""Runs fakes in one process, as the internet behind `roost up --sandbox`."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from roost_channels.testing.clock import SystemClock
from roost_channels.testing.telegram import FakeTelegram

# Ids start at the seconds since 2020, so that a restarted sandbox never repeats one.
ID_EPOCH_S = 1_577_836_800


def lasting_telegram(token: str, port: int = 0) -> FakeTelegram:
    """A Telegram that may be restarted under a database that remembers its ids."""
    first_id = int(SystemClock().time()) - ID_EPOCH_S
    return FakeTelegram(token, port=port, first_update_id=first_id, first_message_id=first_id)


async def serve(
    fakes: Sequence[AbstractAsyncContextManager[Any]], on_ready: Callable[[], None]
) -> None:
    """Serve until cancelled; calls `on_ready` once all fakes listen."""
    async with contextlib.AsyncExitStack() as stack:
        for fake in fakes:
            await stack.enter_async_context(fake)
        on_ready()
        await asyncio.Event().wait()
