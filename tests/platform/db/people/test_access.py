"""Who may talk: pairing codes, allowlists, blocks, and what is kept meanwhile."""

import re
from dataclasses import replace

import pytest
from sqlalchemy import delete

from roost_channels.message import Address, Sender
from roost_platform.db.inbox.inbox import InboxStore
from roost_platform.db.models import Identity, Inbox, ListedName, Pairing
from roost_platform.db.people.access import CODES_MAX, HELD_MAX, AccessPolicy, decide
from roost_platform.errors import NotFound
from roost_platform.testing.chats import HandClock, Person, count_rows

PAIRING = Address("telegram", "43", "2002")


@pytest.fixture
def bob(ada: Person) -> Person:
    """A stranger to a bot that pairs."""
    return Person(ada.stores, ada.intake, ada.doorbell, PAIRING, Sender("2002", "Bob", "bob"))


def stranger(bob: Person, number: int) -> Person:
    chat = replace(PAIRING, chat=f"s{number}")
    return Person(bob.stores, bob.intake, bob.doorbell, chat, Sender(f"s{number}", "Stranger"))


async def code_of(person: Person) -> str:
    found = re.search(r"assistant: ([A-Z2-9]{8})", (await person.outbox())[-1][1])
    assert found is not None
    return found.group(1)


async def test_s5_a_stranger_is_told_a_code_and_their_messages_are_kept(bob: Person) -> None:
    await bob.says("hello?", "anyone?")
    assert [state for _, state in await bob.inbox()] == ["held", "held"]
    assert len(await bob.outbox()) == 1
    assert bob.doorbell.rung == []
    decision = await bob.intake.approve((await code_of(bob)).lower(), "olga")
    await bob.intake.drain()
    assert decision.conversations == (await bob.conversation_id(),)
    assert bob.doorbell.rung == [await bob.conversation_id()]
    assert (await bob.outbox())[-1] == ("notice", "You are connected.")
    context = await bob.stores.turns.context((await bob.turn()).turn_id, 1)
    assert [m.content for m in context.messages] == ["hello?", "anyone?"]
    assert [entry.action for entry in await bob.stores.audit.list()] == ["person.approve"]


async def test_the_same_code_is_told_again_only_after_ten_minutes(
    bob: Person, clock: HandClock
) -> None:
    await bob.says("hello?")
    first = await code_of(bob)
    clock.advance(599)
    await bob.says("hello??")
    assert len(await bob.outbox()) == 1
    clock.advance(2)
    await bob.says("hello???")
    assert len(await bob.outbox()) == 2
    assert await code_of(bob) == first


async def test_an_expired_code_is_refused_and_replaced(bob: Person, clock: HandClock) -> None:
    await bob.says("hello?")
    old = await code_of(bob)
    clock.advance(3601)
    with pytest.raises(NotFound):
        await bob.intake.approve(old, "olga")
    await bob.says("still here")
    new = await code_of(bob)
    assert new != old
    await bob.intake.approve(new, "olga")
    assert [state for _, state in await bob.inbox()] == ["pending", "pending"]


async def test_open_codes_per_account_are_bounded_and_a_newcomer_always_gets_one(
    bob: Person, clock: HandClock
) -> None:
    people = [stranger(bob, number) for number in range(CODES_MAX + 2)]
    for person in people:
        await person.says("hello?")
        clock.advance(1)
    assert [len(await person.outbox()) for person in people] == [1] * len(people)
    assert await count_rows(bob.stores, Pairing, state="open") == CODES_MAX
    # Whoever was evicted still waits in the list, with a code that admits until it expires.
    assert await bob.stores.people.count("pending") == len(people)
    evicted = await code_of(people[0])
    await people[0].says("still here")  # and has the slot again, with the same code
    assert len(await people[0].outbox()) == 1
    assert await count_rows(bob.stores, Pairing, state="open") == CODES_MAX
    await bob.intake.approve(evicted, "olga")
    await bob.intake.approve(await code_of(people[1]), "olga")
    assert [state for _, state in await people[1].inbox()] == ["pending"]


