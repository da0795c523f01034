"""One person on several channels: codes that link chats, what comes together, and what stays."""

import re
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from roost_channels.message import Address, Sender
from roost_platform.db import models
from roost_platform.db.inbox import links
from roost_platform.db.people.link_codes import (
    LINK_CODE_S,
    LINK_CODES_MAX,
    WRONG_BY_ACCOUNT_MAX,
    WRONG_BY_PERSON_MAX,
    WRONG_S,
)
from roost_platform.errors import NotAllowed, NotFound
from roost_platform.testing.chats import HandClock, Person, count_rows

TELEGRAM, PHONE = Address("telegram", "43", "2002"), "whatsapp:+15550001"
WHATSAPP = Address("whatsapp", "v", PHONE)  # pairs


def person(ada: Person, address: Address, name: str = "Bob", **sender: Any) -> Person:
    who = Sender(address.chat, name, **sender)
    return Person(ada.stores, ada.intake, ada.doorbell, address, who)


@pytest.fixture
def bob(ada: Person) -> Person:
    """Bob on Telegram, where strangers pair."""
    return person(ada, TELEGRAM)


@pytest.fixture
def phone(ada: Person) -> Person:
    """Bob on WhatsApp, where strangers pair as well."""
    return person(ada, WHATSAPP, "Bob B.")


async def id_of(someone: Person) -> str:
    async with someone.stores.database.read() as session:
        alias = await session.get_one(
            models.Alias, (someone.address.channel, someone.sender.address)
        )
        return alias.identity_id


async def access_of(someone: Person) -> str:
    found = await someone.stores.people.get(await id_of(someone))
    assert found is not None
    return found.access


async def let_in(someone: Person) -> None:
    await someone.says("hello")
    await someone.intake.approve(await id_of(someone), "olga")


async def code_for(someone: Person) -> str:
    await someone.says("/link")
    found = re.search(r"^/link ([A-Z2-9]{8})$", (await someone.outbox())[-1][1], re.MULTILINE)
    assert found is not None, await someone.outbox()
    return found.group(1)


async def told(someone: Person) -> str:
    return (await someone.outbox())[-1][1]


async def persons_of_turns(someone: Person) -> str:
    """The id that a tool of the running turn gets."""
    turn = await someone.turn()
    return (await someone.stores.turns.context(turn.turn_id, 1)).person_id


async def test_a_code_from_one_channel_makes_both_chats_one_person(
    bob: Person, phone: Person
) -> None:
    await let_in(bob)
    bobs_id = await id_of(bob)
    await phone.says("are you there?")
    await phone.says(f"/link {await code_for(bob)}")
    assert await told(phone) == links.linked_told("Bob")
    assert "Bob B. (whatsapp:+15550001) entered your code" in await told(bob)
    await bob.says("one")
    assert await persons_of_turns(bob) == await persons_of_turns(phone) == bobs_id
    # What the stranger had written is answered, in a conversation of its own.
    assert [state for _, state in await phone.inbox()] == ["taken", "done"]
    assert await phone.conversation_id() in phone.doorbell.rung
    assert await bob.conversation_id() != await phone.conversation_id()
    [entry] = [e for e in await bob.stores.audit.list() if e.action == "person.link"]
    assert (entry.actor, entry.object) == ("chat", bobs_id)
    assert entry.detail["access_before"] == "pending"
    assert entry.detail["access"] == "allowed"
    assert entry.detail["address"] == f"whatsapp:{PHONE}"


async def test_notes_of_both_are_one_list_also_for_a_turn_that_began_before(
    bob: Person, phone: Person
) -> None:
    notes = bob.stores.notes
    await let_in(bob)
    await let_in(phone)
    former, kept = await id_of(phone), await id_of(bob)
    await notes.add(former, "likes tea", "k1")
    await notes.add(kept, "lives in Rome", "k2")
    await phone.says(f"/link {await code_for(bob)}")
    await notes.add(former, "has a dog", "k3")
    await notes.add(former, "likes tea", "k1")  # the same call, tried again
    for id in (former, kept):
        assert [n.text for n in await notes.list(id)] == ["likes tea", "lives in Rome", "has a dog"]
    [tea, *_] = await notes.list(kept)
    assert await notes.remove(former, tea.id)


