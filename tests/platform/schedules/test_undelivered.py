"""Reminders and results that do not arrive: the owner hears of it elsewhere, or operators do."""

from dataclasses import replace

import pytest
from sqlalchemy import select

from roost_channels.errors import Failure
from roost_channels.intake import DeliveryReceipt
from roost_channels.message import Address
from roost_channels.outbox import FailureReason
from roost_channels.rendering.parts import RenderedPart
from roost_platform.db import models
from roost_platform.testing.scheduling import Reminded
from roost_platform.views.workflows.schedules import schedule


async def send_all(
    ada: Reminded, address: Address | None = None, fails: FailureReason | None = None
) -> list[str]:
    """Let the chat's messages leave, or be refused; their texts."""
    outbox = ada.person.stores.outbox
    texts = []
    while (head := await outbox.next_entry(address or ada.person.address)) is not None:
        text = head[0].text
        (part,) = await outbox.plan(head[0].id, [RenderedPart(text, (), 0, len(text))])
        await outbox.sending(part.id, "courier", 60.0)
        if fails is None:
            await outbox.sent(part.id, f"m{part.id}")
        else:
            await outbox.failed(part.id, Failure("the bot was blocked"), reason=fails)
        texts.append(text)
    return texts


async def other_chat(ada: Reminded) -> Address:
    """A second chat of Ada's, in which she wrote."""
    other = replace(ada.person.address, chat="5005")
    here, ada.person.address = ada.person.address, other
    await ada.person.says("/help")
    ada.person.address = here
    await send_all(ada, other)
    return other


async def told(ada: Reminded) -> list[tuple[str, str, str]]:
    """(state, reason, told) of the times that were not skipped, oldest first."""
    async with ada.person.stores.database.read() as session:
        rows = await session.scalars(
            select(models.Occurrence)
            .where(models.Occurrence.state != "skipped")
            .order_by(models.Occurrence.scheduled_for)
        )
        return [(row.state, row.reason, row.told) for row in rows]


async def test_a_reminder_that_is_refused_reaches_the_owner_in_another_chat_once(
    ada: Reminded,
) -> None:
    other = await other_chat(ada)
    await ada.says("/remind tomorrow 9:00 call Ana")
    await send_all(ada)
    ada.at(2026, 11, 30, 9)
    await ada.due()
    assert await send_all(ada, fails="refused") == ["⏰ call Ana"]
    assert await send_all(ada, other) == [
        "⏰ call Ana\n\n_This could not be delivered in your other chat (telegram)._"
    ]
    assert await told(ada) == [("failed", "undeliverable", "elsewhere")]


async def test_without_another_chat_operators_see_that_nobody_was_told(ada: Reminded) -> None:
    await ada.says("/remind tomorrow 9:00 call Ana")
    await send_all(ada)
    ada.at(2026, 11, 30, 9)
    await ada.due()
    await send_all(ada, fails="refused")
    assert await told(ada) == [("failed", "undeliverable", "nobody")]
    assert await send_all(ada) == []
    (kept,) = await ada.schedules()
    async with ada.person.stores.database.read() as session:
        (time,) = (await schedule(session, kept.id, ada.clock.now)).history
    assert (time.state, time.reason, time.delivery) == ("failed", "undeliverable", "failed")
    assert time.told == "nobody"


async def test_five_in_a_row_pause_it_with_one_notice_elsewhere(ada: Reminded) -> None:
    other = await other_chat(ada)
    await ada.says("/remind every day 9:00 pills")
    await send_all(ada)
    for day in range(1, 8):
        ada.at(2026, 12, day, 9)
        await ada.due()
        await send_all(ada, fails=None if day == 2 else "refused")
    (kept,) = await ada.schedules()
    assert (kept.state, kept.fails, kept.fail_code) == ("paused", 5, "undeliverable")
    heard = await send_all(ada, other)
    assert len([text for text in heard if text.startswith("⏰ pills")]) == 6
    assert [text for text in heard if "I paused" in text] == [heard[-1]]
    assert "it failed 5 times in a row" in heard[-1]


async def test_what_arrives_again_is_forgotten(ada: Reminded) -> None:
    await ada.says("/remind every day 9:00 pills")
    await send_all(ada)
    for day, fails in ((1, "refused"), (2, None), (3, None)):
        ada.at(2026, 12, day, 9)
        await ada.due()
        await send_all(ada, fails=fails)  # type: ignore[arg-type]
    (kept,) = await ada.schedules()
    assert (kept.fails, kept.fail_code) == (0, "")


@pytest.mark.parametrize("kind", ["task", "job"])
async def test_the_result_of_a_turn_that_does_not_arrive_goes_to_another_chat(
    ada: Reminded, kind: str
) -> None:
    other = await other_chat(ada)
    await ada.keeps(kind, "Tell the weather.")  # type: ignore[arg-type]
    await send_all(ada)
    for day in (1, 2):
        ada.at(2026, 12, day, 9)
        await ada.due()
        await ada.person.agent_says(await ada.begin_rung(), 1, "Sunny.")
        await send_all(ada, fails="outcome_unknown")
    assert (await send_all(ada, other))[0] == (
        "Sunny.\n\n_This may not have arrived in your other chat (telegram)._"
    )
    assert await told(ada) == [("failed", "undeliverable", "elsewhere")] * 2
    (kept,) = await ada.schedules()
    assert (kept.fails, kept.fail_code) == (2, "undeliverable")


async def test_a_receipt_of_failure_counts_as_well(ada: Reminded) -> None:
    other = await other_chat(ada)
    await ada.says("/remind tomorrow 9:00 call Ana")
    await send_all(ada)
    ada.at(2026, 11, 30, 9)
    await ada.due()
    await send_all(ada)
    async with ada.person.stores.database.read() as session:
        rows = await session.scalars(select(models.Part).order_by(models.Part.id.desc()))
        part = rows.first()
        assert part is not None and part.message_id
    for _ in range(2):
        receipt = DeliveryReceipt(part.id, part.message_id, "failed")
        await ada.person.intake.receipt("telegram", "42", receipt)
    assert len(await send_all(ada, other)) == 1
    assert await told(ada) == [("failed", "undeliverable", "elsewhere")]
