"""Messages that reply to a card, to what was said of it, or to another card."""

import pytest
from sqlalchemy import select

from roost.waits import Approve, Ask, Question
from roost_channels.message import Quote
from roost_platform.db import models
from roost_platform.db.due.questions import DueQuestions
from roost_platform.testing.chats import HandClock, Person
from roost_platform.testing.waiting import Parked, begun, booking, delivered, waiting

DAY = Question("Which day?", ("Friday", "Monday"))
NAME, TOWN = Question("Your name?"), Question("Your town?")


async def reply_to(person: Person, begins: str, text: str) -> None:
    """Reply to the newest message of ours that begins so."""
    await delivered(person)
    message_id = await sent_as(person, begins)
    await person.gives(person.message(text, quote=Quote(message_id, "bot", "", "")))


async def sent_as(person: Person, begins: str) -> str:
    """The network's id of the newest message of ours that begins so."""
    async with person.stores.database.read() as session:
        entry_id = await session.scalar(
            select(models.Outbox.id)
            .where(models.Outbox.text.startswith(begins), models.Outbox.edits_id.is_(None))
            .order_by(models.Outbox.sequence.desc())
            .limit(1)
        )
    assert entry_id is not None
    return f"x{entry_id}"


async def reminded(person: Person, clock: HandClock) -> None:
    """Let half of the time pass, so that the reminder comes."""
    clock.advance(13 * 3600.0)
    await DueQuestions(person.stores.database).fire(clock.now, 10)


async def two_bookings(person: Person) -> Parked:
    """A turn that asks about two calls."""
    parked = await begun(person, "book", "book")
    await parked.gate()
    await parked.gate(call_id="c1")
    assert await parked.park()
    await delivered(person)
    return parked


async def states(parked: Parked) -> list[str]:
    return [one.state for one in await parked.approvals()]


async def test_yes_in_reply_to_the_reminder_is_the_decision(
    grace: Person, clock: HandClock
) -> None:
    parked = await booking(grace)
    await delivered(grace)
    await reminded(grace, clock)
    await reply_to(grace, "I am still waiting", "yes")
    assert await states(parked) == ["approved"]


@pytest.mark.parametrize("begins", ["I am waiting for your decision", "`book`"])
async def test_yes_in_reply_to_what_was_said_of_the_card_is_the_decision(
    sqlite_ada: Person, begins: str
) -> None:
    parked = await booking(sqlite_ada)
    await delivered(sqlite_ada)
    await sqlite_ada.says("is it far?")
    await parked.taps("i")  # Details
    await reply_to(sqlite_ada, begins, "yes")
    assert await states(parked) == ["approved"]


async def test_words_in_reply_to_their_prompt_answer_that_question(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((DAY,)), Ask((TOWN,)))
    await delivered(sqlite_ada)
    day, _ = await parked.approvals()
    await parked.taps("o0", day)  # Other…
    await reply_to(sqlite_ada, "Write your answer: Which day?", "Sunday")
    assert [one.answers for one in await parked.approvals()] == [["Sunday"], []]


async def test_a_code_counts_in_reply_to_the_message_that_asks_for_it(grace: Person) -> None:
    parked = await two_bookings(grace)
    first, _ = await parked.approvals()
    await grace.says("yes")
    await reply_to(grace, "Several are open", "yes")
    assert await states(parked) == ["pending", "pending"]
    await reply_to(grace, "Several are open", f"yes {first.code}")
    assert await states(parked) == ["approved", "pending"]


@pytest.mark.parametrize(("said", "state"), [("/approve", "approved"), ("/deny BAD", "denied")])
async def test_a_command_in_reply_to_a_card_is_about_that_card(
    sqlite_ada: Person, said: str, state: str
) -> None:
    parked = await two_bookings(sqlite_ada)
    await reply_to(sqlite_ada, "**concierge asks", said)
    assert sorted(await states(parked)) == sorted([state, "pending"])


@pytest.mark.parametrize("written", ["{code}.", "{code}!", "{wide}", "{wide}: too dear"])
async def test_the_code_behind_a_command_counts_as_keyboards_write_it(
    sqlite_ada: Person, written: str
) -> None:
    parked = await two_bookings(sqlite_ada)
    first, _ = await parked.approvals()
    wide = "".join(chr(ord(letter) + 0xFEE0) for letter in first.code)
    await sqlite_ada.says(f"/deny {written.format(code=first.code.lower(), wide=wide)}")
    assert await states(parked) == ["denied", "pending"]
    assert (await parked.approvals())[0].reason == ("too dear" if "too" in written else "")


async def test_a_command_in_reply_to_a_card_that_is_over_decides_no_other_card(
    sqlite_ada: Person,
) -> None:
    parked = await two_bookings(sqlite_ada)
    newest = await sent_as(sqlite_ada, "**concierge asks")
    [over] = [one for one in await parked.approvals() if f"x{one.card_id}" == newest]
    await sqlite_ada.intake.decide(over.id, "deny", "", "max", "console")
    await reply_to(sqlite_ada, "**concierge asks", "/approve")
    assert sorted(await states(parked)) == ["denied", "pending"]
    assert (await sqlite_ada.outbox())[-1][1].startswith("Denied by max")


async def test_a_reply_to_one_card_answers_no_question_of_another(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Approve("Pay 90 €?"), Ask((NAME,)))
    await delivered(sqlite_ada)
    await reply_to(sqlite_ada, "**concierge asks for approval", "why so much?")
    assert await states(parked) == ["pending", "pending"]
    assert (await sqlite_ada.inbox())[-1] == ("why so much?", "pending")
    await sqlite_ada.says("Ada")
    assert sorted(await states(parked)) == ["answered", "pending"]


async def test_a_reply_to_an_answered_question_of_a_form_does_not_answer_the_next(
    sqlite_ada: Person,
) -> None:
    parked = await waiting(sqlite_ada, Ask((NAME, TOWN)))
    await delivered(sqlite_ada)
    await sqlite_ada.says("Adda")
    await reply_to(sqlite_ada, "**concierge asks (1 of 2)", "I mean Ada")
    assert (await parked.approval()).answers == ["Adda"]
    assert (await sqlite_ada.inbox())[-1] == ("I mean Ada", "pending")  # read after the form
