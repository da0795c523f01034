"""Plain text, taps and forms while questions are open; messages that are held meanwhile."""

import json
from dataclasses import replace

import pytest

from roost.waits import Approve, Ask, Question, Sleep
from roost_channels.message import Address, Attachment, Quote
from roost_channels.rendering.parts import RenderedPart
from roost_platform.db import models
from roost_platform.testing.chats import HandClock, Person, count_rows
from roost_platform.testing.waiting import BOOKING, Parked, begun, booking, delivered, waiting

DAY = Question("Which day?", ("Friday", "Monday"))
NAME = Question("Your name?")
CHOICE = Question("Tea or coffee?", ("Tea", "Coffee"), free_text=False)


async def result(parked: Parked, call_id: str = "c0") -> str:
    """What the call gets."""
    waits = parked.person.stores.waits
    outcome = await waits.outcome(parked.turn.turn_id, 1, call_id)
    assert outcome is not None
    return outcome.text


async def last(person: Person) -> str:
    """The newest message of ours."""
    return (await person.outbox())[-1][1]


@pytest.mark.parametrize(
    ("said", "answer"),
    [("Friday", "Friday"), ("  monday ", "Monday"), ("2", "Monday"), ("in May", "in May")],
)
async def test_plain_text_is_the_answer(sqlite_ada: Person, said: str, answer: str) -> None:
    parked = await waiting(sqlite_ada, Ask((DAY,)))
    await sqlite_ada.says(said)
    assert await result(parked) == answer
    assert (await sqlite_ada.inbox())[-1] == (said, "done")
    assert sqlite_ada.doorbell.rung[-1] == parked.turn.conversation_id


async def test_a_tap_on_an_option_is_the_answer(ada: Person) -> None:
    parked = await waiting(ada, Ask((DAY,)))
    assert await parked.taps("0.1") == "Noted."
    assert await result(parked) == "Monday"
    assert (await parked.taps("0.0")).startswith("Answered by Ada ")


async def test_a_phrase_that_stops_is_an_answer_where_it_is_an_option(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((Question("Go on?", ("Go on", "Cancel")),)))
    await sqlite_ada.says("cancel")
    assert await result(parked) == "Cancel"
    assert await parked.state() == "waiting"


async def test_numbers_that_are_options_mean_themselves(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((Question("How many?", ("2", "3")),)))
    await sqlite_ada.says("2")
    assert await result(parked) == "2"


async def test_other_words_are_asked_again_where_only_options_count(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((CHOICE,)))
    await sqlite_ada.says("cocoa")
    assert await last(sqlite_ada) == "Please choose one of: Tea, Coffee."
    assert await parked.state() == "waiting"
    await sqlite_ada.says("TEA")
    assert await result(parked) == "Tea"


async def test_a_form_asks_one_after_another_and_repeats_the_one_that_lacks_an_answer(
    ada: Person,
) -> None:
    parked = await waiting(ada, Ask((DAY, CHOICE, NAME)))
    await ada.says("Friday")
    assert "(2 of 3)" in await last(ada)
    assert await parked.taps("0.1") == "That was answered already."
    await ada.says("cocoa")
    assert await last(ada) == "Please choose one of: Tea, Coffee."
    await parked.taps("1.0")
    assert await parked.calls() == {"c0": "waiting"}
    await ada.says("Ada L.")
    answers = {"Which day?": "Friday", "Tea or coffee?": "Tea", "Your name?": "Ada L."}
    assert json.loads(await result(parked)) == answers


async def test_parallel_questions_get_their_own_answers(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((NAME,)), Ask((Question("Your town?"),)))
    first, second = await parked.approvals()
    await delivered(sqlite_ada)
    await sqlite_ada.says("Paris")
    assert "Several questions are open" in await last(sqlite_ada)
    reply = Quote(f"x{second.card_id}", "bot", "Your town?", "Your town?")
    await sqlite_ada.gives(sqlite_ada.message("Paris", quote=reply))
    assert await result(parked, second.call_id) == "Paris"
    await sqlite_ada.says("Ada")
    assert await result(parked, first.call_id) == "Ada"