async def test_a_code_is_used_once_and_ends_after_ten_minutes(
    bob: Person, phone: Person, ada: Person, clock: HandClock
) -> None:
    await let_in(bob)
    code = await code_for(bob)
    assert await code_for(bob) == code  # asked again, told again
    clock.advance(LINK_CODE_S)
    await phone.says(f"/link {code}")
    assert links.WRONG in await told(phone)
    fresh = await code_for(bob)
    assert fresh != code
    await phone.says(f"/LINK {fresh[:4]}-{fresh[4:].lower()}")
    assert await id_of(phone) == await id_of(bob)
    third = person(ada, replace(WHATSAPP, chat="whatsapp:+15550002"), "Eve")
    await third.says(f"/link {fresh}")
    assert await access_of(third) == "pending"
    assert await id_of(third) != await id_of(bob)


async def test_a_person_gets_a_bounded_number_of_codes_in_a_day(
    bob: Person, clock: HandClock
) -> None:
    await let_in(bob)
    codes = set()
    for _ in range(LINK_CODES_MAX):
        codes.add(await code_for(bob))
        clock.advance(LINK_CODE_S)
    assert len(codes) == LINK_CODES_MAX
    await bob.says("/link")
    assert await told(bob) == links.TOO_MANY_CODES
    clock.advance(86_400)
    await code_for(bob)
    assert await count_rows(bob.stores, models.LinkCode) == 1


async def test_after_a_few_wrong_codes_a_right_one_does_nothing_for_an_hour(
    bob: Person, ada: Person, clock: HandClock
) -> None:
    await let_in(bob)
    await ada.says(*[f"/link AAAAAAA{n + 2}" for n in range(WRONG_BY_PERSON_MAX)])
    assert await told(ada) == links.WRONG
    await ada.says(f"/link {await code_for(bob)}")
    assert await told(ada) == links.TOO_MANY_WRONG
    assert await id_of(ada) != await id_of(bob)
    clock.advance(WRONG_S + 1)
    await ada.says(f"/link {await code_for(bob)}")
    assert await id_of(ada) == await id_of(bob)


async def test_many_people_together_guess_no_more_than_the_account_allows(
    bob: Person, ada: Person
) -> None:
    await let_in(bob)
    many = WRONG_BY_ACCOUNT_MAX // WRONG_BY_PERSON_MAX
    for number in range(many):
        guesser = person(ada, replace(WHATSAPP, chat=f"whatsapp:+1666{number:04}"), "Guesser")
        await guesser.says(*["/link AAAAAAAA"] * WRONG_BY_PERSON_MAX)
    late = person(ada, replace(WHATSAPP, chat="whatsapp:+17770000"), "Late")
    await late.says(f"/link {await code_for(bob)}")
    assert await access_of(late) == "pending"
    assert await count_rows(ada.stores, models.LinkFailure) == 2 * WRONG_BY_ACCOUNT_MAX
    elsewhere = person(ada, Address("telegram", "42", "7"), "Ada")
    await elsewhere.says(f"/link {await code_for(bob)}")
    assert await id_of(elsewhere) == await id_of(bob)


async def test_a_stranger_who_tries_codes_is_answered_once_in_a_while(
    bob: Person, phone: Person
) -> None:
    await let_in(bob)
    await phone.says(*[f"/link AAAAAA{n:02}".replace("0", "X") for n in range(2, 9)])
    bodies = [text for _, text in await phone.outbox()]
    assert bodies.count(links.WRONG) == 1
    assert len([body for body in bodies if "I don't know you yet" in body]) == 1
    assert len(bodies) <= 3


async def test_no_code_is_shown_in_a_group_and_one_that_is_written_there_is_void(
    bob: Person, phone: Person
) -> None:
    await let_in(bob)
    code = await code_for(bob)
    group = person(bob, replace(TELEGRAM, chat="-100", is_group=True))
    group.sender = bob.sender
    await group.says("/link", f"/link {code}")
    assert [text for _, text in await group.outbox()] == [links.IN_PRIVATE] * 2
    await phone.says(f"/link {code}")
    assert links.WRONG in await told(phone)


