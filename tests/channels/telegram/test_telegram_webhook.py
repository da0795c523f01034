"""Telegram's webhook commits before it answers, and refuses what is not Telegram's."""

import json

import pytest

from roost_channels.message import Button
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.inbound.webhook import TelegramWebhook
from roost_channels.testing.memory.intake import MemoryIntake

UPDATE = {
    "update_id": 1,
    "message": {
        "message_id": 5,
        "from": {"id": 7, "first_name": "Ada"},
        "chat": {"id": 7, "type": "private"},
        "date": 1,
        "text": "hi",
    },
}
SECRET = {"X-Telegram-Bot-Api-Secret-Token": "s3cret"}


def webhook(intake: MemoryIntake, secret: str | None = "s3cret") -> TelegramWebhook:
    settings = {"token": "42:TEST", "mode": "webhook", "webhook_secret": secret}
    return TelegramWebhook(TelegramConfig.model_validate(settings), intake)


async def test_the_webhook_commits_before_it_answers() -> None:
    intake = MemoryIntake()
    reply = await webhook(intake).handle(SECRET, json.dumps(UPDATE).encode())
    assert reply.status == 200 and list(intake.messages) == ["1"]
    intake.faults.append(RuntimeError("database is locked"))
    refused = await webhook(intake).handle(SECRET, json.dumps({**UPDATE, "update_id": 2}).encode())
    assert refused.status == 500 and list(intake.messages) == ["1"]


@pytest.mark.parametrize("headers", [{}, {"x-telegram-bot-api-secret-token": "wrong"}])
async def test_s1_a_wrong_secret_stores_nothing(headers: dict[str, str]) -> None:
    intake = MemoryIntake()
    reply = await webhook(intake).handle(headers, json.dumps(UPDATE).encode())
    assert reply.status == 401 and not intake.messages
    # The secret is looked at before the body.
    assert (await webhook(intake).handle(headers, b"\xff{")).status == 401


@pytest.mark.parametrize("secret", [None, "", "with spaces", "ü"])
def test_s1_a_webhook_without_a_proper_secret_does_not_start(secret: str | None) -> None:
    with pytest.raises(ValueError, match="webhook_secret"):
        webhook(MemoryIntake(), secret)


async def test_bodies_have_bounds_and_shape() -> None:
    hook = webhook(MemoryIntake())
    assert (await hook.handle(SECRET, b"x" * 1_048_577)).status == 413
    for body in (b"", b"[]", b"nonsense", b"{}", b"7", b"[" * 100_000):
        assert (await hook.handle(SECRET, body)).status == 400


async def test_an_edit_in_a_group_is_compared_with_our_name() -> None:
    intake = MemoryIntake()
    config = {"token": "42:TEST", "mode": "webhook", "webhook_secret": "s3cret"}

    async def name() -> str:
        return "RoostBot"

    hook = TelegramWebhook(TelegramConfig.model_validate(config), intake, identify=name)
    message = {
        **UPDATE["message"],  # type: ignore[dict-item]
        "chat": {"id": -7, "type": "supergroup"},
        "text": "@roostbot hi",
        "entities": [{"type": "mention", "offset": 0, "length": 9}],
    }
    await hook.handle(SECRET, json.dumps({"update_id": 4, "edited_message": message}).encode())
    assert intake.messages["4"].kind == "edited" and intake.messages["4"].is_addressed
    await hook.close()


async def test_a_press_is_answered_in_the_response_itself() -> None:
    body = {"message_id": 5, "chat": {"id": 7, "type": "private"}, "date": 1}
    query = {"id": "99", "from": {"id": 7}, "message": body, "data": "stop:t"}
    intake = MemoryIntake()
    update = json.dumps({"update_id": 3, "callback_query": query}).encode()
    reply = await webhook(intake).handle(SECRET, update)
    assert json.loads(reply.body) == {"method": "answerCallbackQuery", "callback_query_id": "99"}
    assert intake.messages["3"].kind == "callback"


def test_a_buttons_data_keeps_to_what_telegram_takes() -> None:
    assert Button("Stop", "é" * 32).data
    with pytest.raises(ValueError, match="at most 64 bytes"):
        Button("Stop", "é" * 33)
