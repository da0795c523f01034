"""Meta's webhooks as documented are read whole, and refused without its signature."""

import hashlib
import hmac
import json
from typing import Any, ClassVar

import pytest

from roost_channels.intake import Accepted, Refusal
from roost_channels.testing.memory.intake import MemoryIntake
from roost_channels.whatsapp.window import INVITATION
from roost_channels.whatsapp_cloud.inbound import (
    BATCH_MAX,
    BODY_BYTES_MAX,
    WAITING,
    CloudWebhooks,
)
from roost_channels.whatsapp_cloud.testing import ADDRESS, NUMBER, USER, newest, settings

TEXT = {
    "from": "16505551234",
    "id": "wamid.HBgLMTY1MDM4Nzk0MzkVAgASGBQzQTRBNjU5OUFFRTAzODEwMTQ0RgA=",
    "timestamp": "1749416383",
    "type": "text",
    "text": {"body": "Does it come in another color?"},
}
CONTACT = {"profile": {"name": "Sheena Nelson"}, "wa_id": "16505551234"}


def payload(*messages: Any, number: str = NUMBER, **value: Any) -> bytes:
    inner = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": number},
        "contacts": [CONTACT],
        "messages": list(messages),
        **value,
    }
    changes = [{"value": inner, "field": "messages"}]
    whole = {
        "object": "whatsapp_business_account",
        "entry": [{"id": "102290129340398", "changes": changes}],
    }
    return json.dumps(whole).encode()


def signed(body: bytes, secret: str = "test-app-secret") -> dict[str, str]:
    digest = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    return {"X-Hub-Signature-256": f"sha256={digest}"}


async def take(*messages: dict[str, Any], **value: Any) -> MemoryIntake:
    """What the intake has after one signed webhook."""
    intake = MemoryIntake()
    body = payload(*messages, **value)
    reply = await CloudWebhooks(settings(window_template="ready"), intake).receive(
        signed(body), body
    )
    assert reply.status == 200
    return intake


async def test_the_documented_text_message_is_read_whole() -> None:
    found = newest(await take(TEXT))
    assert found.address == ADDRESS and found.text == "Does it come in another color?"
    assert found.event_id == found.message_id == TEXT["id"]
    assert (found.sender.address, found.sender.display_name) == (USER, "Sheena Nelson")
    assert found.sent_at == 1749416383.0 and found.raw == TEXT and found.quote is None