async def test_a_forwarded_command_and_ones_own_code_link_nothing(bob: Person) -> None:
    await let_in(bob)
    code = await code_for(bob)
    await bob.says(f"/link {code}")
    assert await told(bob) == links.OWN
    other = person(bob, replace(TELEGRAM, chat="3003"), "Victim")
    await let_in(other)
    await other.gives(replace(other.message(f"/link {code}"), forwarded_from="Bob"))
    assert await told(other) == links.FORWARDED
    assert await id_of(other) != await id_of(bob)


STATES = ("pending", "policy", "approved", "blocked")


async def bring_to(someone: Person, state: str) -> None:
    await someone.says("hello")
    id = await id_of(someone)
    if state in ("approved", "blocked"):
        await someone.intake.approve(id, "olga")
    if state == "blocked":
        await someone.stores.people.block(id, "olga")


@pytest.mark.parametrize("taker", STATES)
@pytest.mark.parametrize("giver", ("policy", "approved", "blocked meanwhile"))
async def test_linking_carries_an_approval_and_never_lifts_a_block(
    ada: Person, giver: str, taker: str
) -> None:
    """Whether the two are one person afterwards, and what the taker may do."""
    gives = person(ada, Address("telegram", "42" if giver == "policy" else "43", "1"), "Giver")
    await bring_to(gives, "policy" if giver == "policy" else "approved")
    takes = person(ada, Address("whatsapp", "w" if taker == "policy" else "v", PHONE), "Taker")
    await bring_to(takes, taker)
    code = await code_for(gives)
    if giver == "blocked meanwhile":
        await ada.stores.people.block(await id_of(gives), "olga")
    await takes.says(f"/link {code}")
    are_one = await id_of(takes) == await id_of(gives)
    expected = {
        ("policy", "pending"): (False, "pending"),
        ("policy", "policy"): (True, "allowed"),
        ("policy", "approved"): (True, "allowed"),
        ("approved", "pending"): (True, "allowed"),
        ("approved", "policy"): (True, "allowed"),
        ("approved", "approved"): (True, "allowed"),
    }.get(
        (giver, taker), (False, {"blocked": "blocked", "pending": "pending"}.get(taker, "allowed"))
    )
    assert (are_one, await access_of(takes)) == expected
    if giver == "blocked meanwhile":
        assert await access_of(gives) == "blocked"
    if (giver, taker) == ("policy", "pending"):
        assert links.NOT_YET in await told(takes)
        await ada.intake.approve(await id_of(takes), "olga")
        await takes.says(f"/link {code}")
        assert await id_of(takes) == await id_of(gives)
    if taker == "blocked":
        assert (await takes.inbox())[-1] == (f"/link {code}", "ignored")


async def test_a_block_of_one_who_is_linked_holds_on_every_channel(
    bob: Person, phone: Person
) -> None:
    await let_in(bob)
    await phone.says(f"/link {await code_for(bob)}")
    await bob.stores.people.block(await id_of(bob), "olga")
    await phone.says("let me in", "/link")
    assert [state for _, state in await phone.inbox()][-2:] == ["ignored", "ignored"]


@pytest.mark.parametrize("first", STATES)
@pytest.mark.parametrize("second", STATES)
async def test_an_operator_links_any_two_and_a_block_stays(
    ada: Person, first: str, second: str
) -> None:
    one = person(ada, Address("telegram", "42" if first == "policy" else "43", "1"), "One")
    two = person(ada, Address("whatsapp", "w" if second == "policy" else "v", PHONE), "Two")
    await bring_to(one, first)
    await bring_to(two, second)
    kept, former = await id_of(one), await id_of(two)
    ada.doorbell.rung.clear()
    await ada.intake.link(kept, former, "olga", "10.0.0.1")
    await ada.intake.drain()
    assert await id_of(two) == await id_of(one) == kept
    both = {first, second}
    access = "blocked" if "blocked" in both else "allowed"
    assert await access_of(one) == ("pending" if both == {"pending"} else access)
    for each in (one, two):
        was = first if each is one else second
        states = [state for _, state in await each.inbox()]
        if access == "blocked":
            assert states == ["ignored"] or was == "blocked"
        elif was == "pending":
            assert states == (["held"] if both == {"pending"} else ["pending"])
    waiting = [e for e, was in ((one, first), (two, second)) if was == "pending"]
    if access == "allowed" and both != {"pending"}:
        assert ada.doorbell.rung == [await each.conversation_id() for each in waiting]
    [entry] = [e for e in await ada.stores.audit.list() if e.action == "person.link"]
    assert (entry.actor, entry.ip, entry.detail["other"]) == ("olga", "10.0.0.1", former)


