"""Receipts in any order, and quotes resolved to what was said."""

import re
from dataclasses import replace
from typing import Any

import pytest

from roost_channels.errors import Failure
from roost_channels.intake import DeliveryReceipt, Refusal
from roost_channels.message import Attachment, Media, Quote
from roost_channels.outbox import EarlierSend, StatusMessage, StoredPart
from roost_channels.rendering.parts import RenderedPart
from roost_platform.db import models
from roost_platform.testing.chats import HandClock, Person

TEXTS = ["First 😀. ", "Second. ", "Third."]


async def parts_of_an_answer(ada: Person) -> list[StoredPart]:
    await ada.says("hello")
    await ada.agent_says(await ada.turn(), 1, "".join(TEXTS))
    first_entry = await ada.stores.outbox.next_entry(ada.address)
    assert first_entry is not None
    rendered = [RenderedPart(text, (), 0, len(text)) for text in TEXTS]
    return list(await ada.stores.outbox.plan(first_entry[0].id, rendered))


async def receipt(
    ada: Person, status: str, *, part_id: str = "", message_id: str = "", **about: Any
) -> None:
    report = DeliveryReceipt(part_id, message_id, status, **about)
    await ada.intake.receipt("telegram", "42", report)


async def row_of(ada: Person, part: StoredPart) -> models.Part:
    async with ada.stores.database.read() as session:
        return await session.get_one(models.Part, part.id)


async def test_r20_receipts_only_go_forward(ada: Person) -> None:
    part, *_ = await parts_of_an_answer(ada)
    await ada.stores.outbox.sending(part.id, "c1", 30.0)
    await ada.stores.outbox.sent(part.id, "SM1")
    for status, shown in [
        ("queued", ""),
        ("sent", "sent"),
        ("delivered", "delivered"),
        ("sent", "delivered"),
        ("delivered", "delivered"),
        ("read", "read"),
        ("delivered", "read"),
        ("failed", "read"),
        ("a status of tomorrow", "read"),
    ]:
        await receipt(ada, status, message_id="SM1")
        assert (await row_of(ada, part)).receipt == shown
    notes = [line["note"] for line in (await row_of(ada, part)).evidence]
    assert notes == ["A late receipt says failed, but it was read before."]


async def test_the_next_part_learns_what_went_before_it_and_how_far_that_came(
    ada: Person, clock: HandClock
) -> None:
    part, other, third = await parts_of_an_answer(ada)
    outbox, receipts = ada.stores.outbox, ada.stores.receipts
    await outbox.sending(part.id, "c1", 30.0)
    assert await receipts.earlier(ada.address, before=other.id) == []
    await outbox.sent(part.id, "wamid.1")
    # Taken by the provider is not yet on its way: that, only a receipt tells.
    taken = EarlierSend(part.id, "wamid.1", clock())
    assert await receipts.earlier(ada.address, before=other.id) == [taken]
    assert await receipts.earlier(ada.address, before=part.id) == []
    await receipt(ada, "sent", part_id=part.id, message_id="wamid.1")
    assert await receipts.earlier(ada.address, before=other.id) == [replace(taken, status="sent")]
    clock.advance(1.0)
    await outbox.sending(other.id, "c1", 30.0)
    await outbox.sent(other.id, "wamid.2")
    await receipt(ada, "failed", part_id=other.id)
    refused = EarlierSend(other.id, "wamid.2", clock(), "failed")
    assert await receipts.earlier(ada.address, before=third.id) == [refused]
    both = await receipts.earlier(ada.address, before=third.id, limit=5)
    assert both == [refused, replace(taken, status="sent")]
    nobody = replace(ada.address, chat="somebody else")
    assert await receipts.earlier(nobody, before=third.id) == []