@pytest.mark.parametrize(
    ("content", "text", "kind", "attachments"),
    [
        (
            {"type": "image", "image": {"id": "1", "mime_type": "image/jpeg", "caption": "this"}},
            "this",
            "message",
            [("photo", "1")],
        ),
        ({"type": "audio", "audio": {"id": "2", "voice": True}}, "", "message", [("voice", "2")]),
        ({"type": "audio", "audio": {"id": "2"}}, "", "message", [("audio", "2")]),
        (
            {"type": "document", "document": {"id": "3", "filename": "a.pdf"}},
            "",
            "message",
            [("document", "3")],
        ),
        ({"type": "sticker", "sticker": {"id": "4"}}, "", "message", [("sticker", "4")]),
        (
            {"type": "location", "location": {"latitude": 1.5, "longitude": 2, "name": "Here"}},
            "",
            "message",
            [("location", "")],
        ),
        (
            {"type": "contacts", "contacts": [{"name": {"formatted_name": "Ben"}}]},
            "",
            "message",
            [("contact", "")],
        ),
        (
            {
                "type": "interactive",
                "interactive": {
                    "type": "button_reply",
                    "button_reply": {"id": "y", "title": "Yes"},
                },
            },
            "Yes",
            "message",
            [],
        ),
        (
            {
                "type": "interactive",
                "interactive": {"type": "list_reply", "list_reply": {"id": "a", "title": "First"}},
            },
            "First",
            "message",
            [],
        ),
        (
            {
                "type": "interactive",
                "interactive": {
                    "type": "button_reply",
                    "button_reply": {"id": "stop:t1", "title": "Stop"},
                },
            },
            "stop:t1",
            "callback",
            [],
        ),
        ({"type": "button", "button": {"text": "No", "payload": "n"}}, "No", "message", []),
        ({"type": "reaction", "reaction": {"message_id": "w", "emoji": "👍"}}, "", "other", []),
        (
            {
                "type": "edit",
                "edit": {
                    "original_message_id": "wamid.old",
                    "message": {"type": "text", "text": {"body": "now so"}},
                },
            },
            "now so",
            "edited",
            [],
        ),
        ({"type": "revoke", "revoke": {"original_message_id": "wamid.old"}}, "", "revoked", []),
        ({"type": "system", "system": {"body": "changed number"}}, "", "other", []),
        (
            {"type": "unsupported", "errors": [{"code": 131051, "title": "Unsupported"}]},
            "",
            "message",
            [("unsupported", "")],
        ),
        ({"type": "hologram", "hologram": {}}, "", "message", [("hologram", "")]),
        ({}, "", "message", [("message", "")]),
    ],
)
async def test_every_type_of_message_is_taken(
    content: dict[str, Any], text: str, kind: str, attachments: list[tuple[str, str]]
) -> None:
    base = {"from": "16505551234", "id": "wamid.1", "timestamp": "1749416383"}
    found = newest(await take(base | content))
    assert (found.text, found.kind) == (text, kind)
    assert [(a.kind, a.provider_id) for a in found.attachments] == attachments
    assert found.message_id == ("wamid.old" if kind in ("edited", "revoked") else "wamid.1")
    assert found.event_id == "wamid.1"


@pytest.mark.parametrize("timestamp", ["²", "", "soon", "-1", 5, None])
async def test_a_time_that_is_no_number_loses_no_message(timestamp: Any) -> None:
    found = newest(await take(TEXT | {"timestamp": timestamp}))
    assert found.text == TEXT["text"]["body"] and found.sent_at > 0  # type: ignore[index]


async def test_people_without_a_phone_number_are_known_by_their_business_scoped_id() -> None:
    anonymous = {k: v for k, v in TEXT.items() if k != "from"} | {"from_user_id": "US.1349"}
    contact = {"profile": {"name": "S", "username": "@sheena"}, "user_id": "US.1349"}
    found = newest(await take(anonymous, contacts=[contact]))
    assert found.address.chat == found.sender.address == "whatsapp:US.1349"
    assert (found.sender.username, found.sender.aliases) == ("@sheena", ())
    both = newest(await take(TEXT, contacts=[CONTACT | {"user_id": "US.1349"}]))
    assert both.sender.address == USER and both.sender.aliases == ("whatsapp:US.1349",)


async def test_receipts_carry_our_part_and_what_a_failure_means() -> None:
    def status(name: str, *codes: int) -> dict[str, Any]:
        errors = [{"code": c, "title": "T", "error_data": {"details": "D"}} for c in codes]
        return {
            "id": "wamid.out",
            "status": name,
            "recipient_id": "16505551234",
            "biz_opaque_callback_data": "part-1",
            **({"errors": errors} if errors else {}),
        }

    statuses = [status("sent"), *(status("failed", c) for c in (131047, 131056, 131053, 131026))]
    intake = await take(statuses=statuses)
    assert [(r.part_id, r.message_id, r.status) for r in intake.receipts] == [
        ("part-1", "wamid.out", name) for name in ("sent", *["failed"] * 4)
    ]
    assert [r.refusal for r in intake.receipts] == [
        None,
        Refusal(held=True, invitation=INVITATION),
        Refusal(retry_after_s=60.0),
        Refusal(of_content=True),
        None,
    ]


