"""One person on WhatsApp, whichever form of the number comes, and also with a new number."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from roost_channels.message import Address
from roost_channels.whatsapp_cloud.inbound import CloudWebhooks
from roost_channels.whatsapp_cloud.testing import NUMBER, settings
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import Stores, open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock

NINTH, OLD = "5511987654321", "551187654321"
CHANGED = {"body": "User A changed from 1 to 2", "type": "user_changed_number"}


@dataclass
class Office:
    """A number at Meta whose webhooks reach a real intake."""

    stores: Stores
    intake: PlatformIntake
    hooks: CloudWebhooks
    ids: "count[int]" = field(default_factory=lambda: count(1))

    async def takes(self, *messages: dict[str, Any], **value: Any) -> None:
        metadata = {"phone_number_id": NUMBER}
        numbered = [{"id": f"wamid.{next(self.ids)}", "timestamp": "1", **m} for m in messages]
        change = {"field": "messages", "value": {"metadata": metadata, "messages": numbered}}
        change["value"] |= value  # type: ignore[operator]
        body = json.dumps({"entry": [{"changes": [change]}]}).encode()
        digest = hmac.new(b"test-app-secret", body, hashlib.sha256).hexdigest()
        reply = await self.hooks.receive({"x-hub-signature-256": f"sha256={digest}"}, body)
        assert reply.status == 200
        await self.intake.drain()

    async def says(self, number: str, *words: str) -> None:
        await self.takes(*({"from": number, "type": "text", "text": {"body": w}} for w in words))

    async def chats(self) -> list[tuple[str, str, list[tuple[str, str]]]]:
        """(chat, thread, (text, state) of what came) of every conversation."""
        async with self.stores.database.read() as session:
            found = (
                await session.scalars(select(models.Conversation).order_by(models.Conversation.id))
            ).all()
            rows = (
                await session.scalars(select(models.Inbox).order_by(models.Inbox.sequence))
            ).all()
        return [
            (
                one.chat.removeprefix("whatsapp:+"),
                one.thread,
                [(r.text, r.state) for r in rows if r.conversation_id == one.id],
            )
            for one in found
        ]

    async def identities(self) -> list[tuple[str, str, set[str]]]:
        people = await self.stores.people.list()
        return [(p.access, p.decided_by, {address for _, address, _ in p.aliases}) for p in people]


async def office(url: str, clock: HandClock, folder: Path, policy: AccessPolicy) -> Office:
    stores = open_stores(
        Database(url, clock=clock), policies={("whatsapp", NUMBER): policy}, files=folder
    )
    intake = PlatformIntake(stores, DoorbellLog())
    return Office(stores, intake, CloudWebhooks(settings(), intake))


def allowlist(*entries: str) -> AccessPolicy:
    return AccessPolicy("allowlist", settings(allowlist=entries).allowlist)


@pytest.fixture
async def listed(
    database_url: str, clock: HandClock, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Office]:
    opened = await office(database_url, clock, tmp_path, allowlist(*request.param))
    yield opened
    await opened.stores.close()


@pytest.fixture
async def pairing(database_url: str, clock: HandClock, tmp_path: Path) -> AsyncIterator[Office]:
    opened = await office(database_url, clock, tmp_path, AccessPolicy())
    yield opened
    await opened.stores.close()


@pytest.mark.parametrize(
    ("listed", "number", "state"),
    [
        (("whatsapp:+5511987654321",), OLD, "pending"),
        (("+55 (11) 8765-4321",), NINTH, "pending"),
        (("whatsapp:+525512345678",), "5215512345678", "pending"),
        (("whatsapp:+5215512345678",), "525512345678", "pending"),
        (("whatsapp:+541112345678",), "5491112345678", "pending"),
        (("whatsapp:+5491112345678",), "541112345678", "pending"),
        (("whatsapp:+5511987654321",), "5511987654322", "ignored"),
        (("whatsapp:+551134567890",), "5511934567890", "ignored"),  # a landline has no ninth digit
        (("whatsapp:+15212345678",), "5212345678", "ignored"),
    ],
    indirect=["listed"],
)
async def test_an_allowlist_knows_every_form_of_a_number(
    listed: Office, number: str, state: str
) -> None:
    await listed.says(number, "hello")
    # The answer goes to the form that came: that one is proved to reach the person.
    assert await listed.chats() == [(number, "", [("hello", state)])]


@pytest.mark.parametrize("first", [NINTH, OLD])
async def test_one_person_under_two_forms_is_one_conversation(pairing: Office, first: str) -> None:
    other = OLD if first == NINTH else NINTH
    await pairing.says(first, "one")
    (person,) = await pairing.stores.people.list()
    await pairing.intake.approve(person.id, "olga")
    await pairing.says(other, "two")
    await pairing.takes(
        {"from": other, "type": "text", "text": {"body": "why?"}, "context": {"id": "wamid.1"}}
    )
    words = [("one", "pending"), ("two", "pending"), ("why?", "pending")]
    assert await pairing.chats() == [(first, "", words)]
    assert len(await pairing.identities()) == 1
    async with pairing.stores.database.read() as session:
        quote = await session.scalar(select(models.Inbox.quote).where(models.Inbox.text == "why?"))
    assert quote is not None and quote["text"] == "one"


async def test_both_forms_in_one_batch_are_one_conversation(pairing: Office) -> None:
    said = [{"from": n, "type": "text", "text": {"body": n}} for n in (OLD, NINTH, OLD)]
    await pairing.takes(*said)
    assert [(chat, len(rows)) for chat, _, rows in await pairing.chats()] == [(OLD, 3)]
    assert len(await pairing.identities()) == 1


async def test_a_person_stored_before_is_known_under_the_other_form(pairing: Office) -> None:
    """Rows of earlier releases have one alias, the form that came."""
    await pairing.says(OLD, "one")
    async with pairing.stores.database.write() as session:
        alias = await session.get_one(models.Alias, ("whatsapp", f"whatsapp:+{NINTH}"))
        await session.delete(alias)
    await pairing.says(NINTH, "two")
    assert [(chat, len(rows)) for chat, _, rows in await pairing.chats()] == [(OLD, 2)]
    assert len(await pairing.identities()) == 1


@pytest.mark.parametrize(("access", "state"), [("allowed", "pending"), ("blocked", "ignored")])
async def test_a_person_met_twice_before_has_the_access_that_was_decided(
    pairing: Office, access: str, state: str
) -> None:
    """Earlier releases took the two forms of a number for two people."""
    other = f"whatsapp:+{NINTH}"
    await pairing.says(OLD, "one")
    async with pairing.stores.database.write() as session:
        (first,) = (await session.scalars(select(models.Identity))).all()
        first.access = access
        twin = models.Identity(id="twin", display_name="", access="pending", created_at=0.0)
        session.add(twin)
        await session.flush()
        alias = await session.get_one(models.Alias, ("whatsapp", other))
        alias.identity_id = twin.id
    await pairing.says(NINTH, "two")
    assert [rows[-1][1] for *_, rows in await pairing.chats()][-1] == state


def changed(was: str, now: str, **more: Any) -> dict[str, Any]:
    return {"from": was, "type": "system", "system": {**CHANGED, "wa_id": now, **more}}


@pytest.mark.parametrize("listed", [("+15550001111",)], indirect=True)
async def test_a_new_number_takes_access_and_conversation_along(listed: Office) -> None:
    await listed.says("15550001111", "one")
    event = {"id": "wamid.c", **changed("15550001111", "15550002222", user_id="US.2")}
    await listed.takes(event)
    await listed.takes(event)  # Meta repeats what it is not sure of
    await listed.says("15550002222", "two")
    hidden = {"from_user_id": "US.2", "type": "text", "text": {"body": "three"}}
    await listed.takes(hidden)
    note = ("whatsapp:+15550002222", "done")
    words = [("one", "pending"), note, ("two", "pending"), ("three", "pending")]
    assert await listed.chats() == [("15550002222", "", words)]
    names = {"whatsapp:+15550002222", "whatsapp:US.2"}
    assert await listed.identities() == [("allowed", "change of number", names)]


async def test_the_old_number_opens_nothing_for_its_next_owner(pairing: Office) -> None:
    await pairing.says("15550001111", "mine")
    (person,) = await pairing.stores.people.list()
    await pairing.intake.approve(person.id, "olga")
    await pairing.takes(changed("15550001111", "15550002222"))
    await pairing.says("15550001111", "who are you?")
    assert [(chat, rows[-1]) for chat, _, rows in await pairing.chats()] == [
        ("15550002222", ("whatsapp:+15550002222", "done")),
        ("15550001111", ("who are you?", "held")),
    ]


async def test_what_came_from_the_new_number_before_the_news_is_answered(pairing: Office) -> None:
    await pairing.says("15550001111", "mine")
    (person,) = await pairing.stores.people.list()
    await pairing.intake.approve(person.id, "olga")
    await pairing.says("15550002222", "I have a new number")
    await pairing.takes(changed("15550001111", "15550002222"))
    await pairing.says("15550002222", "again")
    first, aside = await pairing.chats()
    assert (first[0], first[1], first[2][-1]) == ("15550002222", "", ("again", "pending"))
    assert aside[0] == "15550002222" and aside[1].startswith("before ")
    assert aside[2] == [("I have a new number", "pending")]


async def test_a_blocked_persons_number_is_not_taken_over(pairing: Office) -> None:
    await pairing.says("15550001111", "mine")
    await pairing.says("15550002222", "theirs")
    for person in await pairing.stores.people.list():
        if "whatsapp:+15550002222" in {address for _, address, _ in person.aliases}:
            await pairing.stores.people.block(person.id, "olga")
        else:
            await pairing.intake.approve(person.id, "olga")
    await pairing.takes(changed("15550001111", "15550002222"))
    await pairing.says("15550002222", "let me in")
    await pairing.says("15550001111", "still me")
    states = {chat: rows[-1][1] for chat, _, rows in await pairing.chats()}
    assert states == {"15550001111": "pending", "15550002222": "ignored"}


async def test_a_strangers_change_of_number_makes_nobody(pairing: Office) -> None:
    await pairing.takes(changed("15550001111", "15550002222"))
    assert await pairing.identities() == []
    await pairing.takes({"from": "15550001111", "type": "system", "system": {"type": "news"}})
    assert await pairing.identities() == []


async def test_a_groups_words_are_kept_apart_and_not_answered(
    pairing: Office, caplog: pytest.LogCaptureFixture
) -> None:
    await pairing.says("15550001111", "mine")
    (person,) = await pairing.stores.people.list()
    await pairing.intake.approve(person.id, "olga")
    words = {"from": "15550001111", "type": "text", "text": {"body": "hi all"}}
    await pairing.takes({**words, "group_id": "G1"})
    assert [rows for *_, rows in await pairing.chats()] == [
        [("mine", "pending")],
        [("hi all", "ignored")],
    ]
    assert "group" in caplog.text
    conversation = await pairing.stores.queries.conversation_id(
        Address("whatsapp", NUMBER, "whatsapp:group:G1").key
    )
    assert conversation is not None
