"""A stop ends delivery: what is in flight follows, the rest is dropped, and one notice says so."""

import pytest
from sqlalchemy import select

from roost_channels.errors import Failure
from roost_channels.intake import DeliveryReceipt
from roost_channels.outbox import PartOver, StoredPart
from roost_channels.rendering.parts import RenderedPart
from roost_platform.db import models
from roost_platform.testing.chats import Person
from roost_workflows.ports import PlannedCall

TEXTS = ["First. ", "Second. ", "Third. ", "Fourth."]


async def parts_of_an_answer(
    ada: Person, sent: int, texts: list[str] = TEXTS, ask: str = "tell me all"
) -> list[StoredPart]:
    """The parts of a new answer, of which this many were sent."""
    await ada.says(ask)
    await ada.agent_says(await ada.turn(), 1, "".join(texts))
    return await planned(ada, sent, texts)


async def planned(ada: Person, sent: int, texts: list[str] = TEXTS) -> list[StoredPart]:
    outbox = ada.stores.outbox
    head = await outbox.next_entry(ada.address)
    assert head is not None
    rendered = [RenderedPart(text, (), 0, len(text)) for text in texts]
    parts = list(await outbox.plan(head[0].id, rendered))
    for part in parts[:sent]:
        await outbox.sending(part.id, "c1", 30.0)
        await outbox.sent(part.id, f"b{part.index}")
    return parts


async def states(ada: Person) -> list[str]:
    """The states of all parts, in their order."""
    async with ada.stores.database.read() as session:
        rows = await session.scalars(
            select(models.Part)
            .join(models.Outbox, models.Outbox.id == models.Part.outbox_id)
            .order_by(models.Outbox.sequence, models.Part.position)
        )
        return [row.state for row in rows]


async def entries(ada: Person) -> list[tuple[str, str]]:
    """State and text of each logical message."""
    async with ada.stores.database.read() as session:
        rows = await session.scalars(select(models.Outbox).order_by(models.Outbox.sequence))
        return [(row.state, row.text) for row in rows]


async def last_note(ada: Person) -> str:
    """What the agent reads last in the transcript."""
    async with ada.stores.database.read() as session:
        rows = await session.scalars(select(models.Transcript).order_by(models.Transcript.position))
        row = rows.all()[-1]
        assert row.role == "system"
        return row.content


@pytest.mark.parametrize("how", ["/stop", "Please stop!"])
async def test_a_stop_drops_the_rest_of_an_answer_and_says_how_much_was_sent(
    ada: Person, how: str
) -> None:
    await parts_of_an_answer(ada, sent=2)
    await ada.says(how)
    assert await states(ada) == ["sent", "sent", "dropped", "dropped"]
    assert await entries(ada) == [
        ("cancelled", "".join(TEXTS)),
        ("pending", "Stopped: 2 of 4 parts were sent."),
    ]
    assert "the user was sent 2 of 4 parts, up to “Second.”" in await last_note(ada)
    head = await ada.stores.outbox.next_entry(ada.address)
    assert head is not None and head[0].text.startswith("Stopped") and head[1] == []
    await ada.says("and now something else")
    assert (await ada.turn()).number == 2


async def test_what_is_in_flight_follows_and_counts_as_sent(ada: Person) -> None:
    parts = await parts_of_an_answer(ada, sent=1)
    await ada.stores.outbox.sending(parts[1].id, "c1", 30.0)
    await ada.says("/stop")
    assert await states(ada) == ["sent", "sending", "dropped", "dropped"]
    assert "the last of them was still on its way" in await last_note(ada)
    head = await ada.stores.outbox.next_entry(ada.address)
    assert head is not None and head[0].is_dropped  # the lane waits for the part in flight
    await ada.stores.outbox.sent(parts[1].id, "b1")
    assert await states(ada) == ["sent", "sent", "dropped", "dropped"]
    assert [state for state, _ in await entries(ada)] == ["cancelled", "pending"]
    assert (await entries(ada))[-1][1] == "Stopped: 2 of 4 parts were sent."