async def test_what_is_not_for_this_number_or_not_readable_changes_nothing() -> None:
    assert not (await take(TEXT, number="999")).messages
    intake = await take({"type": "text"}, contacts="x", statuses=[{"status": "sent"}])
    dead = newest(intake)
    assert dead.problem == "ValueError: no id" and dead.kind == "other" and not intake.receipts
    intake = await take(errors=[{"code": 130429, "title": "Rate limit hit"}])
    assert intake.states == [("degraded", "Rate limit hit")]


async def test_an_account_whose_problem_is_over_is_up_again() -> None:
    intake = MemoryIntake()
    hooks = CloudWebhooks(settings(), intake)
    problem = payload(errors=[{"code": 130429, "title": "Rate limit hit"}])
    for body in (problem, payload(), payload(TEXT), payload(TEXT)):
        assert (await hooks.receive(signed(body), body)).status == 200
    assert intake.states == [("degraded", "Rate limit hit"), ("up", WAITING)]
    hooks = CloudWebhooks(settings(), intake)
    for body in (b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 50_000):
        assert (await hooks.receive(signed(body), body)).status == 400
    assert (await hooks.receive({}, b"x" * (BODY_BYTES_MAX + 1))).status == 413


async def test_a_large_batch_is_stored_in_short_transactions() -> None:
    class Counting(MemoryIntake):
        sizes: ClassVar[list[int]] = []

        async def accept(self, channel: str, account: str, batch: Any, **rest: Any) -> Accepted:
            self.sizes.append(len(batch))
            return await super().accept(channel, account, batch, **rest)

    intake = Counting()
    body = payload(*({**TEXT, "id": f"wamid.{n}"} for n in range(2 * BATCH_MAX + 5)), "x")
    hooks = CloudWebhooks(settings(), intake)
    assert (await hooks.receive(signed(body), body)).status == 200
    assert intake.sizes == [BATCH_MAX, BATCH_MAX, 6]
    # What is no message stands among them as a dead letter; a repeat of all changes nothing.
    assert len([m for m in intake.messages.values() if m.problem]) == 1
    assert (await hooks.receive(signed(body), body)).status == 200
    assert len(intake.messages) == 2 * BATCH_MAX + 6


# From Meta's own description of the header: computed once by another program (openssl dgst).
VECTOR = (
    b'{"object":"whatsapp_business_account","entry":[]}',
    "sha256=db780e74b7152a02fc0b09479909f9711f095199be060883718889797fa8638d",
)


async def test_the_signature_is_the_one_that_openssl_computes() -> None:
    body, header = VECTOR
    hooks = CloudWebhooks(settings(app_secret="s3cr3t"), MemoryIntake())
    assert (await hooks.receive({"x-hub-signature-256": header}, body)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": "sha256="},
        {"X-Hub-Signature-256": "sha256=ünïcode"},
        signed(payload(TEXT), "another secret"),
        signed(payload(TEXT) + b" "),
        {"X-Hub-Signature": signed(payload(TEXT))["X-Hub-Signature-256"]},
        {"X-Hub-Signature-256": signed(payload(TEXT))["X-Hub-Signature-256"][7:]},
    ],
)
async def test_s2_a_wrong_signature_is_refused_and_stores_nothing(headers: dict[str, str]) -> None:
    intake = MemoryIntake()
    reply = await CloudWebhooks(settings(), intake).receive(headers, payload(TEXT))
    assert reply.status == 403 and not intake.messages


def test_metas_question_is_answered_only_with_our_word() -> None:
    hooks = CloudWebhooks(settings(), MemoryIntake())
    asked = {"hub.mode": "subscribe", "hub.verify_token": "open sesame", "hub.challenge": "1158"}
    assert (hooks.verify(asked).status, hooks.verify(asked).body) == (200, b"1158")
    for wrong in ({"hub.verify_token": "ünïcode"}, {"hub.mode": "x"}, {"hub.verify_token": ""}):
        assert hooks.verify(asked | wrong).status == 403
