"""getUpdates: offsets, long polls, allowed types, conflicts, expiry and delivery faults."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
import pytest

from roost_channels.testing import FakeTelegram, VirtualClock

Call = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]


def ids(body: Any) -> list[int]:
    return [update["update_id"] for update in body["result"]]


def texts(body: Any) -> list[str]:
    return [update["message"]["text"] for update in body["result"]]


async def test_an_update_comes_again_until_a_higher_offset_confirms_it(
    telegram: FakeTelegram, call: Call
) -> None:
    await telegram.user_says(7, "one")
    await telegram.user_says(7, "two")
    _, first = await call(telegram, "getUpdates")
    _, again = await call(telegram, "getUpdates", offset=ids(first)[0])
    _, rest = await call(telegram, "getUpdates", offset=ids(first)[1])
    assert (texts(first), texts(again), texts(rest)) == (["one", "two"], ["one", "two"], ["two"])


async def test_limit_and_negative_offset(telegram: FakeTelegram, call: Call) -> None:
    for text in ("one", "two", "three"):
        await telegram.user_says(7, text)
    _, limited = await call(telegram, "getUpdates", limit=2)
    assert texts(limited) == ["one", "two"]
    _, last = await call(telegram, "getUpdates", offset=-1)
    assert texts(last) == ["three"]
    # A negative offset forgets everything before it.
    _, left = await call(telegram, "getUpdates", offset=1)
    assert texts(left) == ["three"]


async def test_a_long_poll_ends_with_the_first_update(telegram: FakeTelegram, call: Call) -> None:
    poll = asyncio.create_task(call(telegram, "getUpdates", timeout=50))
    await telegram.until(lambda: telegram.polling)
    await telegram.user_says(7, "now")
    _, body = await poll
    assert texts(body) == ["now"]


async def test_a_long_poll_ends_empty_after_at_most_fifty_seconds(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    poll = asyncio.create_task(call(timed_telegram, "getUpdates", timeout=300))
    await timed_telegram.until(lambda: timed_telegram.polling)
    await clock.advance(49.9)
    assert timed_telegram.polling
    await clock.advance(0.2)
    assert (await poll)[1]["result"] == []


async def test_a_client_that_hangs_up_ends_its_poll(
    telegram: FakeTelegram, http: httpx2.AsyncClient, call: Call
) -> None:
    url = f"{telegram.base_url}/bot{telegram.token}/getUpdates?timeout=50"
    poll = asyncio.create_task(http.get(url))
    await telegram.until(lambda: telegram.polling)
    poll.cancel()
    await telegram.until(lambda: not telegram.polling)
    await telegram.user_says(7, "kept")
    _, body = await call(telegram, "getUpdates")
    assert texts(body) == ["kept"]


async def test_the_same_empty_poll_repeated_is_stretched_to_three_seconds(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    assert (await call(timed_telegram, "getUpdates", offset=5))[1]["result"] == []
    repeated = asyncio.create_task(call(timed_telegram, "getUpdates", offset=5))
    await timed_telegram.until(lambda: timed_telegram.polling)
    await clock.advance(2.9)
    assert timed_telegram.polling
    await clock.advance(0.2)
    assert (await repeated)[1]["result"] == []


async def test_allowed_updates_stick_and_apply_when_an_update_is_made(
    telegram: FakeTelegram, call: Call
) -> None:
    message_id = await telegram.user_says(7, "one")
    await call(telegram, "getUpdates", allowed_updates=["edited_message"])
    await telegram.user_says(7, "left out")
    await telegram.user_edits(7, message_id, "one, edited")
    _, body = await call(telegram, "getUpdates", offset=1)
    kinds = [next(k for k in update if k != "update_id") for update in body["result"]]
    assert kinds == ["message", "edited_message"]
    await call(telegram, "getUpdates", offset=1, allowed_updates=[])
    await telegram.user_says(7, "back")
    _, body = await call(telegram, "getUpdates", offset=ids(body)[-1] + 1)
    assert texts(body) == ["back"]


async def test_a_second_conflict_is_held_back_for_three_seconds(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    fake = timed_telegram

    async def poll() -> asyncio.Task[tuple[int, Any]]:
        before = len(fake.calls)
        task = asyncio.create_task(call(fake, "getUpdates", timeout=50))
        await fake.until(lambda: len(fake.calls) > before and fake.polling)
        return task

    first, second = await poll(), await poll()
    assert (await first)[0] == 409
    third = await poll()
    await asyncio.sleep(0.05)
    assert not second.done()
    await clock.advance(3)
    status, body = await second
    assert (status, body["error_code"]) == (409, 409)
    await fake.user_says(7, "x")
    assert (await third)[0] == 200


async def test_updates_expire(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    await timed_telegram.user_says(7, "Hi")
    keyboard = {"inline_keyboard": [[{"text": "Go", "callback_data": "go"}]]}
    _, sent = await call(timed_telegram, "sendMessage", chat_id=7, text="x", reply_markup=keyboard)
    await timed_telegram.press(7, sent["result"]["message_id"], "go")
    await clock.advance(151)
    _, body = await call(timed_telegram, "getUpdates")
    assert ["message" in update for update in body["result"]] == [True]
    await clock.advance(86400)
    _, body = await call(timed_telegram, "getUpdates")
    assert body["result"] == []


async def test_a_duplicate_comes_once_more_after_it_was_confirmed(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.fault("duplicate_update", "message")
    await telegram.user_says(7, "one")
    _, first = await call(telegram, "getUpdates")
    following = ids(first)[0] + 1
    _, second = await call(telegram, "getUpdates", offset=following)
    assert second["result"] == first["result"]
    await telegram.user_says(7, "two")
    _, third = await call(telegram, "getUpdates", offset=following)
    assert texts(third) == ["two"]


async def test_out_of_order_delivers_the_later_message_first(
    telegram: FakeTelegram, call: Call
) -> None:
    telegram.fault("out_of_order", "message")
    one = await telegram.user_says(7, "one")
    two = await telegram.user_says(7, "two")
    _, body = await call(telegram, "getUpdates")
    assert [u["message"]["message_id"] for u in body["result"]] == [two, one]
    assert ids(body) == sorted(ids(body))


async def test_an_update_held_back_goes_on_alone_after_two_seconds(
    timed_telegram: FakeTelegram, clock: VirtualClock, call: Call
) -> None:
    timed_telegram.fault("out_of_order", "message", count=2)
    await timed_telegram.user_says(7, "only")
    assert (await call(timed_telegram, "getUpdates"))[1]["result"] == []
    await clock.advance(2)
    (update,) = (await call(timed_telegram, "getUpdates"))[1]["result"]
    assert update["message"]["text"] == "only"


async def test_private_chats_share_one_mailbox_and_supergroups_count_alone(
    telegram: FakeTelegram,
) -> None:
    telegram.add_group(-1001)
    numbers = [
        await telegram.user_says(7, "a"),
        await telegram.user_says(8, "b"),
        await telegram.user_says(-1001, "c", user_id=7),
        await telegram.user_says(7, "d"),
    ]
    assert numbers == [1, 2, 1, 3]


async def test_a_restart_refuses_connections_and_forgets_nothing(
    telegram: FakeTelegram, call: Call, http: httpx2.AsyncClient
) -> None:
    await telegram.user_says(7, "before")
    down = asyncio.create_task(telegram.restart(0.2))
    await asyncio.sleep(0.05)
    with pytest.raises(httpx2.ConnectError):
        await http.get(f"{telegram.base_url}/bot{telegram.token}/getMe")
    await down
    _, body = await call(telegram, "getUpdates")
    assert texts(body) == ["before"]


async def test_with_privacy_a_group_shows_the_bot_only_what_is_meant_for_it(call: Call) -> None:
    async with FakeTelegram(privacy=True) as fake:
        fake.add_group(-1001)
        await fake.user_says(-1001, "among ourselves")
        await fake.user_says(-1001, "/status")
        await fake.user_says(-1001, "hey @roost_test_bot")
        _, sent = await call(fake, "sendMessage", chat_id=-1001, text="Yes?")
        await fake.user_says(-1001, "this", reply_to=sent["result"]["message_id"])
        await fake.user_sends(-1001, "photo", b"x", caption="of ourselves")
        _, body = await call(fake, "getUpdates")
        assert texts(body) == ["/status", "hey @roost_test_bot", "this"]
        _, me = await call(fake, "getMe")
        assert me["result"]["can_read_all_group_messages"] is False
