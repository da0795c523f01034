"""FakeTelegram's webhooks: secret, order per chat, retries, and calls in the response."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from aiohttp import web

from roost_channels.testing import FakeTelegram, VirtualClock

Call = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]


def texts(receiver: Any) -> list[str]:
    return [json.loads(request.body)["message"]["text"] for request in receiver.received]


async def listen(call: Call, fake: FakeTelegram, receiver: Any, **parameters: Any) -> None:
    url = f"{receiver.base_url}/hooks/telegram/42"
    status, body = await call(fake, "setWebhook", url=url, **parameters)
    assert status == 200, body


async def test_updates_come_as_json_with_the_secret(
    telegram: FakeTelegram, call: Call, receiver: Any
) -> None:
    await telegram.user_says(7, "before")
    await listen(call, telegram, receiver, secret_token="s3cret")
    await telegram.user_says(7, "after")
    await receiver.got(2)
    assert texts(receiver) == ["before", "after"]
    headers = receiver.received[0].headers
    assert headers["X-Telegram-Bot-Api-Secret-Token"] == "s3cret"
    assert headers["Content-Type"] == "application/json"
    await telegram.until(lambda: not telegram.core.updates.pending)


async def test_without_a_secret_there_is_no_header(
    telegram: FakeTelegram, call: Call, receiver: Any
) -> None:
    await listen(call, telegram, receiver)
    await telegram.user_says(7, "one")
    await receiver.got(1)
    assert "X-Telegram-Bot-Api-Secret-Token" not in receiver.received[0].headers


async def test_a_failing_update_holds_back_its_own_chat_only(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call, receiver: Any
) -> None:
    fake = timed_telegram
    await listen(call, fake, receiver)
    receiver.answers = [web.Response(status=500), web.Response(status=500)]
    await fake.user_says(7, "first")
    await fake.user_says(7, "second")
    await receiver.got(2)  # the first retry comes at once
    await fake.until(lambda: fake.core.webhook.last_error)
    await fake.user_says(8, "other chat")
    await receiver.got(3)
    assert texts(receiver) == ["first", "first", "other chat"]
    _, info = await call(fake, "getWebhookInfo")
    assert info["result"]["last_error_message"] == (
        "Wrong response from the webhook: 500 Internal Server Error"
    )
    assert info["result"]["pending_update_count"] == 2
    await _until_sleeping(clock)
    await clock.advance(2)
    await receiver.got(5)
    assert texts(receiver)[3:] == ["first", "second"]


async def _until_sleeping(clock: VirtualClock) -> None:
    async with asyncio.timeout(10):
        while clock.sleeping == 0:
            await asyncio.sleep(0.005)


async def test_retry_after_is_honoured(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call, receiver: Any
) -> None:
    await listen(call, timed_telegram, receiver)
    receiver.answers = [web.Response(status=429, headers={"Retry-After": "30"})]
    await timed_telegram.user_says(7, "patience")
    await receiver.got(1)
    await _until_sleeping(clock)
    await clock.advance(29)
    assert len(receiver.received) == 1
    await clock.advance(2)
    await receiver.got(2)


async def test_the_answer_may_carry_a_method_call(
    telegram: FakeTelegram, call: Call, receiver: Any
) -> None:
    await listen(call, telegram, receiver)
    receiver.answers = [
        web.json_response({"method": "sendMessage", "chat_id": 7, "text": "Hello back"}),
        web.json_response({"method": "deleteWebhook"}),
    ]
    await telegram.user_says(7, "Hello")
    await telegram.until(lambda: telegram.bot_texts(7) == ["Hello back"])
    await telegram.user_says(7, "Again")
    await receiver.got(2)
    assert telegram.core.webhook.url


async def test_an_injected_duplicate_is_posted_twice(
    telegram: FakeTelegram, call: Call, receiver: Any
) -> None:
    await listen(call, telegram, receiver)
    telegram.fault("duplicate_update", "message")
    await telegram.user_says(7, "twice")
    await receiver.got(2)
    assert receiver.received[0].body == receiver.received[1].body


@pytest.mark.parametrize(
    ("parameters", "description"),
    [
        ({"url": "http://example.org/"}, "bad webhook: An HTTPS URL must be provided for webhook"),
        ({"url": "https://e.org:8080/"}, "bad webhook: Webhook can be set up only on ports 80"),
        ({"url": "https://e.org", "secret_token": "a b"}, "secret token contains unallowed"),
        ({"url": "https://e.org", "secret_token": "a" * 257}, "secret token is too long"),
    ],
)
async def test_webhook_refusals(
    telegram: FakeTelegram, call: Call, parameters: dict[str, str], description: str
) -> None:
    status, body = await call(telegram, "setWebhook", **parameters)
    assert status == 400
    assert body["description"].startswith(f"Bad Request: {description}")


async def test_setting_a_webhook_ends_the_long_poll(
    telegram: FakeTelegram, call: Call, receiver: Any
) -> None:
    poll = asyncio.create_task(call(telegram, "getUpdates", timeout=50))
    await telegram.until(lambda: telegram.polling)
    await listen(call, telegram, receiver)
    status, body = await poll
    assert (status, body["description"]) == (
        409,
        "Conflict: terminated by setWebhook request",
    )