async def test_an_id_from_before_a_link_still_means_the_person(bob: Person, phone: Person) -> None:
    await let_in(bob)
    await let_in(phone)
    kept, former = await id_of(bob), await id_of(phone)
    await bob.intake.link(kept, former, "olga")
    decision = await bob.stores.people.block(former, "olga")
    assert decision.identity_id == kept
    with pytest.raises(NotAllowed):
        await bob.intake.link(former, kept, "olga")
    with pytest.raises(NotFound):
        await bob.intake.link(kept, "nobody", "olga")


async def test_an_unlinked_address_is_the_person_from_before_and_has_to_be_let_in_again(
    bob: Person, phone: Person
) -> None:
    await let_in(bob)
    await let_in(phone)
    kept, former = await id_of(bob), await id_of(phone)
    await phone.says(f"/link {await code_for(bob)}")
    await bob.stores.notes.add(kept, "lives in Rome", "k")
    apart = await bob.stores.people.unlink(kept, former, "olga")
    assert apart == former == await id_of(phone)
    assert await id_of(bob) == kept
    assert (await access_of(phone), await access_of(bob)) == ("pending", "allowed")
    assert [n.text for n in await bob.stores.notes.list(former)] == []
    await phone.says("it is me")
    assert (await phone.inbox())[-1] == ("it is me", "held")
    async with bob.stores.database.read() as session:
        found = await session.scalars(select(models.Conversation.identity_id))
        assert set(found) == {kept, former}
    with pytest.raises(NotAllowed):
        await bob.stores.people.unlink(kept, "", "olga")


async def test_an_unlinked_address_of_a_blocked_person_stays_blocked(
    bob: Person, phone: Person
) -> None:
    await let_in(bob)
    await phone.says(f"/link {await code_for(bob)}")
    kept = await id_of(bob)
    await bob.stores.people.block(kept, "olga")
    await bob.stores.people.unlink(kept, "", "olga")  # Bob's own addresses leave
    assert await id_of(phone) == kept != await id_of(bob)
    assert (await access_of(phone), await access_of(bob)) == ("blocked", "blocked")


async def test_two_numbers_of_one_person_keep_their_chats_apart_on_every_account(
    ada: Person,
) -> None:
    """An answer to one phone must not reach the other, though one person has both."""
    first = person(ada, Address("whatsapp", "w", "whatsapp:+1001"))
    second = person(ada, Address("whatsapp", "w", "whatsapp:+1002"))
    await first.says("hello")
    await second.says("hello")
    await second.says(f"/link {await code_for(first)}")
    assert await id_of(first) == await id_of(second)
    elsewhere = [replace(first.address, account="w2"), replace(second.address, account="w2")]
    there = [person(ada, address) for address in elsewhere]
    for each in there:
        await each.says("hello")
    ids = {await each.conversation_id() for each in (first, second, *there)}
    assert len(ids) == 4
    hidden = person(ada, replace(second.address, chat="BSUID.7"), aliases=("whatsapp:+1002",))
    await hidden.says("hello under another name")
    assert (await second.inbox())[-1][0] == "hello under another name"
    assert len(await first.inbox()) == 2


async def test_linking_is_one_transaction(
    bob: Person, phone: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash at its last step leaves two people and a code that still works."""
    await let_in(bob)
    code, kept = await code_for(bob), await id_of(bob)

    async def crash(*_: object, **__: object) -> None:
        raise RuntimeError("the process died")

    with monkeypatch.context() as patch:
        patch.setattr(links, "audit", crash)
        message = phone.message(f"/link {code}")
        with pytest.raises(RuntimeError):
            await phone.gives(message)
    assert await count_rows(bob.stores, models.PersonLink) == 0
    assert await count_rows(bob.stores, models.Identity) == 1
    await phone.gives(message)  # the network delivers it again
    assert await id_of(phone) == kept
