"""Lanes, parts and their states: one order, one proof, and dead letters that can be redriven."""

import asyncio

import pytest
from sqlalchemy import select

from roost_channels.errors import Failure
from roost_channels.message import Address
from roost_channels.outbox import OutboxEntry, StoredPart
from roost_channels.rendering.parts import Entity, RenderedPart
from roost_platform.db import models
from roost_platform.db.outbox import part_states
from roost_platform.db.outbox.part_states import EVIDENCE_MAX
from roost_platform.errors import NotAllowed, NotFound, PartClaimed
from roost_platform.testing.chats import HandClock, Person

CHANNELS = [("telegram", "42")]
PARTS = [
    RenderedPart("Hello ", (Entity("bold", 0, 5),), 0, 6),
    RenderedPart("wörld 😀 ", (), 6, 14),
    RenderedPart("and all.", (), 14, 22),
]


async def answer(ada: Person, text: str = "Hello wörld 😀 and all.") -> None:
    await ada.says("hello")
    await ada.agent_says(await ada.turn(), 1, text)


async def head(ada: Person) -> tuple[OutboxEntry, list[StoredPart]]:
    first_entry = await ada.stores.outbox.next_entry(ada.address)
    assert first_entry is not None
    return first_entry[0], list(first_entry[1])


async def planned(ada: Person) -> list[StoredPart]:
    await answer(ada)
    entry, _ = await head(ada)
    return list(await ada.stores.outbox.plan(entry.id, PARTS))


async def due(ada: Person) -> list[Address]:
    return list(await ada.stores.outbox.due(CHANNELS, ada.stores.database.now()))


async def attempts(ada: Person) -> list[tuple[int, str, str]]:
    async with ada.stores.database.read() as session:
        rows = await session.scalars(
            select(models.DeliveryAttempt).order_by(models.DeliveryAttempt.id)
        )
        return [(row.attempt, row.outcome, row.code) for row in rows]


async def part_row(ada: Person, part: StoredPart) -> models.Part:
    async with ada.stores.database.read() as session:
        return await session.get_one(models.Part, part.id)


async def entry_state(ada: Person, part: StoredPart) -> str:
    async with ada.stores.database.read() as session:
        return (await session.get_one(models.Outbox, part.outbox_id)).state


async def test_an_entry_is_planned_once_and_comes_back_as_it_was(ada: Person) -> None:
    parts = await planned(ada)
    assert [part.rendered for part in parts] == PARTS
    entry, stored = await head(ada)
    assert stored == parts
    assert list(await ada.stores.outbox.plan(entry.id, PARTS[:1])) == parts
    assert (entry.kind, entry.generation, entry.address) == ("answer", 1, ada.address)
    assert entry.reply_to is not None and entry.reply_to.message_id == "m1"


async def test_a_lane_is_due_until_all_its_parts_are_sent(ada: Person) -> None:
    parts = await planned(ada)
    for number, part in enumerate(parts):
        assert await due(ada) == [ada.address]
        assert await ada.stores.outbox.sending(part.id, "c1", 30.0) == 1
        await ada.stores.outbox.sent(part.id, f"b{number}")
        await ada.stores.outbox.sent(part.id, "another id")  # the first proof stands
    assert await due(ada) == []
    assert await ada.stores.outbox.next_entry(ada.address) is None
    assert (await part_row(ada, parts[0])).message_id == "b0"
    assert await entry_state(ada, parts[0]) == "sent"


async def test_a_lane_gives_its_entries_in_the_order_they_were_committed(
    ada: Person, clock: HandClock
) -> None:
    await answer(ada, "first")
    clock.advance(-5)  # a clock that is set back does not change the order
    await answer(ada, "second")
    first, _ = await head(ada)
    (part,) = await ada.stores.outbox.plan(first.id, PARTS[:1])
    await ada.stores.outbox.not_sent(part.id, Failure("wait"), retry_at=clock.now + 60)
    assert await due(ada) == []  # the second may not overtake
    clock.advance(61)
    assert await due(ada) == [ada.address]
    await ada.stores.outbox.sent(part.id, "b1")
    second, _ = await head(ada)
    assert (first.text, second.text) == ("first", "second")