async def test_a_stranger_who_goes_on_is_answered_once_in_ten_minutes(
    bob: Person, clock: HandClock
) -> None:
    await bob.says("/start", "/help", "/stop", "hello?", "stop", "/help me")
    [(_, told)] = await bob.outbox()
    assert "kept" not in told  # the first was a command, which is not
    states = [state for _, state in await bob.inbox()]
    assert states == ["ignored", "ignored", "ignored", "held", "held", "held"]
    clock.advance(601)
    await bob.says("anyone?", "/help")
    assert len(await bob.outbox()) == 2 and (await bob.outbox())[-1][1].endswith("is kept.")


@pytest.fixture
def listed(ada: Person) -> InboxStore:
    """A bot that talks to @ada alone."""
    policy = AccessPolicy("allowlist", ("@Ada",))
    return InboxStore(ada.stores.database, {("telegram", "44"): policy})


async def came(listed: InboxStore, ada: Person, number: str, name: str = "ada") -> str:
    """The state of a message from this account under this name."""
    chat = Address("telegram", "44", number)
    message = replace(
        ada.message(f"from {number}"), address=chat, sender=Sender(number, name, name)
    )
    [inbox_id] = (await listed.accept("telegram", "44", [message])).ids
    async with ada.stores.database.read() as session:
        return (await session.get_one(Inbox, inbox_id)).state


async def test_a_listed_name_means_the_account_that_came_first_under_it(
    listed: InboxStore, ada: Person
) -> None:
    assert await came(listed, ada, "7") == "pending"
    assert await came(listed, ada, "666", "ADA") == "ignored"
    assert await came(listed, ada, "666") == "ignored"
    assert await came(listed, ada, "7", "renamed") == "pending"  # the account is what counts
    assert await came(listed, ada, "7") == "pending"
    [told] = await ada.stores.audit.list()
    assert (told.action, told.object) == ("person.name_taken", "telegram:@ada")
    assert told.detail == {"account": "44", "listed": "7", "came": "666"}


async def test_a_listed_name_belongs_to_who_was_admitted_before_names_were_bound(
    listed: InboxStore, ada: Person
) -> None:
    assert await came(listed, ada, "7") == "pending"
    async with ada.stores.database.write() as session:
        await session.execute(delete(ListedName))
    assert await came(listed, ada, "666") == "ignored"
    assert await came(listed, ada, "7") == "pending"


async def test_messages_kept_of_a_stranger_are_bounded(bob: Person) -> None:
    await bob.says(*(f"message {n}" for n in range(HELD_MAX + 2)))
    states = [state for _, state in await bob.inbox()]
    assert states == ["held"] * HELD_MAX + ["ignored"] * 2
    told = [text for _, text in await bob.outbox()]
    assert len(told) == 2 and told[1].startswith(f"I keep {HELD_MAX} of your messages")


async def test_a_person_can_be_approved_by_id_and_blocked(bob: Person) -> None:
    await bob.says("hello?")
    (person,) = await bob.stores.people.list(access="pending")
    assert (person.name, person.held, person.aliases) == ("Bob", 1, (("telegram", "2002", "bob"),))
    await bob.stores.people.block(person.id, "olga")
    await bob.says("let me in")
    assert [state for _, state in await bob.inbox()] == ["ignored", "ignored"]
    assert len(await bob.outbox()) == 1
    await bob.intake.approve(person.id, "olga")
    await bob.says("thank you")
    assert (await bob.inbox())[-1] == ("thank you", "pending")
    assert await bob.stores.people.count("allowed") == 1


async def test_a_stranger_can_not_use_commands(bob: Person) -> None:
    await bob.says("/start")
    await bob.gives(bob.message("stop:t1", kind="callback"))
    assert [state for _, state in await bob.inbox()] == ["ignored", "ignored"]
    assert "give this code" in (await bob.outbox())[0][1]


async def test_a_strangers_start_gets_the_code_and_is_never_put_to_the_agent(bob: Person) -> None:
    await bob.says("/start", "hello?")
    assert len(await bob.outbox()) == 1
    assert [state for _, state in await bob.inbox()] == ["ignored", "held"]
    await bob.intake.approve(await code_of(bob), "olga")
    context = await bob.stores.turns.context((await bob.turn()).turn_id, 1)
    assert [m.content for m in context.messages] == ["hello?"]


