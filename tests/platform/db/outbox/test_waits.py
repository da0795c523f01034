"""Waits that providers asked for outlive the courier that was told."""

import asyncio

from roost_channels.delivery.ledger import STORE_WAIT_AGAIN_S, Ledger
from roost_channels.errors import Throttled
from roost_channels.message import Address
from roost_channels.telegram.channel import CAPABILITIES
from roost_channels.testing import VirtualClock
from roost_channels.testing.memory.outbox import MemoryOutbox
from roost_platform.db.stores import Stores

CHAT = Address("telegram", "42", "7")
TOPIC = Address("telegram", "42", "7", "3")
ACCOUNTS = (("telegram", "42"),)


async def test_a_kept_wait_is_told_to_the_next_courier_until_it_is_over(stores: Stores) -> None:
    now = stores.database.now()
    for outbox in (stores.outbox, MemoryOutbox()):
        await outbox.keep_wait(CHAT, now + 20)
        await outbox.keep_wait(TOPIC, now + 10)  # the same chat: the longer wait counts
        assert list(await outbox.waits(ACCOUNTS, now)) == [(CHAT, now + 20)]
        assert list(await outbox.waits(ACCOUNTS, now + 20)) == []
        assert list(await outbox.waits((("telegram", "43"),), now)) == []


async def test_a_courier_that_starts_obeys_the_waits_of_the_one_before(stores: Stores) -> None:
    now = stores.database.now()
    await stores.outbox.keep_wait(CHAT, now + 20)
    ledger = Ledger(stores.outbox, VirtualClock(now))
    await ledger.recall_waits(ACCOUNTS)
    assert ledger.limiter.wait_s(TOPIC, CAPABILITIES, "send", now) > 19


async def test_a_wait_of_the_whole_account_holds_every_chat_and_outlives_the_courier(
    stores: Stores,
) -> None:
    now = stores.database.now()
    ledger = Ledger(stores.outbox, VirtualClock(now))
    error = Throttled(20.0, is_account_wide=True)
    await ledger.learn_wait(CHAT, error)
    other = Address("telegram", "42", "8")
    assert ledger.limiter.wait_s(other, CAPABILITIES, "send", now) > 19
    successor = Ledger(stores.outbox, VirtualClock(now))
    await successor.recall_waits(ACCOUNTS)
    assert successor.limiter.wait_s(other, CAPABILITIES, "send", now) > 19


async def test_a_wait_learned_while_storage_is_away_is_stored_once_it_is_back() -> None:
    clock, outbox = VirtualClock(), MemoryOutbox()
    for _ in range(10):
        outbox.fault("keep_wait", ConnectionError("the database restarts"))
    began = clock.time()
    learning = asyncio.create_task(Ledger(outbox, clock).learn_wait(CHAT, Throttled(20.0)))
    await asyncio.sleep(0)
    await clock.advance(9 * STORE_WAIT_AGAIN_S)
    assert not learning.done()
    await clock.advance(1.0)
    assert await learning > 20
    assert [until > began + 20 for _, until in await outbox.waits(ACCOUNTS, began)] == [True]


async def test_a_wait_is_not_kept_longer_than_it_lasts() -> None:
    clock, outbox = VirtualClock(), MemoryOutbox()
    for _ in range(100):
        outbox.fault("keep_wait", ConnectionError("the database is gone"))
    learning = asyncio.create_task(Ledger(outbox, clock).learn_wait(CHAT, Throttled(2.0)))
    await asyncio.sleep(0)
    await clock.advance(3.0)
    assert learning.done()