async def test_words_about_the_work_count_as_what_went_before(
    ada: Person, clock: HandClock
) -> None:
    await ada.says("a long task")
    turn = await ada.turn()
    status = StatusMessage(turn.turn_id, ada.address, None, "still working", "closed", clock())
    await ada.stores.outbox.put_status_message(status)
    assert await ada.stores.receipts.earlier(ada.address, before="") == []
    await ada.stores.outbox.put_status_message(replace(status, message_id="wamid.1"))
    sends = await ada.stores.receipts.earlier(ada.address, before="")
    assert sends == [EarlierSend("", "wamid.1", clock())]


@pytest.mark.parametrize("state", ["sending", "ambiguous"])
async def test_a_receipt_proves_an_uncertain_send(ada: Person, state: str) -> None:
    part, *_ = await parts_of_an_answer(ada)
    await ada.stores.outbox.sending(part.id, "c1", 30.0)
    if state == "ambiguous":
        await ada.stores.outbox.ambiguous(part.id, Failure("timed out"))
    await receipt(ada, "queued", part_id=part.id, message_id="SM1")
    row = await row_of(ada, part)
    assert (row.state, row.message_id, row.receipt) == ("sent", "SM1", "")
    await ada.stores.outbox.ambiguous(part.id, Failure("and now the time-out arrives"))
    assert (await row_of(ada, part)).state == "sent"


async def test_r20_a_failure_after_acceptance_is_a_dead_letter_for_good(ada: Person) -> None:
    part, *_ = await parts_of_an_answer(ada)
    await ada.stores.outbox.sent(part.id, "SM1")
    await receipt(
        ada,
        "undelivered",
        part_id=part.id,
        message_id="SM1",
        error_code="63024",
        description="invalid recipient",
    )
    for late in ("sent", "delivered", "undelivered"):
        await receipt(ada, late, message_id="SM1")
    row = await row_of(ada, part)
    assert (row.state, row.receipt) == ("failed", "failed")
    assert row.error == "undelivered 63024 invalid recipient"
    assert await ada.stores.outbox.next_entry(ada.address) is None
    await ada.stores.redrive(part.id, "olga")
    assert (await row_of(ada, part)).message_id is None


async def test_words_that_are_refused_after_their_acceptance_stay_refused(ada: Person) -> None:
    part, *_ = await parts_of_an_answer(ada)
    await ada.stores.outbox.sent(part.id, "SM1")
    refusal = Refusal(of_content=True)
    await receipt(ada, "failed", part_id=part.id, message_id="SM1", refusal=refusal)
    assert (await row_of(ada, part)).state == "failed"


async def test_r21_a_window_found_closed_after_acceptance_holds_the_part(
    ada: Person, clock: HandClock
) -> None:
    part, *_ = await parts_of_an_answer(ada)
    outbox = ada.stores.outbox
    await outbox.sending(part.id, "c1", 30.0)
    await outbox.sent(part.id, "SM1")
    closed: Any = {"error_code": "63016", "refusal": Refusal(held=True)}
    for _ in range(2):
        await receipt(ada, "failed", part_id=part.id, message_id="SM1", **closed)
    row = await row_of(ada, part)
    assert (row.state, row.message_id, row.receipt) == ("not_sent", None, "")
    assert await outbox.due([("telegram", "42")], clock.now) == []
    await receipt(ada, "sent", part_id=part.id, message_id="SM1")  # late, of the refused try
    assert (await row_of(ada, part)).state == "not_sent"
    await ada.says("I am back")
    assert await outbox.due([("telegram", "42")], clock.now) == [ada.address]
    await outbox.sending(part.id, "c1", 30.0)
    await outbox.sent(part.id, "SM2")
    await receipt(ada, "failed", part_id=part.id, message_id="SM1", **closed)
    row = await row_of(ada, part)
    assert (row.state, row.message_id) == ("sent", "SM2")


async def test_receipts_of_other_accounts_and_strangers_are_ignored(ada: Person) -> None:
    part, *_ = await parts_of_an_answer(ada)
    await ada.stores.outbox.sent(part.id, "SM1")
    await receipt(ada, "read", message_id="SM9")
    await ada.intake.receipt("whatsapp", "w", DeliveryReceipt(part.id, "SM1", "read"))
    assert (await row_of(ada, part)).receipt == ""


