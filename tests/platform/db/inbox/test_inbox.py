"""Accepting events: once each, in order, all or nothing; a lost doorbell is rung again."""

import asyncio
import re
from dataclasses import replace

import pytest
from sqlalchemy.exc import StatementError

from roost_channels.message import Address, Attachment
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.sweeper import SWEEP_MAX, Sweeper
from roost_platform.testing.chats import DoorbellLog, HandClock, Person, count_rows
from roost_workflows.ports import TurnRecord


async def test_s3_a_redelivered_event_is_counted_and_not_stored_again(ada: Person) -> None:
    hello = ada.message("hello")
    assert (await ada.gives(hello)).stored == 1
    again = await ada.gives(hello, hello)
    assert (again.stored, again.duplicates) == (0, 2)
    assert await ada.inbox() == [("hello", "pending")]


async def test_r5_redelivered_update_starts_one_run(
    ada: Person, database_url: str, doorbell: DoorbellLog, clock: HandClock
) -> None:
    """Again after a restart, and again after 25 hours, when a cache would have forgotten it."""
    hello = ada.message("hello")
    await ada.gives(hello)
    turn = await ada.turn()
    await ada.agent_says(turn, 1, "Hello.")
    policies = {("telegram", "42"): AccessPolicy("open")}
    reopened = open_stores(Database(database_url, clock=clock), policies=policies)
    for hours in (0, 25):
        clock.advance(hours * 3600)
        accepted = await PlatformIntake(reopened, doorbell).accept("telegram", "42", [hello])
        assert (accepted.stored, accepted.duplicates) == (0, 1)
        assert await reopened.turns.begin(turn.conversation_id) is None
    await reopened.close()


async def test_one_event_twice_in_a_batch_is_one_row(ada: Person) -> None:
    hello = ada.message("hello")
    accepted = await ada.gives(hello, hello)
    assert (accepted.stored, accepted.duplicates) == (1, 1)


async def test_messages_keep_their_order_in_the_conversation(ada: Person) -> None:
    await ada.says("one", "two")
    await ada.says("three")
    turn = await ada.turn()
    context = await ada.stores.turns.context(turn.turn_id, 1)
    assert [m.content for m in context.messages] == ["one", "two", "three"]


async def test_offset_and_rows_commit_together_or_not_at_all(ada: Person) -> None:
    await ada.gives(ada.message("first"), cursor=7)
    broken = replace(ada.message("broken"), raw={"x": object()})
    with pytest.raises((StatementError, TypeError), match="not JSON serializable") as caught:
        await ada.gives(ada.message("second"), broken, cursor=8)
    assert "broken" not in str(caught.value)  # what people write stays out of logs
    assert await ada.inbox() == [("first", "pending")]
    assert await ada.intake.cursor("telegram", "42") == 7
    assert ada.doorbell.rung == [await ada.conversation_id()]


async def test_text_that_databases_refuse_does_not_stop_the_offset(ada: Person) -> None:
    odd = replace(ada.message("nul \x00 and half \ud83d"), raw={"text": "\x00\ud83d"})
    await ada.gives(odd, cursor=9)
    assert await ada.inbox() == [("nul  and half ?", "pending")]
    assert await ada.intake.cursor("telegram", "42") == 9


async def test_r6_a_lost_doorbell_is_rung_again_by_the_next_sweep(
    ada: Person, clock: HandClock
) -> None:
    ada.doorbell.broken = True
    assert (await ada.says("hello")).stored == 1
    ada.doorbell.broken = False
    sweeper = Sweeper(ada.stores, ada.doorbell)
    assert await sweeper.sweep() == 0  # it may still be on its way
    clock.advance(2.5)
    assert await sweeper.sweep() == 1
    assert ada.doorbell.rung == [await ada.conversation_id()]


async def test_the_sweeper_does_not_ring_all_the_time(ada: Person, clock: HandClock) -> None:
    await ada.says("hello")
    sweeper = Sweeper(ada.stores, ada.doorbell)
    rings = []
    for _ in range(12):
        clock.advance(1.0)
        rings.append(await sweeper.sweep())
    assert sum(rings) == 3  # after 2 s, then every 5 s
    await ada.turn()
    clock.advance(6.0)
    assert await sweeper.sweep() == 0


async def test_an_idle_sweeper_rests_until_a_commit_and_then_rings_what_waits_too_long(
    ada: Person, clock: HandClock
) -> None:
    ada.doorbell.broken = True
    looks, has_open_work = [], ada.stores.inbox.has_open_work

    async def counted() -> bool:
        looks.append(await has_open_work())
        return looks[-1]

    ada.stores.inbox.has_open_work = counted  # type: ignore[method-assign]
    sweeping = asyncio.create_task(Sweeper(ada.stores, ada.doorbell, interval_s=0.01).run())
    await asyncio.sleep(0.3)
    assert looks == [False]
    await ada.says("hello")
    ada.doorbell.broken = False
    clock.advance(2.5)
    async with asyncio.timeout(5.0):
        while not ada.doorbell.rung:
            await asyncio.sleep(0.01)
    sweeping.cancel()
    await asyncio.wait((sweeping,))