@pytest.mark.parametrize("outcome", ["not_sent", "ambiguous, then absent", "repeat"])
async def test_what_was_in_flight_and_did_not_arrive_is_not_tried_again(
    ada: Person, outcome: str
) -> None:
    outbox, now = ada.stores.outbox, ada.stores.database.now()
    parts = await parts_of_an_answer(ada, sent=1)
    await outbox.sending(parts[1].id, "c1", 30.0)
    await ada.says("/stop")
    if outcome == "repeat":
        await outbox.ambiguous(parts[1].id, Failure("no answer"))
        await outbox.replan(parts[1].id, parts[1].rendered)
    elif outcome == "not_sent":
        await outbox.not_sent(parts[1].id, Failure("429"), retry_at=now + 60)
    else:
        await outbox.ambiguous(parts[1].id, Failure("no answer"))
        head = await outbox.next_entry(ada.address)
        assert head is not None and head[1][1].state == "ambiguous"  # it is settled first
        await outbox.not_sent(parts[1].id, Failure("absent"), retry_at=now)
    assert await states(ada) == ["sent", "dropped", "dropped", "dropped"]
    assert (await entries(ada))[-1] == ("pending", "Stopped: 1 of 4 parts was sent.")


async def test_a_late_proof_of_a_dropped_part_corrects_the_notice(ada: Person) -> None:
    parts = await parts_of_an_answer(ada, sent=1)
    await ada.stores.outbox.sending(parts[1].id, "c1", 30.0)
    await ada.stores.outbox.ambiguous(parts[1].id, Failure("no answer"))
    await ada.says("/stop")
    await ada.stores.outbox.not_sent(parts[1].id, Failure("no proof"), retry_at=0.0)
    assert (await entries(ada))[-1][1] == "Stopped: 1 of 4 parts was sent."
    await ada.intake.receipt("telegram", "42", DeliveryReceipt(parts[1].id, "b1", "delivered"))
    assert await states(ada) == ["sent", "sent", "dropped", "dropped"]
    assert (await entries(ada))[-1][1] == "Stopped: 2 of 4 parts were sent."


async def test_a_courier_that_looked_before_the_stop_starts_nothing_after_it(ada: Person) -> None:
    parts = await parts_of_an_answer(ada, sent=1)
    await ada.says("second question")
    await ada.agent_says(await ada.turn(), 1, "second answer")
    await ada.says("/stop")
    for part in parts[1:]:
        with pytest.raises(PartOver):
            await ada.stores.outbox.sending(part.id, "c1", 30.0)
    async with ada.stores.database.read() as session:
        second = await session.scalar(
            select(models.Outbox.id).where(models.Outbox.text == "second answer")
        )
    assert second is not None
    assert (
        list(await ada.stores.outbox.plan(second, [RenderedPart("second answer", (), 0, 13)])) == []
    )
    notice = "Stopped: 1 of 4 parts was sent. One more answer was not sent."
    assert (await entries(ada))[-1] == ("pending", notice)


async def test_an_answer_that_has_not_begun_is_not_sent_at_all(ada: Person) -> None:
    await ada.says("tell me all")
    await ada.agent_says(await ada.turn(), 1, "everything")
    await ada.says("stop")
    notice = "Stopped: the answer was not sent."
    assert await entries(ada) == [("cancelled", "everything"), ("pending", notice)]
    assert "the user has not seen it" in await last_note(ada)
    await ada.says("/stop")  # its own notice, and what is over, are not stopped once more
    assert (await entries(ada))[1:] == [("pending", notice), ("pending", "Nothing is running.")]


async def test_a_last_part_in_flight_leaves_nothing_to_stop(ada: Person) -> None:
    [part] = await parts_of_an_answer(ada, sent=0, texts=["short"])
    await ada.stores.outbox.sending(part.id, "c1", 30.0)
    await ada.says("stop")
    assert (await ada.inbox())[-1] == ("stop", "pending")  # the word is for the agent
    await ada.says("/stop")
    assert await states(ada) == ["sending"]


async def test_the_console_and_the_api_stop_delivery_too_and_leave_operators_words(
    ada: Person,
) -> None:
    await parts_of_an_answer(ada, sent=1)
    conversation = await ada.conversation_id()
    await ada.stores.operators.say(conversation, "I am Olga.", "olga")
    stopped = await ada.intake.request_stop(conversation, "olga")
    assert stopped.found_something and stopped.undelivered.sent == 1
    assert await entries(ada) == [
        ("cancelled", "".join(TEXTS)),
        ("pending", "I am Olga."),
        ("pending", "Stopped: 1 of 4 parts was sent."),
    ]