async def test_only_lanes_of_the_asked_accounts_are_due(ada: Person) -> None:
    await answer(ada)
    now = ada.stores.database.now()
    assert await ada.stores.outbox.due([("telegram", "43"), ("whatsapp", "42")], now) == []
    assert await ada.stores.outbox.due([], now) == []


async def test_a_try_that_provably_failed_is_repeated_and_written_down(
    ada: Person, clock: HandClock
) -> None:
    part, *_ = await planned(ada)
    await ada.stores.outbox.sending(part.id, "c1", 30.0)
    await ada.stores.outbox.not_sent(
        part.id, Failure("Too Many Requests", "429", 429), retry_at=clock.now + 3
    )
    assert await due(ada) == []
    clock.advance(3)
    assert await ada.stores.outbox.sending(part.id, "c1", 30.0) == 2
    await ada.stores.outbox.sent(part.id, "b1")
    assert await attempts(ada) == [(1, "not_sent", "429"), (2, "sent", "")]


async def test_a_part_under_way_belongs_to_one_courier(ada: Person, clock: HandClock) -> None:
    part, *_ = await planned(ada)
    await ada.stores.outbox.sending(part.id, "c1", 30.0)
    with pytest.raises(PartClaimed):
        await ada.stores.outbox.sending(part.id, "c2", 30.0)
    clock.advance(31)
    _, (expired, *_) = await head(ada)
    assert expired.state == "ambiguous"  # its courier's lease ended: nobody knows
    assert await ada.stores.outbox.sending(part.id, "c2", 30.0) == 2


async def test_what_a_dead_courier_was_sending_becomes_uncertain_at_start(
    ada: Person, clock: HandClock
) -> None:
    first, second, _ = await planned(ada)
    await ada.stores.outbox.sending(first.id, "c1", 600.0)
    assert await ada.stores.outbox.recover("c1") == 0
    assert await ada.stores.outbox.recover("c2") == 1
    assert await ada.stores.outbox.recover("c2") == 0
    _, parts = await head(ada)
    assert [part.state for part in parts] == ["ambiguous", "planned", "planned"]
    row = await part_row(ada, first)
    assert row.evidence[0]["note"] == "Became uncertain: c1 ended while sending."
    assert await due(ada) == [ada.address]
    assert (await part_row(ada, second)).evidence == []


async def test_an_uncertain_part_sent_again_is_labelled_and_a_refused_one_is_plainer(
    ada: Person,
) -> None:
    first, second, _ = await planned(ada)
    await ada.stores.outbox.sending(first.id, "c1", 30.0)
    await ada.stores.outbox.ambiguous(first.id, Failure("timed out", "timeout"))
    await ada.stores.outbox.replan(first.id, RenderedPart("(may be a repeat) Hello ", (), 0, 6))
    await ada.stores.outbox.sending(second.id, "c1", 30.0)
    await ada.stores.outbox.replan(second.id, PARTS[1], drop_reply=True)
    entry, (one, two, _) = await head(ada)
    assert (one.state, one.duplicate_label, one.plain) == ("not_sent", True, False)
    assert one.rendered.text.startswith("(may be a repeat)")
    assert (two.state, two.duplicate_label, two.plain) == ("not_sent", False, True)
    assert entry.reply_to is None


async def test_a_dead_letter_lets_the_lane_go_on_and_can_be_redriven(
    ada: Person, clock: HandClock
) -> None:
    first, second, _ = await planned(ada)
    await ada.stores.outbox.sent(first.id, "b1")
    await ada.stores.outbox.sending(second.id, "c1", 30.0)
    await ada.stores.outbox.failed(second.id, Failure("Bad Request", "400", 400))
    assert await entry_state(ada, second) == "failed"
    assert await ada.stores.outbox.next_entry(ada.address) is None
    with pytest.raises(NotAllowed):
        await ada.stores.outbox.sending(second.id, "c1", 30.0)
    assert await ada.stores.redrive(second.id, "olga") == second.outbox_id
    _, parts = await head(ada)
    assert [(part.state, part.attempts) for part in parts] == [
        ("sent", 0),
        ("planned", 0),
        ("planned", 0),
    ]
    assert await ada.stores.outbox.sending(second.id, "c1", 30.0) == 1
    await ada.stores.outbox.sent(second.id, "b2")
    assert await attempts(ada) == [(1, "failed", "400"), (2, "sent", "")]
    (entry,) = await ada.stores.audit.list()
    assert (entry.actor, entry.action) == ("olga", "delivery.redrive")