async def test_what_was_written_before_the_card_arrived_is_no_answer(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((NAME,)))
    outbox = sqlite_ada.stores.outbox
    head = await outbox.next_entry(sqlite_ada.address)
    assert head is not None
    await outbox.plan(head[0].id, [RenderedPart("Your name?", (), 0, 10)])
    await sqlite_ada.says("hello?")
    assert await parked.calls() == {"c0": "waiting"}
    assert (await sqlite_ada.inbox())[-1] == ("hello?", "pending")


async def test_only_the_requesters_words_answer_in_a_group(ada: Person) -> None:
    ada.address = Address("telegram", "42", "-100", is_group=True)
    parked = await waiting(ada, Ask((NAME,)))
    bob = replace(ada.sender, address="2002", display_name="Bob", username="bob", aliases=())
    await ada.gives(replace(ada.message("Bob"), sender=bob))
    assert await parked.calls() == {"c0": "waiting"}
    await ada.says("Ada")
    assert await result(parked) == "Ada"


async def test_text_is_held_and_answered_once_while_an_approval_is_open(ada: Person) -> None:
    parked = await booking(ada)
    await ada.says("yes", "and hurry")
    assert [state for _, state in await ada.inbox()][1:] == ["pending", "pending"]
    held = [text for _, text in await ada.outbox() if text.startswith("I am waiting for")]
    assert len(held) == 1 and "your decision on `book`" in held[0]
    await parked.taps("a")
    turn = await parked.go_on()
    await ada.stores.turns.begin_call(turn.turn_id, 1, "c0")
    await ada.stores.turns.finish_call(turn.turn_id, 1, "c0", status="ok", result="booked")
    await ada.stores.turns.close_group(turn.turn_id, 1)
    assert (await ada.stores.turns.context(turn.turn_id, 2)).steered == 2


async def test_a_sleep_says_until_when_and_how_to_end_it(
    sqlite_ada: Person, clock: HandClock
) -> None:
    parked = await waiting(sqlite_ada, Sleep(clock.now + 3600))
    await sqlite_ada.says("hello?", "hello??")
    assert len(await sqlite_ada.outbox()) == 1
    assert "/stop ends the wait" in await last(sqlite_ada)
    await sqlite_ada.says("/stop")
    assert await parked.state() == "stopped"


async def test_interrupt_mode_ends_no_wait(sqlite_ada: Person) -> None:
    await sqlite_ada.says("/queue interrupt")
    parked = await booking(sqlite_ada)
    await sqlite_ada.says("are you there?")
    assert await parked.state() == "waiting"
    assert sqlite_ada.doorbell.stopped == []


async def test_status_says_what_is_waited_for(sqlite_ada: Person) -> None:
    await booking(sqlite_ada)
    await sqlite_ada.says("/status")
    assert "Waiting for your decision on `book`: day: Friday" in await last(sqlite_ada)


async def test_a_flow_is_told_yes_or_no(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Approve("Spend 900 EUR?"))
    await sqlite_ada.says("/deny too much")
    assert await result(parked) == "denied: too much"


async def test_files_beside_an_answer_reach_the_agent(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((NAME,)))
    photo = Attachment("photo", "p1")
    await sqlite_ada.gives(replace(sqlite_ada.message(""), attachments=(photo,)))
    assert await parked.calls() == {"c0": "waiting"}
    await sqlite_ada.gives(replace(sqlite_ada.message("Ada"), attachments=(photo,)))
    assert await result(parked) == "Ada"
    assert [state for _, state in await sqlite_ada.inbox()][1:] == ["pending", "pending"]


@pytest.mark.parametrize(
    ("kind", "told"), [("location", "48.85,2.35"), ("contact", "Ana Lima, +351 91")]
)
async def test_a_place_or_a_contact_is_an_answer(sqlite_ada: Person, kind: str, told: str) -> None:
    parked = await waiting(sqlite_ada, Ask((NAME,)))
    shared = Attachment(kind, "", told)
    await sqlite_ada.gives(replace(sqlite_ada.message(""), attachments=(shared,)))
    assert await result(parked) == f"[{kind}: {told}]"
    assert (await sqlite_ada.inbox())[-1] == ("", "done")


