"""What a provider refuses after it took it: tried again as long as the settings say."""

import pytest

from roost_channels.config import DeliveryConfig
from roost_channels.intake import DeliveryReceipt, Refusal
from roost_channels.outbox import StoredPart
from roost_channels.rendering.parts import RenderedPart
from roost_platform.db import models
from roost_platform.db.outbox.part_states import REFUSED_IDS_MAX, add_refused_id, was_refused
from roost_platform.db.outbox.receipts import ReceiptStore
from roost_platform.testing.chats import HandClock, Person

CONFIG = DeliveryConfig(hold_s=300.0, give_up_s=7_000.0)


async def sent_part(ada: Person) -> StoredPart:
    await ada.says("hello")
    await ada.agent_says(await ada.turn(), 1, "answer")
    head = await ada.stores.outbox.next_entry(ada.address)
    assert head is not None
    [part] = await ada.stores.outbox.plan(head[0].id, [RenderedPart("answer", (), 0, 6)])
    await send(ada, part, "SM1")
    return part


async def send(ada: Person, part: StoredPart, message_id: str) -> None:
    await ada.stores.outbox.sending(part.id, "c1", 30.0)
    await ada.stores.outbox.sent(part.id, message_id)


async def refuse(ada: Person, part: StoredPart, refusal: Refusal, message_id: str = "SM1") -> None:
    receipts = ReceiptStore(ada.stores.database, CONFIG)
    report = DeliveryReceipt(part.id, message_id, "failed", refusal=refusal)
    await receipts.record("telegram", "42", report)


async def row_of(ada: Person, part: StoredPart) -> models.Part:
    async with ada.stores.database.read() as session:
        return await session.get_one(models.Part, part.id)


async def test_r21_a_late_refusal_holds_the_part_for_the_time_of_the_settings(
    ada: Person, clock: HandClock
) -> None:
    part = await sent_part(ada)
    await refuse(ada, part, Refusal(held=True))
    row = await row_of(ada, part)
    assert (row.state, row.held, row.next_at) == ("not_sent", True, clock.now + 300.0)


@pytest.mark.parametrize(("age_s", "state"), [(6_999.0, "not_sent"), (7_001.0, "failed")])
async def test_a_late_refusal_of_an_old_message_is_the_last_word(
    ada: Person, clock: HandClock, age_s: float, state: str
) -> None:
    part = await sent_part(ada)
    clock.advance(age_s)
    await refuse(ada, part, Refusal(retry_after_s=1.0))
    row = await row_of(ada, part)
    assert (row.state, row.reason_code) == (state, "refused" if state == "failed" else "")


def test_the_newest_refused_ids_are_remembered_up_to_a_bound() -> None:
    part = models.Part()
    for number in range(REFUSED_IDS_MAX + 1):
        add_refused_id(part, f"SM{number}")
    assert part.refused_ids is not None and len(part.refused_ids) == REFUSED_IDS_MAX
    assert not was_refused(part, "SM0") and was_refused(part, f"SM{REFUSED_IDS_MAX}")


async def test_a_refused_try_is_remembered_beside_its_words(ada: Person) -> None:
    part = await sent_part(ada)
    await refuse(ada, part, Refusal(retry_after_s=1.0))
    row = await row_of(ada, part)
    assert row.refused_ids == ["SM1"]
    assert row.evidence[-1]["note"] == "Refused after its acceptance as SM1: failed."