async def test_what_a_stranger_wrote_is_answered_when_the_setting_is_opened(bob: Person) -> None:
    await bob.says("hello?")
    opened = InboxStore(bob.stores.database, {("telegram", "43"): AccessPolicy("open")})
    outcome = await opened.accept("telegram", "43", [bob.message("still there?")])
    assert [state for _, state in await bob.inbox()] == ["pending", "pending"]
    assert list(outcome.ring) == [await bob.conversation_id()]


async def test_strangers_in_groups_get_no_code(bob: Person) -> None:
    team = replace(bob, address=replace(bob.address, is_group=True))
    await team.gives(team.message("hey agent"))
    assert await bob.inbox() == [("hey agent", "ignored")]
    assert await bob.outbox() == []


async def test_a_known_phone_keeps_its_identity_under_a_new_alias(ada: Person) -> None:
    chat = Address("whatsapp", "w", "whatsapp:+1555")
    phone = Person(
        ada.stores, ada.intake, ada.doorbell, chat, Sender("whatsapp:+1555", "Grace", "", ("b1",))
    )
    await phone.says("hello")
    phone.sender = Sender("b1", "Grace H.", "", ("whatsapp:+1555", "b2"))
    await phone.says("again")
    (person,) = await ada.stores.people.list()
    assert person.name == "Grace H."
    assert {address for _, address, _ in person.aliases} == {"whatsapp:+1555", "b1", "b2"}


@pytest.mark.parametrize(
    ("policy", "sender", "admitted"),
    [
        (AccessPolicy("open"), Sender("1"), True),
        (AccessPolicy("pairing"), Sender("1"), False),
        (AccessPolicy("pairing", ("1",)), Sender("1"), True),
        (AccessPolicy("allowlist", ("@ada",)), Sender("1", username="Ada"), True),
        (AccessPolicy("allowlist", ("whatsapp:+1",)), Sender("b", aliases=("whatsapp:+1",)), True),
        (AccessPolicy("allowlist", ("2",)), Sender("1"), False),
    ],
)
def test_the_policy_decides_about_people_nobody_decided_about(
    policy: AccessPolicy, sender: Sender, admitted: bool
) -> None:
    identity = Identity(id="i", display_name="x", access="pending", created_at=0, decided_by="")
    assert decide(identity, policy, sender, 1.0) is admitted


def test_operators_decisions_outlive_the_setting_and_the_setting_does_not() -> None:
    identity = Identity(id="i", display_name="x", access="pending", created_at=0, decided_by="")
    assert decide(identity, AccessPolicy("open"), Sender("1"), 1.0)
    assert not decide(identity, AccessPolicy("pairing"), Sender("1"), 2.0)
    identity.access, identity.decided_by = "allowed", "olga"
    assert decide(identity, AccessPolicy("pairing"), Sender("1"), 3.0)
    identity.access = "blocked"
    assert not decide(identity, AccessPolicy("open"), Sender("1"), 4.0)


async def test_who_hides_the_phone_number_goes_on_in_the_same_conversation(ada: Person) -> None:
    phone, scoped = "whatsapp:+15551112222", "whatsapp:US.1349"
    ada.address = Address("whatsapp", "w", phone)
    ada.sender = Sender(phone, "Ada", aliases=(scoped,))
    await ada.says("my number is known")
    home = await ada.conversation_id()
    hidden = replace(ada.message("and now it is not"), sender=Sender(scoped, "Ada"))
    hidden = replace(hidden, address=Address("whatsapp", "w", scoped), event_id="hidden")
    await ada.gives(hidden, ada.message("both in one batch"))
    assert [text for text, _ in await ada.inbox()] == [
        "my number is known",
        "and now it is not",
        "both in one batch",
    ]
    quote = await ada.intake.resolve_quote("whatsapp", "w", scoped, hidden.message_id)
    assert quote is not None and quote.text == "and now it is not"
    assert (await ada.turn()).conversation_id == home
    # Another account keeps its own chat with them, and so does a stranger with another id.
    for account, name in (("v", scoped), ("w", "whatsapp:US.2")):
        address = Address("whatsapp", account, name)
        other = replace(hidden, address=address, sender=Sender(name), event_id=f"{account}{name}")
        await ada.intake.accept("whatsapp", account, [other])
        assert await ada.stores.queries.conversation_id(address.key) not in (None, home)
    assert await ada.intake.resolve_quote("whatsapp", "w", "whatsapp:US.2", "m1") is None