async def test_a_place_is_asked_again_where_only_options_count(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((CHOICE,)))
    shared = Attachment("location", "", "48.85,2.35")
    await sqlite_ada.gives(replace(sqlite_ada.message(""), attachments=(shared,)))
    assert await last(sqlite_ada) == "Please choose one of: Tea, Coffee."
    assert await parked.state() == "waiting"


async def test_other_asks_for_words(sqlite_ada: Person) -> None:
    parked = await waiting(sqlite_ada, Ask((DAY,)))
    await parked.taps("o0")
    await parked.taps("o0")
    assert [kind for kind, _ in await sqlite_ada.outbox()].count("prompt") == 1
    await sqlite_ada.says("Sunday")
    assert await result(parked) == "Sunday"


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("1", "approved"),
        ("2", "denied"),
        ("Approve", "approved"),
        ("no", "denied"),
        ("YES.", "approved"),
        ("yes please", "pending"),
        ("no, 2 of them", "pending"),
        ("11", "pending"),
    ],
)
async def test_exact_words_decide_where_buttons_may_be_missing(
    grace: Person, said: str, state: str
) -> None:
    parked = await booking(grace)
    await delivered(grace)
    await grace.says(said)
    assert (await parked.approval()).state == state


@pytest.mark.parametrize("said", ["yes", "1", "approve"])
async def test_words_decide_nothing_where_there_are_buttons(sqlite_ada: Person, said: str) -> None:
    parked = await booking(sqlite_ada)
    await sqlite_ada.says(said)
    assert (await parked.approval()).state == "pending"


async def test_a_code_says_which_of_several_is_meant(grace: Person) -> None:
    parked = await begun(grace, "book", "book")
    await parked.gate()
    await parked.gate(call_id="c1")
    first, second = await parked.approvals()
    await delivered(grace)
    await grace.says("1")
    told = await last(grace)
    assert first.code in told and second.code in told
    await grace.says(f"1 {second.code}")
    await grace.says(f"/deny {first.code} not now")
    assert [one.state for one in await parked.approvals()] == ["denied", "approved"]
    assert (await parked.approvals())[0].reason == "not now"


@pytest.mark.parametrize("command", ["approve", "deny"])
async def test_the_code_of_a_card_that_is_decided_decides_no_other_card(
    grace: Person, command: str
) -> None:
    parked = await begun(grace, "book", "book")
    await parked.gate()
    await parked.gate(call_id="c1")
    first, _ = await parked.approvals()
    await grace.intake.decide(first.id, "deny", "", "max", "console")
    await grace.says(f"/{command} {first.code.lower()}")
    assert [one.state for one in await parked.approvals()] == ["denied", "pending"]
    assert (await last(grace)).startswith("Denied by max")
    await grace.says(f"/{command}")
    assert (await parked.approvals())[1].state != "pending"


async def test_the_code_of_somebody_elses_card_decides_no_other_card(grace: Person) -> None:
    parked = await begun(grace, "book", "book")
    await parked.gate(replace(BOOKING, approver="operator"))
    await parked.gate(call_id="c1")
    theirs, _ = await parked.approvals()
    await grace.says(f"/approve {theirs.code}")
    assert [one.state for one in await parked.approvals()] == ["pending", "pending"]
    assert await last(grace) == "Somebody else has to decide this."


async def test_a_mistyped_code_decides_nothing(grace: Person) -> None:
    parked = await booking(grace)
    card = await parked.approval()
    wrong = "AAA" if card.code != "AAA" else "BBB"
    for command in ("approve", "deny"):
        await grace.says(f"/{command} {wrong} as we said")
        assert (await parked.approval()).state == "pending"
        told = await last(grace)
        assert f"code `{wrong}`" in told and card.code in told
    await grace.says("/deny not this one")
    assert (await parked.approval()).state == "denied"
    assert (await parked.approval()).reason == "not this one"


