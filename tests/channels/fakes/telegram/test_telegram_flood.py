"""Flood control: windows, announced waits, and a record of calls that ignore them."""

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from roost_channels.testing import FakeTelegram, FloodLimits, VirtualClock

Call = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]


@pytest.fixture
async def strict(clock: VirtualClock) -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram(clock=clock, flood=FloodLimits.documented()) as fake:
        await fake.user_says(7, "Hi")
        yield fake


async def test_a_burst_is_let_through_and_then_one_message_a_second(
    strict: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    outcomes = [(await call(strict, "sendMessage", chat_id=7, text="x"))[0] for _ in range(6)]
    assert outcomes == [200] * 5 + [429]
    await clock.advance(5)
    assert (await call(strict, "sendMessage", chat_id=7, text="x"))[0] == 200


async def test_a_429_says_how_long_in_text_parameters_and_header(
    strict: FakeTelegram, http: httpx2.AsyncClient
) -> None:
    url = f"{strict.base_url}/bot{strict.token}/sendMessage"
    for _ in range(6):
        answer = await http.post(url, json={"chat_id": 7, "text": "x"})
    body = answer.json()
    assert answer.status_code == body["error_code"] == 429
    assert body["description"] == "Too Many Requests: retry after 5"
    assert body["parameters"] == {"retry_after": 5}
    assert answer.headers["Retry-After"] == "5"


async def test_groups_get_twenty_messages_a_minute_over_all_topics(
    strict: FakeTelegram, call: Call
) -> None:
    strict.add_group(-1001, topics={5: "Ideas"})
    for number in range(20):
        thread = {"message_thread_id": 5} if number % 2 else {}
        assert (await call(strict, "sendMessage", chat_id=-1001, text="x", **thread))[0] == 200
    status, body = await call(strict, "sendMessage", chat_id=-1001, text="x")
    assert (status, body["parameters"]["retry_after"]) == (429, 60)


async def test_all_chats_together_get_thirty_messages_a_second(
    strict: FakeTelegram, call: Call
) -> None:
    for chat in range(100, 131):
        await strict.user_says(chat, "Hi")
    outcomes = [
        (await call(strict, "sendMessage", chat_id=chat, text="x"))[0] for chat in range(100, 131)
    ]
    assert outcomes == [200] * 30 + [429]


async def test_typing_and_drafts_share_a_budget(strict: FakeTelegram, call: Call) -> None:
    for number in range(20):
        method = "sendChatAction" if number % 2 else "sendMessageDraft"
        status, _ = await call(
            strict, method, chat_id=7, action="typing", draft_id=1, text=str(number)
        )
        assert status == 200
    assert (await call(strict, "sendChatAction", chat_id=7, action="typing"))[0] == 429
    # Messages have a budget of their own.
    assert (await call(strict, "sendMessage", chat_id=7, text="x"))[0] == 200


async def test_calls_inside_the_wait_are_refused_and_recorded(
    strict: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    for _ in range(6):
        await call(strict, "sendMessage", chat_id=7, text="x")
    assert strict.early_calls == []
    await clock.advance(2)
    assert (await call(strict, "sendMessage", chat_id=7, text="x"))[0] == 429
    assert [early.method for early in strict.early_calls] == ["sendMessage"]
    await clock.advance(5)
    await call(strict, "sendMessage", chat_id=7, text="x")
    assert len(strict.early_calls) == 1


async def test_with_a_penalty_each_call_inside_the_wait_makes_it_longer(
    clock: VirtualClock, call: Call
) -> None:
    limits = replace(FloodLimits.documented(), penalty_s=5)
    async with FakeTelegram(clock=clock, flood=limits) as fake:
        await fake.user_says(7, "Hi")
        waits = []
        for _ in range(8):
            _, body = await call(fake, "sendMessage", chat_id=7, text="x")
            waits.append(body.get("parameters", {}).get("retry_after"))
        assert waits == [None] * 5 + [5, 10, 15]
        await clock.advance(15)
        assert (await call(fake, "sendMessage", chat_id=7, text="x"))[0] == 200


async def test_an_album_counts_each_of_its_messages(strict: FakeTelegram, call: Call) -> None:
    known = strict.add_file(b"x").file_id
    media = [{"type": "document", "media": known} for _ in range(5)]
    assert (await call(strict, "sendMediaGroup", chat_id=7, media=media))[0] == 200
    assert (await call(strict, "sendMessage", chat_id=7, text="x"))[0] == 429
    assert (await call(strict, "sendRichMessageDraft", chat_id=7, draft_id=1))[0] == 400
    assert [early.method for early in strict.early_calls] == []


async def test_an_injected_rate_limit_strikes_its_count_and_early_calls_are_recorded(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    await timed_telegram.user_says(7, "Hi")
    timed_telegram.fault("rate_limit", "sendMessage", value=30, count=1)
    _, body = await call(timed_telegram, "sendMessage", chat_id=7, text="x")
    assert body["parameters"]["retry_after"] == 30
    assert (await call(timed_telegram, "sendMessage", chat_id=7, text="x"))[0] == 200
    assert len(timed_telegram.early_calls) == 1


async def test_an_injected_wait_for_a_deletion_concerns_its_chat_only(
    timed_telegram: FakeTelegram, call: Call
) -> None:
    timed_telegram.fault("rate_limit", "deleteMessage", value=30, count=1)
    assert (await call(timed_telegram, "deleteMessage", chat_id=7, message_id=1))[0] == 429
    await call(timed_telegram, "deleteMessage", chat_id=8, message_id=1)
    assert timed_telegram.early_calls == []
    await call(timed_telegram, "deleteMessage", chat_id=7, message_id=1)
    assert len(timed_telegram.early_calls) == 1


async def test_by_default_nothing_is_limited(telegram: FakeTelegram, call: Call) -> None:
    await telegram.user_says(7, "Hi")
    outcomes = {(await call(telegram, "sendMessage", chat_id=7, text="x"))[0] for _ in range(50)}
    assert outcomes == {200}