async def test_one_sweep_rings_a_bounded_number(ada: Person, clock: HandClock) -> None:
    batch = [
        replace(
            ada.message("hello"), address=replace(ada.address, chat=f"c{n}"), event_id=f"many:{n}"
        )
        for n in range(SWEEP_MAX + 5)
    ]
    await ada.gives(*batch)
    clock.advance(3.0)
    sweeper = Sweeper(ada.stores, ada.doorbell)
    assert await sweeper.sweep() == SWEEP_MAX
    assert await sweeper.sweep() == 5


async def test_the_sweeper_wakes_a_turn_that_fell_silent(ada: Person, clock: HandClock) -> None:
    await ada.says("hello")
    await ada.turn()
    clock.advance(31.0)
    await Sweeper(ada.stores, ada.doorbell).sweep()
    assert ada.doorbell.rung[-1] == await ada.conversation_id()


async def test_the_sweeper_repeats_a_stop_that_was_not_heard(ada: Person, clock: HandClock) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    ada.doorbell.broken = True
    await ada.says("/stop")
    ada.doorbell.broken = False
    clock.advance(3.0)
    await Sweeper(ada.stores, ada.doorbell).sweep()
    assert ada.doorbell.stopped == [turn.conversation_id]


async def test_doubled_and_reordered_rings_are_harmless(ada: Person) -> None:
    await ada.says("one")
    first = await ada.turn()
    again = await ada.turn()
    assert first.turn_id == again.turn_id
    await ada.agent_says(first, 1, "One.")
    conversation = await ada.conversation_id()
    assert [await ada.stores.turns.begin(conversation) for _ in range(3)] == [None] * 3
    assert await ada.stores.turns.begin("no such conversation") is None
    assert await count_rows(ada.stores, models.Turn) == 1


async def test_attachments_are_told_to_the_agent(ada: Person) -> None:
    photo = Attachment("photo", "")
    invoice = Attachment("document", "f2", name="invoice.pdf")
    await ada.gives(replace(ada.message("look"), attachments=(photo, invoice)))
    await ada.gives(replace(ada.message(""), attachments=(Attachment("sticker", "f3"),)))
    await ada.gives(ada.message(""))
    turn = await ada.turn()
    context = await ada.stores.turns.context(turn.turn_id, 1)
    said = [re.sub(r"artifact [a-z0-9]{10}", "artifact ID", m.content) for m in context.messages]
    assert said == [
        "[photo]\n[document: artifact ID, invoice.pdf]\nlook",
        "[sticker: artifact ID]",
        "[message without text]",
    ]


@pytest.mark.parametrize("kind", ["edited", "receipt", "other"])
async def test_other_events_are_kept_and_not_answered(ada: Person, kind: str) -> None:
    await ada.gives(replace(ada.message("changed"), kind=kind))  # type: ignore[arg-type]
    assert await ada.inbox() == [("changed", "ignored")]
    assert ada.doorbell.rung == []


async def test_groups_are_answered_only_when_addressed(ada: Person) -> None:
    team = replace(ada, address=replace(ada.address, is_group=True))
    chatter = replace(team.message("how are you all?"), is_addressed=False)
    await team.gives(chatter, team.message("agent, how are you?"))
    assert [state for _, state in await ada.inbox()] == ["ignored", "pending"]


@pytest.mark.parametrize("is_group", [True, False])
async def test_a_group_is_what_the_network_calls_one_however_its_id_looks(
    ada: Person, is_group: bool
) -> None:
    chat = "team-7" if is_group else "-7"
    team = replace(ada, address=Address("telegram", "42", chat, is_group=is_group))
    await team.gives(team.message("lunch?"), team.message("/help"))
    [due] = await team.stores.outbox.due([("telegram", "42")], team.stores.database.now())
    assert (due.chat, due.is_group) == (chat, is_group)
    turn = await team.turn()
    [message] = (await team.stores.turns.context(turn.turn_id, 1)).messages
    assert (message.context is not None) is is_group


async def test_the_console_talks_without_pairing(ada: Person) -> None:
    said = await ada.intake.say("desk", "hello", agent="helper", message_id="x1")
    again = await ada.intake.say("desk", "hello", message_id="x1")
    assert said.inbox_id
    assert (again.inbox_id, again.conversation_id) == ("", said.conversation_id)
    turn = await ada.stores.turns.begin(said.conversation_id)
    assert isinstance(turn, TurnRecord) and turn.agent == "helper"


async def test_r38_two_bots_keep_the_same_person_apart(ada: Person) -> None:
    await ada.says("to the first")
    other = replace(ada.address, account="43")
    message = replace(ada.message("to the second"), address=other, event_id="1001:1")
    accepted = await ada.intake.accept("telegram", "43", [message])
    assert accepted.stored == 1
    assert await count_rows(ada.stores, models.Conversation) == 2
    assert await count_rows(ada.stores, models.Identity) == 1
