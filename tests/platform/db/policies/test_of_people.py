"""Policies on a person's tools, where the person is linked to another address or comes apart."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import select

from roost_channels.message import Address, Sender
from roost_platform.approval_rules import Verdict
from roost_platform.db import models
from roost_platform.db.policies.switches import PolicyKey
from roost_platform.db.stores import Stores
from roost_platform.testing.chats import Person
from roost_platform.testing.waiting import BOOKING, begun

WHATSAPP = "whatsapp:+15551112222"


async def id_of(stores: Stores, address: str) -> str:
    async with stores.database.read() as session:
        found = await session.scalar(
            select(models.Alias.identity_id).where(models.Alias.address == address)
        )
    assert found is not None
    return found


@pytest.fixture
async def phone(ada: Person) -> AsyncIterator[Person]:
    """Ada at a second address, not linked yet."""
    other = Person(
        *(ada.stores, ada.intake, ada.doorbell),
        Address("whatsapp", "w", WHATSAPP),
        Sender(WHATSAPP, "Ada"),
    )
    await ada.says("/help")
    await other.says("/help")
    yield other


async def may_book(person: Person) -> str:
    """What becomes of a call that has to be approved."""
    parked = await begun(person, "book")
    verdict = (await parked.gate()).verdict
    await person.says("/stop")
    await person.stores.turns.settle(parked.turn.turn_id, outcome="stopped", reason="stopped")
    return verdict


async def test_a_link_from_a_new_app_frees_nobody_of_a_policy(ada: Person, phone: Person) -> None:
    old, new = await id_of(ada.stores, "1001"), await id_of(ada.stores, WHATSAPP)
    policies = ada.stores.policies
    await policies.set(PolicyKey(tool=BOOKING.tool, person_id=old), "deny", "Grace")
    assert await may_book(ada) == "refused"
    await ada.intake.link(new, old, "Grace")  # the new id stays
    assert [await may_book(ada), await may_book(phone)] == ["refused", "refused"]
    await ada.stores.people.unlink(new, old, "Grace")
    await ada.stores.people.approve(old, "Grace")
    assert [await may_book(ada), await may_book(phone)] == ["refused", "refused"]


@pytest.mark.parametrize(("of_old", "of_new"), [("deny", "allow"), ("allow", "deny")])
async def test_of_two_policies_the_stricter_one_counts_for_both(
    ada: Person, phone: Person, of_old: Verdict, of_new: Verdict
) -> None:
    old, new = await id_of(ada.stores, "1001"), await id_of(ada.stores, WHATSAPP)
    await ada.stores.policies.set(PolicyKey(tool="book", person_id=old), of_old, "Grace")
    await ada.stores.policies.set(PolicyKey(tool="book", person_id=new), of_new, "Grace")
    await ada.intake.link(new, old, "Grace")
    assert await may_book(ada) == "refused"
