"""The intake's contract, held by the one in memory that adapters are tested with, and by ours."""

from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import count

import pytest

from roost_channels.intake import Accepted, Intake
from roost_channels.message import Address, InboundMessage, Sender
from roost_channels.testing.memory.intake import MemoryIntake
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock

ACCOUNT, OTHER = ("telegram", "42"), ("telegram", "43")
_ids = count(1)


def message(text: str = "hello", *, chat: str = "7", account: str = "42") -> InboundMessage:
    number = next(_ids)
    return InboundMessage(
        address=Address("telegram", account, chat),
        event_id=f"{number}",
        message_id=f"m{number}",
        sender=Sender(chat, "Ada"),
        text=text,
        sent_at=1.0,
    )


def counts(accepted: Accepted) -> tuple[int, int]:
    return accepted.stored, accepted.duplicates


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def where(request: pytest.FixtureRequest) -> str | None:
    """The database's URL, None for the intake in memory."""
    fixtures = {"sqlite": "sqlite_url", "postgresql": "postgres_url"}
    name = fixtures.get(request.param)
    return None if name is None else str(request.getfixturevalue(name))


@pytest.fixture
async def door(where: str | None) -> AsyncIterator[Intake]:
    if where is None:
        yield MemoryIntake()
        return
    policies = {account: AccessPolicy("open") for account in (ACCOUNT, OTHER)}
    stores = open_stores(Database(where, clock=HandClock()), policies=policies)
    yield PlatformIntake(stores, DoorbellLog())
    await stores.close()


async def test_a_redelivery_is_a_duplicate_in_a_later_batch_and_in_the_same(door: Intake) -> None:
    first, second = message(), message()
    assert counts(await door.accept(*ACCOUNT, [first, first, second])) == (2, 1)
    assert counts(await door.accept(*ACCOUNT, [second, message()])) == (1, 1)
    assert counts(await door.accept(*ACCOUNT, [])) == (0, 0)


async def test_accounts_share_no_event_ids(door: Intake) -> None:
    here = message()
    there = replace(here, address=replace(here.address, account="43"))
    assert counts(await door.accept(*ACCOUNT, [here])) == (1, 0)
    assert await door.unseen(*OTHER, [here.event_id]) == {here.event_id}
    assert counts(await door.accept(*OTHER, [there])) == (1, 0)
    assert counts(await door.accept(*OTHER, [there])) == (0, 1)
    assert await door.unseen(*OTHER, [here.event_id]) == frozenset()


async def test_a_number_that_comes_again_for_another_message_is_new(door: Intake) -> None:
    old = message("a week ago")
    new = replace(message("today"), event_id=old.event_id)
    assert counts(await door.accept(*ACCOUNT, [old])) == (1, 0)
    assert counts(await door.accept(*ACCOUNT, [new])) == (1, 0)
    assert counts(await door.accept(*ACCOUNT, [new, old])) == (0, 2)


async def test_the_offset_is_each_accounts_and_stays_without_a_new_one(door: Intake) -> None:
    assert await door.cursor(*ACCOUNT) is None
    await door.accept(*ACCOUNT, [message()], cursor=8)
    await door.accept(*ACCOUNT, [message()])
    assert (await door.cursor(*ACCOUNT), await door.cursor(*OTHER)) == (8, None)
    await door.accept(*ACCOUNT, [], cursor=9)
    assert await door.cursor(*ACCOUNT) == 9


async def test_what_was_never_accepted_is_unseen(door: Intake) -> None:
    known = message()
    await door.accept(*ACCOUNT, [known])
    assert await door.unseen(*ACCOUNT, [known.event_id, "missed"]) == {"missed"}
    assert await door.unseen(*ACCOUNT, []) == frozenset()


async def test_what_arrived_is_known_as_a_quote_in_its_chat(door: Intake) -> None:
    said = message("the first words")
    await door.accept(*ACCOUNT, [said])
    quote = await door.resolve_quote(*ACCOUNT, "7", said.message_id)
    assert quote is not None
    assert (quote.ref, quote.author, quote.resolved) == (said.message_id, "user", True)
    assert (quote.text, quote.excerpt, quote.utf16_start) == (said.text, said.text, 0)
    edited = replace(message("other words"), message_id=said.message_id, kind="edited")
    await door.accept(*ACCOUNT, [edited])
    quote = await door.resolve_quote(*ACCOUNT, "7", said.message_id)
    assert quote is not None and quote.text == "other words"
    assert await door.resolve_quote(*ACCOUNT, "8", said.message_id) is None
    assert await door.resolve_quote(*OTHER, "7", said.message_id) is None
    assert await door.resolve_quote(*ACCOUNT, "7", "m0") is None


async def test_every_pressed_button_has_an_answer_once(door: Intake) -> None:
    pressed = replace(message("made up"), kind="callback")
    first = await door.accept(*ACCOUNT, [pressed, message()])
    assert set(first.answers) == {pressed.event_id}
    assert (await door.accept(*ACCOUNT, [pressed])).answers == {}