async def test_only_what_failed_can_be_redriven(ada: Person) -> None:
    part, *_ = await planned(ada)
    with pytest.raises(NotAllowed):
        await ada.stores.redrive(part.outbox_id, "olga")
    with pytest.raises(NotFound):
        await ada.stores.redrive("nothing", "olga")


async def test_evidence_is_bounded(ada: Person) -> None:
    part, *_ = await planned(ada)
    for number in range(EVIDENCE_MAX + 2):
        await ada.stores.outbox.evidence(part.id, f"line {number}")
    notes = [line["note"] for line in (await part_row(ada, part)).evidence]
    assert len(notes) == EVIDENCE_MAX and notes[-1] == f"line {EVIDENCE_MAX + 1}"


async def test_a_crash_while_a_proof_is_stored_leaves_the_part_under_way(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, *_ = await planned(ada)
    await ada.stores.outbox.sending(part.id, "c1", 30.0)

    async def killed(*_: object) -> None:
        raise ConnectionAbortedError("killed here")

    with monkeypatch.context() as patch, pytest.raises(ConnectionAbortedError):
        patch.setattr(part_states, "conclude", killed)
        await ada.stores.outbox.sent(part.id, "b1")
    row = await part_row(ada, part)
    assert (row.state, row.message_id) == ("sending", None)


async def test_a_chat_that_moved_takes_its_lane_along(ada: Person) -> None:
    await answer(ada)
    await ada.stores.outbox.moved(ada.address, "-100500")
    assert await due(ada) == [Address("telegram", "42", "-100500")]


async def test_unsent_messages_follow_to_a_chat_that_is_known_already(ada: Person) -> None:
    part, *_ = await planned(ada)
    old = ada.address
    ada.address = Address("telegram", "42", "-100500")
    await ada.says("/help")
    await ada.stores.outbox.moved(old, "-100500")
    assert await due(ada) == [ada.address]
    entry, parts = await head(ada)
    assert entry.text.startswith("Hello") and parts[0].id == part.id
    assert await ada.stores.outbox.next_entry(old) is None


async def test_a_person_who_writes_again_wakes_what_was_held(ada: Person, clock: HandClock) -> None:
    part, *_ = await planned(ada)
    outbox, later = ada.stores.outbox, clock.now + 86400
    await outbox.sending(part.id, "c1", 30.0)
    await outbox.not_sent(part.id, Failure("window closed"), retry_at=later, held=True)
    assert await due(ada) == []
    await ada.says("are you there?")
    assert await due(ada) == [ada.address]
    _, parts = await head(ada)
    assert parts[0].next_at <= clock.now


async def test_writing_again_does_not_cut_a_providers_wait_short(
    ada: Person, clock: HandClock
) -> None:
    part, *_ = await planned(ada)
    outbox, later = ada.stores.outbox, clock.now + 30
    await outbox.sending(part.id, "c1", 30.0)
    await outbox.not_sent(part.id, Failure("Too Many Requests", "429"), retry_at=later)
    await ada.says("are you there?")
    assert await due(ada) == []
    _, parts = await head(ada)
    assert parts[0].next_at == later


async def test_two_who_wait_for_the_outbox_both_hear_of_every_commit(ada: Person) -> None:
    outbox = ada.stores.outbox
    woken: dict[str, int] = {"renderer": 0, "courier": 0}

    async def renderer() -> None:
        while True:
            await outbox.wait(5.0)
            woken["renderer"] += 1

    async def courier() -> None:
        while True:
            await asyncio.create_task(outbox.wait(5.0))  # a new task each time
            woken["courier"] += 1

    tasks = [asyncio.create_task(renderer()), asyncio.create_task(courier())]
    await asyncio.sleep(0.1)
    for _ in range(3):
        before = dict(woken)
        await ada.says("/help")
        async with asyncio.timeout(5.0):
            while any(woken[name] == before[name] for name in woken):
                await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
