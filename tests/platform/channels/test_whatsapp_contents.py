"""What people send on WhatsApp reaches the agent, and a reply to it quotes its words."""

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roost_channels.message import Address, Sender
from roost_channels.whatsapp_cloud.inbound import CloudWebhooks
from roost_channels.whatsapp_cloud.testing import NUMBER, settings
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock, Person

USER = "16505551234"
KINDS: list[tuple[dict[str, Any], str]] = [
    (
        {
            "type": "interactive",
            "interactive": {
                "type": "nfm_reply",
                "nfm_reply": {"name": "flow", "response_json": '{"guests": 4}'},
            },
        },
        "[form: guests: 4]",
    ),
    (
        {
            "type": "order",
            "order": {
                "product_items": [
                    {
                        "product_retailer_id": "S",
                        "quantity": 1,
                        "item_price": 3,
                        "currency": "EUR",
                    }
                ]
            },
        },
        "[order: 1 x S at 3 EUR]",
    ),
    (
        {
            "type": "contacts",
            "contacts": [{"name": {"formatted_name": "Ben"}, "phones": [{"phone": "+1 5"}]}],
        },
        "[contact: Ben, +1 5]",
    ),
    ({"type": "hologram", "hologram": {"depth": 3}}, "[hologram: depth: 3]"),
    (
        {"type": "request_welcome"},
        "[request_welcome: the person opened this chat for the first time and has not written yet]",
    ),
]


@pytest.fixture
async def ben(database_url: str) -> AsyncIterator[Person]:
    clock, doorbell = HandClock(), DoorbellLog()
    policies = {("whatsapp", NUMBER): AccessPolicy("open")}
    stores = open_stores(Database(database_url, clock=clock), policies=policies)
    address = Address("whatsapp", NUMBER, f"whatsapp:+{USER}")
    intake = PlatformIntake(stores, doorbell)
    yield Person(stores, intake, doorbell, address, Sender(address.chat, "Ben"))
    await stores.close()


async def take(person: Person, *messages: dict[str, Any]) -> None:
    value = {"metadata": {"phone_number_id": NUMBER}, "messages": list(messages)}
    body = json.dumps({"entry": [{"changes": [{"field": "messages", "value": value}]}]}).encode()
    digest = hmac.new(b"test-app-secret", body, hashlib.sha256).hexdigest()
    hooks = CloudWebhooks(settings(), person.intake)
    reply = await hooks.receive({"x-hub-signature-256": f"sha256={digest}"}, body)
    assert reply.status == 200
    await person.intake.drain()


async def test_every_kind_is_in_the_prompt_and_in_quotes_of_it(ben: Person) -> None:
    sent = [
        {"from": USER, "id": f"wamid.{n}", "timestamp": "1", **content}
        for n, (content, _) in enumerate(KINDS)
    ]
    reply = {"from": USER, "timestamp": "1", "type": "text", "text": {"body": "that one"}}
    replies = [
        {**reply, "id": f"wamid.r{n}", "context": {"from": USER, "id": f"wamid.{n}"}}
        for n in range(len(KINDS))
    ]
    await take(ben, *sent, *replies)
    context = await ben.stores.turns.context((await ben.turn()).turn_id, 1)
    words = [message.content for message in context.messages]
    assert words == [told for _, told in KINDS] + ["that one"] * len(KINDS)
    quoted = [m.quoted["excerpt"] for m in context.messages if m.quoted is not None]
    assert quoted == [told for _, told in KINDS]
    assert ben.doorbell.rung


async def test_a_poisoned_message_holds_up_nobody(ben: Person) -> None:
    deep: Any = "bottom"
    for _ in range(80):  # a body of more than 96 levels is refused as a whole
        deep = [deep]
    base = {"from": USER, "timestamp": "1", "type": "text"}
    await take(
        ben,
        {**base, "id": "wamid.1", "text": {"body": "\ud83d half\x00"}},
        {**base, "id": "wamid.\x00\ud83d", "text": {"body": "no id"}},
        {**base, "id": "wamid.2", "type": "hologram", "hologram": deep},
        {**base, "id": "wamid.3", "text": {"body": "a"}, "context": {"id": "\ud83d\x00"}},
        {
            **base,
            "id": "wamid.4",
            "type": "order",
            "order": {"product_items": [{"a": float("nan")}]},
        },
    )
    states = [state for _, state in await ben.inbox()]
    assert states == ["pending"] * 4
