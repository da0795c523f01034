"""Three days in which everything is down: what became due meanwhile goes out once, in order."""

import asyncio
import itertools
import re
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import select

from roost.schedules.kinds import Missed
from roost.schedules.spec import At, Cron, ScheduleError, Spec
from roost_channels.message import Sender
from roost_platform.db import models
from roost_platform.db.locks import lock_conversation
from roost_platform.db.schedules.keeping import PERSON_MAX, NewSchedule, keep
from roost_platform.dueclock import DueClock, due_sources
from roost_platform.testing.chats import Person, count_rows
from roost_platform.testing.scheduling import Reminded

LATE = re.compile(r"⏰ (\S+)\n\n_due (.+), sent (.+)_")


async def others(ada: Reminded, count: int) -> list[Person]:
    """Ada and people who wrote in chats of their own."""
    people = [ada.person]
    for number in range(1, count):
        chat = str(2000 + number)
        address = replace(ada.person.address, chat=chat)
        person = Person(ada.person.stores, ada.person.intake, ada.person.doorbell, address)
        person.sender = Sender(chat, f"Person {number}", "")
        await person.says("/help")
        people.append(person)
    return people


async def keeps(
    ada: Reminded, person: Person, specs: dict[str, tuple[Spec, Missed | None]]
) -> None:
    """Keep reminders by their texts, in one transaction."""
    chat_id = await person.conversation_id()
    async with ada.person.stores.database.write() as session:
        chat = await lock_conversation(session, chat_id)
        for text, (spec, missed) in specs.items():
            new = NewSchedule("reminder", text, spec, "Europe/Rome", text, "person", missed)
            await keep(session, chat, chat.identity_id or "", new, ada.clock.now)


async def goes_up(ada: Reminded) -> None:
    """Two clocks start at the same time, and settle all that is due."""
    database = ada.person.stores.database
    clocks = [DueClock(database, due_sources(database), lambda _: None) for _ in range(2)]
    for _ in range(6):
        await asyncio.gather(*(clock.fire() for clock in clocks))


async def heard(ada: Reminded, person: Person) -> list[str]:
    """The reminders of a chat, in the order in which they go out."""
    chat_id = await person.conversation_id()
    async with ada.person.stores.database.read() as session:
        rows = await session.scalars(
            select(models.Outbox.text)
            .where(models.Outbox.conversation_id == chat_id, models.Outbox.text.startswith("⏰"))
            .order_by(models.Outbox.sequence)
        )
        return list(rows)


async def test_200_reminders_of_an_outage_say_when_they_were_due_and_keep_their_order(
    ada: Reminded,
) -> None:
    people = await others(ada, 4)
    begin = datetime(2026, 11, 29, 15)
    for number, person in enumerate(people):
        times = [begin + timedelta(minutes=80 * i + number) for i in range(PERSON_MAX)]
        await keeps(ada, person, {f"{number}-{i:02}": (At(at), None) for i, at in enumerate(times)})
    ada.at(2026, 12, 2, 14, 5)
    await goes_up(ada)
    await goes_up(ada)
    for number, person in enumerate(people):
        texts = await heard(ada, person)
        found = [LATE.fullmatch(text) for text in texts]
        assert [one and one[1] for one in found] == [f"{number}-{i:02}" for i in range(PERSON_MAX)]
        first, last = found[0], found[-1]
        assert first is not None and last is not None
        assert first[2] == f"Sun 29 Nov 2026 15:{number:02}"
        assert first[3] == "Wed 2 Dec 2026 14:05"
    assert await count_rows(ada.person.stores, models.Occurrence, state="fired") == 200
    assert {one.state for one in await ada.schedules()} == {"done"}


async def test_what_comes_again_sends_the_newest_or_at_most_ten_in_the_order_of_their_times(
    ada: Reminded,
) -> None:
    await keeps(
        ada,
        ada.person,
        {
            "daily": (Cron("0 9 * * *"), None),
            "hourly": (Cron("0 * * * *"), "all"),
            "half": (Cron("30 * * * *"), "all"),
            "once": (At(datetime(2026, 12, 2, 8, 45)), None),
            "quiet": (Cron("15 * * * *"), "skip"),
        },
    )
    ada.at(2026, 12, 2, 14, 5)
    await goes_up(ada)
    texts = await heard(ada, ada.person)
    names = [text.split()[1] for text in texts]
    assert names.count("hourly") == names.count("half") == 10
    assert names.count("daily") == names.count("once") == 1 and "quiet" not in names
    async with ada.person.stores.database.read() as session:
        rows = await session.execute(
            select(models.Occurrence.scheduled_for)
            .join(models.Outbox, models.Outbox.id == models.Occurrence.outbox_id)
            .order_by(models.Outbox.sequence)
        )
        due = [at for (at,) in rows]
    assert all(earlier <= later for earlier, later in itertools.pairwise(due))
    assert "2 earlier times were missed" in next(text for text in texts if "daily" in text)
    await goes_up(ada)
    assert await heard(ada, ada.person) == texts


async def test_a_person_of_50_recurring_reminders_hears_each_once(ada: Reminded) -> None:
    specs: dict[str, tuple[Spec, Missed | None]] = {
        f"number-{i}": (Cron(f"{i} * * * *"), None) for i in range(PERSON_MAX)
    }
    await keeps(ada, ada.person, specs)
    with pytest.raises(ScheduleError, match="50 schedules already"):
        await keeps(ada, ada.person, {"more": (Cron("55 * * * *"), None)})
    ada.at(2026, 12, 2, 14, 59)
    await goes_up(ada)
    texts = await heard(ada, ada.person)
    assert [text.split()[1] for text in texts] == list(specs)
    assert all("earlier times were missed" in text for text in texts)


async def test_an_outage_within_an_outage_repeats_nothing(
    ada: Reminded, monkeypatch: pytest.MonkeyPatch
) -> None:
    specs: dict[str, tuple[Spec, Missed | None]] = {
        f"number-{i:02}": (At(datetime(2026, 11, 30, 9, i)), None) for i in range(40)
    }
    await keeps(ada, ada.person, specs)
    monkeypatch.setattr("roost_platform.dueclock.BATCH_MAX", 7)
    monkeypatch.setattr("roost_platform.db.due.schedules.CHATS_FACTOR", 1)
    monkeypatch.setattr("roost_platform.db.due.schedules.TRANSACTIONS_MAX", 1)
    ada.at(2026, 12, 2, 14, 5)
    database = ada.person.stores.database
    clock = DueClock(database, due_sources(database), lambda _: None)
    await clock.fire()
    assert len(await heard(ada, ada.person)) == 7  # killed here
    await goes_up(ada)
    assert [text.split()[1] for text in await heard(ada, ada.person)] == list(specs)
