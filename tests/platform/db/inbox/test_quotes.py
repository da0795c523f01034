"""Quotes with what we know: parts of long answers, other topics, and never as a reply target."""

from dataclasses import replace

import pytest

from roost_channels.message import Address, Quote, Sender
from roost_channels.rendering.parts import RenderedPart
from roost_platform.testing.chats import Person
from roost_workflows.ports import TranscriptMessage

TEXTS = ["First 😀. ", "Second. ", "Third part."]


async def said(person: Person, text: str, quote: Quote | None = None) -> TranscriptMessage:
    """What the agent sees of a message that came with this quote."""
    await person.gives(person.message(text, quote=quote))
    turn = await person.turn()
    context = await person.stores.turns.context(turn.turn_id, 1)
    return context.messages[-1]


async def long_answer(person: Person) -> None:
    """An answer that went out in three parts with the ids 501, 502, 503."""
    await person.says("tell me all")
    await person.agent_says(await person.turn(), 1, "".join(TEXTS))
    found = await person.stores.outbox.next_entry(person.address)
    assert found is not None
    rendered = [RenderedPart(text, (), 0, len(text)) for text in TEXTS]
    for number, part in enumerate(await person.stores.outbox.plan(found[0].id, rendered), 501):
        await person.stores.outbox.sending(part.id, "c", 30.0)
        await person.stores.outbox.sent(part.id, str(number))


async def test_r17_a_reply_to_a_part_of_a_long_answer_means_its_passage(sqlite_ada: Person) -> None:
    ada = sqlite_ada
    await long_answer(ada)
    as_told = Quote("503", "bot", "Third part.", "Third part.")
    quoted = (await said(ada, "this one?", as_told)).quoted
    assert quoted is not None
    assert (quoted["text"], quoted["excerpt"]) == ("".join(TEXTS), "Third part.")
    assert quoted["utf16_start"] == len("First 😀. Second. ") + 1  # an emoji is two units


async def test_r17_a_selection_in_a_part_is_placed_in_the_whole_answer(sqlite_ada: Person) -> None:
    await long_answer(sqlite_ada)
    selected = Quote("503", "bot", "Third part.", "part", 6, is_manual=True)
    quoted = (await said(sqlite_ada, "which?", selected)).quoted
    assert quoted is not None and quoted["excerpt"] == "part" and quoted["is_manual"]
    whole = quoted["text"].encode("utf-16-le")
    start = 2 * quoted["utf16_start"]
    assert whole[start : start + 8].decode("utf-16-le") == "part"


async def test_r17_the_answer_replies_to_the_question_and_not_to_what_it_quotes(
    sqlite_ada: Person,
) -> None:
    ada = sqlite_ada
    await long_answer(ada)
    question = ada.message("why?", quote=Quote("502", "bot", "Second. ", "Second. "))
    await ada.gives(question)
    turn = await ada.turn()
    await ada.agent_says(turn, 1, "Because.")
    found = await ada.stores.outbox.next_entry(ada.address)
    assert found is not None and found[0].reply_to is not None
    assert found[0].reply_to.message_id == question.message_id and not found[0].reply_to.quote


async def test_r17_a_burst_of_three_is_answered_at_the_newest_each_with_its_own_quote(
    sqlite_ada: Person,
) -> None:
    ada = sqlite_ada
    await long_answer(ada)
    burst = [
        ada.message("one"),
        ada.message("two", quote=Quote("501", "bot", TEXTS[0], TEXTS[0])),
        ada.message("three", quote=Quote("9", "other", "a stranger's words", "stranger")),
    ]
    await ada.gives(*burst)
    turn = await ada.turn()
    context = await ada.stores.turns.context(turn.turn_id, 1)
    quotes = [m.quoted["excerpt"] if m.quoted else None for m in context.messages[-3:]]
    assert quotes == [None, TEXTS[0], "stranger"]
    await ada.agent_says(turn, 1, "All three.")
    found = await ada.stores.outbox.next_entry(ada.address)
    assert found is not None and found[0].reply_to is not None
    assert found[0].reply_to.message_id == burst[-1].message_id


async def test_r17_a_quote_from_another_topic_is_known_by_its_id(sqlite_ada: Person) -> None:
    work = replace(sqlite_ada, address=Address("telegram", "42", "-100", "9", is_group=True))
    await long_answer(work)
    home = replace(sqlite_ada, address=Address("telegram", "42", "-100", "1", is_group=True))
    without_words = Quote("502", "bot", "", "", resolved=False)
    quoted = (await said(home, "@bot and here?", without_words)).quoted
    assert quoted is not None and quoted["resolved"] and quoted["excerpt"] == "Second. "


@pytest.mark.parametrize(
    "quote",
    [
        Quote("3", "user", "my own words", "own", 3, is_manual=True),
        Quote("4", "other", "[photo]", "[photo]"),
        Quote(None, "other", "from elsewhere", "from elsewhere", 2, is_manual=True),
        Quote("999", "bot", "an answer of another time", "an answer of another time"),
        Quote("998", "user", "", "", resolved=False),
    ],
)
async def test_r18_a_quote_that_we_know_nothing_more_of_stays_as_it_came(
    sqlite_ada: Person, quote: Quote
) -> None:
    quoted = (await said(sqlite_ada, "hm", quote)).quoted
    assert quoted is not None and Quote(**quoted) == quote


async def test_r17_a_message_of_another_chat_is_never_taken_for_the_quoted_one(
    sqlite_ada: Person,
) -> None:
    await long_answer(sqlite_ada)
    bob = replace(
        sqlite_ada, address=Address("telegram", "42", "2002"), sender=Sender("2002", "Bob")
    )
    unknown = Quote("502", "bot", "", "", resolved=False)
    quoted = (await said(bob, "and?", unknown)).quoted
    assert quoted is not None and not quoted["resolved"] and quoted["text"] == ""


async def test_an_answer_that_newer_messages_overtake_before_it_is_planned_says_so(
    ada: Person,
) -> None:
    await ada.says("first")
    await ada.agent_says(await ada.turn(), 1, "The answer to the first.")
    found = await ada.stores.outbox.next_entry(ada.address)
    assert found is not None and found[0].reply_to is not None and found[0].reply_to.is_latest
    await ada.says("second")
    found = await ada.stores.outbox.next_entry(ada.address)
    assert found is not None and found[0].reply_to is not None
    assert not found[0].reply_to.is_latest
    # Once planned it stays as it is: a repeat must read like the first try.
    await ada.agent_says(await ada.turn(), 1, "The answer to the second.")
    await ada.stores.outbox.plan(found[0].id, [RenderedPart("The answer", (), 0, 10)])
    assert await ada.stores.outbox.next_entry(ada.address) is not None


async def test_the_answer_to_a_reply_is_a_reply(sqlite_ada: Person) -> None:
    await sqlite_ada.gives(sqlite_ada.message("why?", quote=Quote("1", "other", "x", "x")))
    await sqlite_ada.agent_says(await sqlite_ada.turn(), 1, "Because.")
    found = await sqlite_ada.stores.outbox.next_entry(sqlite_ada.address)
    assert found is not None and found[0].reply_to is not None
    assert found[0].reply_to.is_reply and found[0].reply_to.is_latest
