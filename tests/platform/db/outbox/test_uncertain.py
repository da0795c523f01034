"""Sends whose outcome nobody knows: what was asked about them, and what operators do with them."""

import pytest

from roost_channels.errors import Failure
from roost_channels.rendering.parts import REPEAT_LABEL, RenderedPart
from roost_platform.errors import NotAllowed
from roost_platform.testing.chats import Person
from roost_platform.views.deliveries import (
    DeliveryFilter,
    count_of,
    deliveries,
    delivery,
    failed_ids,
)
from roost_platform.views.delivery_views import DeliveryView

TEXT = "The answer."


async def sent_into_doubt(ada: Person, *, given_up: bool) -> tuple[str, str]:
    """An answer that left, and then nobody heard of it; (outbox id, part id)."""
    await ada.says("hello")
    await ada.agent_says(await ada.turn(), 1, TEXT)
    outbox = ada.stores.outbox
    first_entry = await outbox.next_entry(ada.address)
    assert first_entry is not None
    (part,) = await outbox.plan(first_entry[0].id, [RenderedPart(TEXT, (), 0, len(TEXT))])
    await outbox.sending(part.id, "c1", 30.0)
    await outbox.ambiguous(part.id, Failure("timed out"))
    await outbox.evidence(part.id, "left to an operator", asked="was it sent?", answered="no idea")
    if given_up:
        await outbox.failed(part.id, Failure("no tries left"), reason="outcome_unknown")
    return first_entry[0].id, part.id


async def shown(ada: Person, id: str) -> DeliveryView:
    async with ada.stores.database.read() as session:
        view = await delivery(session, id, with_texts=True)
    assert view is not None
    return view


@pytest.mark.parametrize("given_up", [False, True])
async def test_what_is_in_doubt_is_listed_with_its_evidence_and_not_among_the_failed(
    ada: Person, given_up: bool
) -> None:
    id, _ = await sent_into_doubt(ada, given_up=given_up)
    async with ada.stores.database.read() as session:
        _, rows = await deliveries(session, DeliveryFilter(state="uncertain"), 1, with_texts=True)
        assert [(row.id, row.state, row.evidence) for row in rows] == [
            (id, "uncertain", ("left to an operator",))
        ]
        assert await failed_ids(session, 10) == []
        assert (await count_of(session, "uncertain"), await count_of(session, "failed")) == (1, 0)
    tries = (await shown(ada, id)).parts[0].tries
    assert [(one.kind, one.asked, one.description, one.concluded) for one in tries][1:] == [
        ("check", "was it sent?", "no idea", "left to an operator")
    ]
    assert tries[0].asked == "send part 1 of 1, 11 characters"


@pytest.mark.parametrize("given_up", [False, True])
async def test_what_is_in_doubt_is_sent_again_with_a_label(ada: Person, given_up: bool) -> None:
    id, part_id = await sent_into_doubt(ada, given_up=given_up)
    await ada.stores.redrive(id, "olga")
    first_entry = await ada.stores.outbox.next_entry(ada.address)
    assert first_entry is not None
    (part,) = first_entry[1]
    assert (part.rendered.text, part.duplicate_label) == (f"{REPEAT_LABEL}{TEXT}", True)
    assert await ada.stores.outbox.sending(part_id, "c1", 30.0) == 1
    await ada.stores.outbox.sent(part_id, "b1")
    (part_view,) = (await shown(ada, id)).parts
    assert part_view.evidence[-1] == "Sent again by olga, labelled as a possible repeat."
    assert [one.attempt for one in part_view.tries if one.kind == "send"] == [1, 2]


@pytest.mark.parametrize("given_up", [False, True])
async def test_an_operator_who_knows_that_it_arrived_settles_it(
    ada: Person, given_up: bool
) -> None:
    id, _ = await sent_into_doubt(ada, given_up=given_up)
    await ada.stores.confirm(id, "olga")
    assert (await shown(ada, id)).row.state == "sent"
    assert await ada.stores.outbox.next_entry(ada.address) is None
    (entry,) = await ada.stores.audit.list()
    assert (entry.actor, entry.action, entry.object) == ("olga", "delivery.confirm", id)
    with pytest.raises(NotAllowed):
        await ada.stores.confirm(id, "olga")


async def test_a_failed_part_counts_as_failed_whatever_its_message_says(ada: Person) -> None:
    id, part_id = await sent_into_doubt(ada, given_up=False)
    error = "outcome unknown to the parser: Bad Request"
    await ada.stores.outbox.failed(part_id, Failure(error, "400"))
    async with ada.stores.database.read() as session:
        assert await failed_ids(session, 10) == [id]
    assert await ada.stores.redrive(id, "olga") == id
    assert (await shown(ada, id)).parts[0].duplicate_label is False