async def test_a_word_from_before_the_card_approves_nothing(grace: Person) -> None:
    parked = await booking(grace)
    await grace.says("yes")  # as to a template that opens the window: the card has not left
    assert (await parked.approval()).state == "pending"
    await delivered(grace)
    await grace.says("yes")
    assert (await parked.approval()).state == "approved"


@pytest.mark.parametrize(
    "said",
    [
        "\N{FULLWIDTH DIGIT ONE}",
        "approve.",
        " APPROVE ",
        "{code} 1",
        "1 {code}",
        "\N{FULLWIDTH DIGIT ONE} {code}",
    ],
)
async def test_words_and_wide_digits_decide_in_any_case_with_the_code_on_either_side(
    grace: Person, said: str
) -> None:
    parked = await booking(grace)
    await delivered(grace)
    await grace.says(said.format(code=(await parked.approval()).code.lower()))
    assert (await parked.approval()).state == "approved"


@pytest.mark.parametrize(
    "said",
    [
        "approve 👍",
        "approve it",
        "approve?",
        "1.5",
        "\N{FULLWIDTH DIGIT ONE}\N{FULLWIDTH DIGIT ONE}",
    ],
)
async def test_anything_beyond_the_exact_words_is_no_decision(grace: Person, said: str) -> None:
    parked = await booking(grace)
    await delivered(grace)
    await grace.says(said)
    assert (await parked.approval()).state == "pending"
    assert "I am waiting for your decision" in await last(grace)


async def test_a_number_that_may_answer_a_question_approves_nothing(grace: Person) -> None:
    parked = await waiting(grace, Approve("Pay?"), Ask((DAY,)))
    payment, question = await parked.approvals()
    await delivered(grace)
    await grace.says("1")
    told = await last(grace)
    assert payment.code in told and question.code in told
    assert [one.state for one in await parked.approvals()] == ["pending"] * 2
    await grace.says(f"1 {question.code}")
    assert await result(parked, question.call_id) == "Friday"
    await grace.says("1")
    assert (await parked.approvals())[0].state == "approved"


async def test_the_words_of_a_card_are_those_that_decide(grace: Person) -> None:
    """Also the fourth choice, which only a call that was approved before has."""
    for _ in range(2):
        parked = await booking(grace)
        await delivered(grace)
        card_id = (await parked.approval()).card_id
        async with grace.stores.database.read() as session:
            card = await session.get_one(models.Outbox, card_id)
        words = {button["label"]: button["word"] for button in card.buttons}
        await grace.says(words.get("Always (7 days)", words["Approve"]))
        turn = await parked.go_on()
        await grace.stores.turns.begin_call(turn.turn_id, 1, "c0")
        await grace.stores.turns.finish_call(turn.turn_id, 1, "c0", status="ok", result="booked")
        await grace.stores.turns.close_group(turn.turn_id, 1)
        await grace.agent_says(turn, 2, "Booked.")
    assert words["Always (7 days)"] == "4"
    assert await count_rows(grace.stores, models.Grant) == 1


async def test_no_word_stands_for_an_answer_in_words(grace: Person) -> None:
    parked = await waiting(grace, Ask((DAY,)))
    async with grace.stores.database.read() as session:
        card = await session.get_one(models.Outbox, (await parked.approval()).card_id)
    assert [button["word"] for button in card.buttons] == ["1", "2", ""]
    numbers = await waiting_numbers(grace, parked)
    assert numbers == ["2", "3"]  # an option that is a number means itself


async def waiting_numbers(person: Person, parked: Parked) -> list[str]:
    """The words of a card whose options are numbers."""
    await person.says("Friday")
    turn = await parked.go_on()
    await person.agent_says(turn, 2, "Noted.")
    again = await waiting(person, Ask((Question("How many?", ("2", "3"), free_text=False),)))
    async with person.stores.database.read() as session:
        card = await session.get_one(models.Outbox, (await again.approval()).card_id)
    return [button["word"] for button in card.buttons]
