"""What was said longer ago than it is kept is deleted from every table, and no more."""

import pytest
from sqlalchemy import select, update

from roost_platform.db import models
from roost_platform.db import retention as module
from roost_platform.db.retention import DAY_S, Retention
from roost_platform.db.stores import Stores
from roost_platform.settings.config import load_settings
from roost_platform.testing.chats import HandClock, Person
from roost_workflows.ports import PlannedCall

CANARY = "canary-7f3a"


async def tables_with(stores: Stores, word: str) -> set[str]:
    """The tables in which a word stands in any column."""
    found = set()
    async with stores.database.read() as session:
        for table in models.Base.metadata.sorted_tables:
            rows = (await session.execute(select(table))).all()
            if any(word in str(tuple(row)) for row in rows):
                found.add(table.name)
    return found


async def exchange(ada: Person, word: str) -> str:
    """A message, a tool call, an answer and its delivery, all with this word."""
    await ada.says(f"{word} please")
    turn = await ada.turn()
    calls = [PlannedCall("c1", "look", f'{{"for": "{word}"}}', "pure")]
    await ada.agent_says(turn, 1, f"{word} I look", finish="tools", calls=calls)
    await ada.stores.turns.begin_call(turn.turn_id, 1, "c1")
    await ada.stores.turns.finish_call(turn.turn_id, 1, "c1", status="ok", result=f"{word} found")
    await ada.stores.turns.close_group(turn.turn_id, 1)
    await ada.agent_says(turn, 2, f"{word} it is")
    return turn.turn_id


async def deliver(stores: Stores) -> None:
    now = stores.database.now()
    async with stores.database.write() as session:
        await session.execute(
            update(models.Outbox)
            .where(models.Outbox.state == "pending")
            .values(state="sent", finished_at=now)
        )


async def test_what_is_older_goes_from_every_table_and_what_is_newer_stays(
    stores: Stores, ada: Person, clock: HandClock
) -> None:
    await exchange(ada, CANARY)
    await ada.says("/help")
    await deliver(stores)
    assert len(await tables_with(stores, CANARY)) >= 4
    clock.advance(20 * DAY_S)
    await exchange(ada, "newer-word")
    await deliver(stores)
    clock.advance(11 * DAY_S)
    assert await Retention(stores.database, 30.0).sweep() > 0
    # The conversation and the person stay; the name of the conversation may be its first words.
    assert await tables_with(stores, CANARY) <= {"conversations"}
    assert {"transcript", "inbox", "outbox", "tool_calls"} <= await tables_with(
        stores, "newer-word"
    )
    assert await Retention(stores.database, 30.0).sweep() == 0
    await exchange(ada, "and on it goes")


async def test_what_is_under_way_stays_however_old_it_is(
    stores: Stores, ada: Person, clock: HandClock
) -> None:
    await exchange(ada, "undelivered")
    await ada.says("unanswered")
    await ada.turn()
    clock.advance(400 * DAY_S)
    assert await Retention(stores.database, 30.0).sweep() == 0
    assert {"inbox", "transcript", "outbox"} <= await tables_with(stores, "undelivered")
    assert "inbox" in await tables_with(stores, "unanswered")


async def test_nothing_is_deleted_where_no_time_is_set(
    stores: Stores, ada: Person, clock: HandClock
) -> None:
    await exchange(ada, CANARY)
    await deliver(stores)
    clock.advance(4000 * DAY_S)
    assert await Retention(stores.database, None).sweep() == 0
    assert load_settings(environ={}).retention.conversations_days is None


async def test_a_file_outlives_its_message_and_is_found_by_its_own_sweep(
    stores: Stores, ada: Person, clock: HandClock
) -> None:
    await ada.says(CANARY)
    await exchange(ada, "x")
    await deliver(stores)
    async with stores.database.write() as session:
        event = (await session.scalars(select(models.Inbox))).first()
        assert event is not None
        session.add(
            models.Artifact(
                id="bcdfgh",
                conversation_id=event.conversation_id,
                inbox_id=event.id,
                origin="o",
                channel="telegram",
                account="42",
                kind="photo",
                state="stored",
                next_at=0.0,
                created_at=clock.now,
            )
        )
    clock.advance(31 * DAY_S)
    await Retention(stores.database, 30.0).sweep()
    async with stores.database.read() as session:
        file = await session.get(models.Artifact, "bcdfgh")
        assert file is not None and file.inbox_id is None
    assert await stores.artifacts.sweep(clock.now) == 1


async def test_a_sweep_ends_at_its_bound_and_the_next_one_goes_on(
    stores: Stores, ada: Person, clock: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "BATCHES_MAX", 1)
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    for word in ("one", "two", "three"):
        await exchange(ada, word)
    await deliver(stores)
    clock.advance(31 * DAY_S)
    retention = Retention(stores.database, 30.0)
    gone = [await retention.sweep() for _ in range(3)]
    assert gone[0] <= 4 * 2 and gone[1] > 0 and gone[2] == 0
    assert not await tables_with(stores, "three") - {"conversations"}