async def test_a_quote_of_one_part_is_its_passage_in_the_whole_answer(ada: Person) -> None:
    parts = await parts_of_an_answer(ada)
    for number, part in enumerate(parts):
        await ada.stores.outbox.sent(part.id, f"b{number}")
    quote = await ada.intake.resolve_quote("telegram", "42", "1001", "b1")
    assert quote == Quote("b1", "bot", "".join(TEXTS), "Second. ", utf16_start=10)


async def test_a_quote_of_an_inbound_message_is_its_newest_text(ada: Person) -> None:
    first = ada.message("helo")
    await ada.gives(first)
    await ada.gives(replace(first, event_id="edit", text="hello", kind="edited"))
    quote = await ada.intake.resolve_quote("telegram", "42", "1001", first.message_id)
    assert quote is not None and (quote.author, quote.text) == ("user", "hello")


async def test_r18_a_quote_of_a_file_without_words_names_the_file(ada: Person) -> None:
    photo = Attachment("photo", "p1", "holiday.jpg", "image/jpeg", 10)
    sent = replace(ada.message(""), attachments=(photo,))
    await ada.gives(sent)
    quote = await ada.intake.resolve_quote("telegram", "42", "1001", sent.message_id)
    assert quote is not None and quote.resolved
    # The same word that the agent was given for it.
    assert re.fullmatch(r"\[photo: artifact \w+, holiday\.jpg\]", quote.excerpt)
    place = replace(ada.message(""), attachments=(Attachment("location", "", "1.5,2 Here"),))
    await ada.gives(place)
    quote = await ada.intake.resolve_quote("telegram", "42", "1001", place.message_id)
    assert quote is not None and quote.excerpt == "[location: 1.5,2 Here]"


async def test_a_quote_of_a_status_message_is_what_it_showed(ada: Person) -> None:
    await ada.says("hello")
    turn = await ada.turn()
    status = StatusMessage(turn.turn_id, ada.address, "s1", "Thinking", "open", 0.0)
    await ada.stores.outbox.put_status_message(status)
    quote = await ada.intake.resolve_quote("telegram", "42", "1001", "s1")
    assert quote is not None and (quote.author, quote.text) == ("bot", "Thinking")


async def test_a_quote_from_another_chat_or_of_nothing_we_saw_is_unknown(ada: Person) -> None:
    parts = await parts_of_an_answer(ada)
    await ada.stores.outbox.sent(parts[0].id, "b0")
    for chat, ref in [("1001", "b9"), ("1002", "b0"), ("1002", "m1")]:
        assert await ada.intake.resolve_quote("telegram", "42", chat, ref) is None


async def test_a_refusal_that_outruns_the_answer_to_the_request_stands(ada: Person) -> None:
    first, second, _ = await parts_of_an_answer(ada)
    outbox = ada.stores.outbox
    for part, refusal in ((first, Refusal(held=True)), (second, None)):
        await outbox.sending(part.id, "c1", 30.0)
        await receipt(ada, "failed", part_id=part.id, message_id="SM1", refusal=refusal)
        await outbox.sent(part.id, "SM1")
    assert (await row_of(ada, first)).state == "not_sent"
    assert (await row_of(ada, second)).state == "failed"


async def test_a_person_who_wrote_while_the_refusal_was_under_way_is_answered_at_once(
    ada: Person, clock: HandClock
) -> None:
    part, *_ = await parts_of_an_answer(ada)
    await ada.stores.outbox.sending(part.id, "c1", 30.0)
    await ada.stores.outbox.sent(part.id, "SM1")
    clock.advance(1.0)
    await ada.says("/help")
    refusal = Refusal(held=True, invitation="Your answer is ready.")
    await receipt(ada, "failed", part_id=part.id, message_id="SM1", refusal=refusal)
    row = await row_of(ada, part)
    assert (row.state, row.held, row.next_at) == ("not_sent", False, clock.now)
    assert "invitation" not in [kind for kind, _ in await ada.outbox()]


