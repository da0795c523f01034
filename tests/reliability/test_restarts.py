"""A planned restart under load: what was on its way ends, nothing begins, nothing is repeated."""

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from roost_channels.message import Address, Sender
from roost_channels.rendering.parts import REPEAT_LABEL
from roost_channels.testing import FakeTelegram
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, Person

CHATS = range(1001, 1061)
ANSWERS = ("first", "second")
# What was handed to the network at the moment of the signal may reach the fake so much later.
ON_THE_WIRE_S = 0.3
FAR_S = 60.0
# A slow provider, well within its time limit.
SLOW_S = 6.5


async def queue_answers(sqlite_url: str, telegram: FakeTelegram) -> None:
    """Two answers for everybody, before any courier runs."""
    account = telegram.token.partition(":")[0]
    policies = {("telegram", account): AccessPolicy("open")}
    stores = open_stores(sqlite_url, policies=policies)
    intake = PlatformIntake(stores, DoorbellLog())
    for chat in CHATS:
        await telegram.user_says(chat, "hello")
        address = Address("telegram", account, str(chat))
        person = Person(stores, intake, DoorbellLog(), address)
        person.sender = Sender(str(chat), f"Person {chat}")
        for answer in ANSWERS:
            await person.says("hello")
            await person.agent_says(await person.turn(), 1, answer)
    await intake.close()
    await stores.close()


async def start_courier(data: Path, telegram: FakeTelegram) -> asyncio.subprocess.Process:
    """The real process, with everything beside it that it runs."""
    settings = {
        "ROOST_DATA_DIR": str(data),
        "ROOST_TELEGRAM__TOKEN": telegram.token,
        "ROOST_TELEGRAM__API_BASE": telegram.base_url,
        "ROOST_TELEGRAM__ACCESS": "open",
        "ROOST_TEMPORAL__ADDRESS": "127.0.0.1:1",
        "ROOST_DELIVERY__ACCOUNT_RATE": "1000",  # so that every lane begins at once
    }
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "roost_platform", "serve", "courier"),
        env={**os.environ, **settings},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(FAR_S):
        while not is_so():
            await asyncio.sleep(0.02)


async def test_a_restart_under_load_begins_no_send_after_the_signal_and_labels_nothing(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with FakeTelegram() as telegram:
        await queue_answers(sqlite_url, telegram)
        telegram.fault("delay", "sendMessage", count=-1, value=SLOW_S)
        courier = await start_courier(tmp_path, telegram)
        await until(lambda: len(telegram.calls_of("sendMessage")) >= 3)
        signalled_at = time.time()
        courier.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(courier.wait(), FAR_S) == 0
        before = [call for call in telegram.calls if call.method.lower().startswith("send")]
        late = [call for call in before if call.started_at > signalled_at + ON_THE_WIRE_S]
        assert not late
        assert len(telegram.calls_of("sendMessage")) < len(CHATS) * len(ANSWERS)

        telegram.clear_faults()
        after = await start_courier(tmp_path, telegram)
        try:
            await until(lambda: all(len(telegram.bot_texts(chat)) >= 2 for chat in CHATS))
        finally:
            after.send_signal(signal.SIGTERM)
            await after.wait()
        shown = {chat: telegram.bot_texts(chat) for chat in CHATS}
    assert Counter(text for texts in shown.values() for text in texts) == {
        answer: len(CHATS) for answer in ANSWERS
    }
    assert all(tuple(texts) == ANSWERS for texts in shown.values())
    assert not any(REPEAT_LABEL in text for texts in shown.values() for text in texts)
