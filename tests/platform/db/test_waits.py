"""Waits that providers asked for outlive the courier that was told."""

from roost_channels.errors import Throttled
from roost_channels.limits import Limiter, learn, recall
from roost_channels.message import Address
from roost_channels.telegram.channel import CAPABILITIES
from roost_channels.testing.memory import MemoryOutbox
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
    limiter = Limiter()
    await recall(limiter, stores.outbox, ACCOUNTS, now)
    assert limiter.wait_s(TOPIC, CAPABILITIES, "send", now) > 19


async def test_a_wait_of_the_whole_account_holds_every_chat_and_outlives_the_courier(
    stores: Stores,
) -> None:
    now, limiter = stores.database.now(), Limiter()
    error = Throttled(20.0, is_account_wide=True)
    await learn(limiter, stores.outbox, CHAT, error, now)
    other = Address("telegram", "42", "8")
    assert limiter.wait_s(other, CAPABILITIES, "send", now) > 19
    successor = Limiter()
    await recall(successor, stores.outbox, ACCOUNTS, now)
    assert successor.wait_s(other, CAPABILITIES, "send", now) > 19