async def test_one_invitation_goes_before_all_that_waits_and_is_dropped_when_the_person_writes(
    ada: Person, clock: HandClock
) -> None:
    first, second, _ = await parts_of_an_answer(ada)
    outbox = ada.stores.outbox
    refusal = Refusal(held=True, invitation="Your answer is ready.")
    for part, sid in ((first, "SM1"), (second, "SM2")):
        await outbox.sending(part.id, "c1", 30.0)
        await outbox.sent(part.id, sid)
        await receipt(ada, "failed", part_id=part.id, message_id=sid, refusal=refusal)
    first_entry = await outbox.next_entry(ada.address)
    assert first_entry is not None and (first_entry[0].kind, first_entry[1]) == ("invitation", [])
    assert await outbox.due([("telegram", "42")], clock.now) == [ada.address]
    [invitation] = await outbox.plan(
        first_entry[0].id, [RenderedPart(first_entry[0].text, (), 0, 21)]
    )
    await outbox.sending(invitation.id, "c1", 30.0)
    await outbox.sent(invitation.id, "SM3")
    assert await outbox.due([("telegram", "42")], clock.now) == []
    clock.advance(1.0)
    await ada.says("yes?")
    await outbox.sending(first.id, "c1", 30.0)
    await outbox.not_sent(
        first.id, Failure("closed"), retry_at=clock.now + 60, held=True, invitation="Ready."
    )
    clock.advance(1.0)
    await ada.says("and now?")  # before the second invitation left
    kinds = [kind for kind, _ in await ada.outbox()]
    assert kinds[:3] == ["invitation", "invitation", "answer"]
    first_entry = await outbox.next_entry(ada.address)
    assert first_entry is not None and first_entry[1][0].id == first.id


async def test_what_the_provider_throttled_after_its_acceptance_is_sent_again_later(
    ada: Person, clock: HandClock
) -> None:
    part, *_ = await parts_of_an_answer(ada)
    await ada.stores.outbox.sending(part.id, "c1", 30.0)
    await ada.stores.outbox.sent(part.id, "SM1")
    slow = Refusal(retry_after_s=60.0)
    await receipt(ada, "failed", part_id=part.id, message_id="SM1", refusal=slow)
    row = await row_of(ada, part)
    assert (row.state, row.next_at) == ("not_sent", clock.now + 60.0)
    await ada.says("/help")
    assert (await row_of(ada, part)).next_at == clock.now + 60.0


async def test_r18_a_reply_to_one_picture_of_an_album_names_that_picture(ada: Person) -> None:
    await ada.says("draw")
    await ada.agent_says(await ada.turn(), 1, "Two.")
    first_entry = await ada.stores.outbox.next_entry(ada.address)
    assert first_entry is not None
    photos = [Media(name, "photo", f"{name}.png", "image/png", 1) for name in ("cat", "dog")]
    rendered = [
        RenderedPart("Two.", (), 0, 4, photos[0], album="1"),
        RenderedPart("", (), 4, 4, photos[1], album="1"),
    ]
    await ada.stores.outbox.plan(first_entry[0].id, rendered)
    again = await ada.stores.outbox.next_entry(ada.address)
    assert again is not None and [part.rendered for part in again[1]] == rendered
    for part, id in zip(again[1], ("11", "12"), strict=True):
        await ada.stores.outbox.sending(part.id, "c1", 30.0)
        await ada.stores.outbox.sent(part.id, id)
    for id, excerpt in (
        ("11", "[photo: artifact cat, cat.png] Two."),
        ("12", "[photo: artifact dog, dog.png]"),
    ):
        quote = await ada.intake.resolve_quote("telegram", "42", "1001", id)
        assert quote is not None and (quote.author, quote.excerpt) == ("bot", excerpt)
        units = quote.text.encode("utf-16-le")[2 * (quote.utf16_start or 0) :]
        assert units.decode("utf-16-le").startswith(excerpt)