async def test_the_button_of_a_turn_that_is_over_stops_the_delivery_of_its_answer(
    ada: Person,
) -> None:
    await ada.says("tell me all")
    turn = await ada.turn()
    button = await ada.stop_button()
    await ada.agent_says(turn, 1, "".join(TEXTS))
    await planned(ada, sent=1)
    forged = button[:-1] + ("0" if button[-1] != "0" else "1")
    await ada.gives(ada.message(forged, kind="callback"))
    assert await states(ada) == ["sent", "planned", "planned", "planned"]
    accepted = await ada.gives(ada.message(button, kind="callback"))
    assert list(accepted.answers.values()) == ["Stopping."]
    assert await states(ada) == ["sent", "dropped", "dropped", "dropped"]
    assert (await entries(ada))[-1][1] == "Stopped: 1 of 4 parts was sent."
    accepted = await ada.gives(ada.message(button, kind="callback"))
    assert list(accepted.answers.values()) == ["That is over already."]


async def test_a_new_conversation_drops_the_rest_of_the_old_one(ada: Person) -> None:
    await parts_of_an_answer(ada, sent=1)
    await ada.says("/new")
    assert await states(ada) == ["sent", "dropped", "dropped", "dropped"]
    told = (await entries(ada))[-1][1]
    assert told.startswith("Stopped: 1 of 4 parts was sent. New conversation.")


async def test_an_interrupt_ends_what_is_half_seen_and_leaves_what_is_finished(
    ada: Person,
) -> None:
    await ada.says("/queue interrupt")
    head = await ada.stores.outbox.next_entry(ada.address)
    assert head is not None
    [part] = await ada.stores.outbox.plan(head[0].id, [RenderedPart("mode", (), 0, 4)])
    await ada.stores.outbox.sending(part.id, "c1", 30.0)
    await ada.stores.outbox.sent(part.id, "b")
    await parts_of_an_answer(ada, sent=1)
    await ada.says("no, something else")
    assert (await states(ada))[1:] == ["sent", "dropped", "dropped", "dropped"]
    assert (await entries(ada))[-1][1] == "Interrupted: 1 of 4 parts was sent."
    await ada.agent_says(await ada.turn(), 1, "a whole answer")
    await ada.says("thanks")
    assert ("pending", "a whole answer") in await entries(ada)


async def test_the_long_rest_of_a_stopped_turn_can_be_stopped_and_its_figures_are_told(
    ada: Person,
) -> None:
    await ada.says("a long task")
    turn = await ada.turn()
    call = PlannedCall("c1", "search", "{}", "unsafe")
    await ada.agent_says(turn, 1, "Looking.", finish="tools", calls=[call])
    await ada.stores.turns.begin_call(turn.turn_id, 1, "c1")
    await ada.stores.turns.finish_call(turn.turn_id, 1, "c1", status="ok", result="found")
    await ada.stores.turns.close_group(turn.turn_id, 1)
    await ada.agent_says(turn, 2, "long " * 400, finish="stopped")
    await planned(ada, sent=1)
    await ada.says("/stop")
    notice = "Stopped: 1 of 4 parts was sent. Stopped after less than a second: 1 done, 0 undone, "
    assert (await entries(ada))[-1][1] == f"{notice}0 unknown."


async def test_an_operator_can_send_a_stopped_answer_that_failed_in_flight(ada: Person) -> None:
    parts = await parts_of_an_answer(ada, sent=1)
    await ada.stores.outbox.sending(parts[1].id, "c1", 30.0)
    await ada.says("/stop")
    await ada.stores.outbox.failed(parts[1].id, Failure("Bad Request"))
    assert (await entries(ada))[0][0] == "failed"
    assert (await entries(ada))[-1][1] == "Stopped: 1 of 4 parts was sent."
    await ada.stores.operators.redrive(parts[1].id, "olga")
    await ada.stores.outbox.sending(parts[1].id, "c1", 30.0)
    await ada.stores.outbox.not_sent(parts[1].id, Failure("429"), retry_at=0.0)
    assert (await states(ada))[1] == "not_sent"
    await ada.stores.outbox.sent(parts[1].id, "b1")
    assert (await entries(ada))[0][0] == "cancelled"
