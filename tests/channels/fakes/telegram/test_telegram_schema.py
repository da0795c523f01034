"""The schema of the Bot API finds parameters that the real server would ignore."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roost_channels.testing import FakeTelegram
from roost_channels.testing.telegram.methods import ALL_METHODS
from roost_channels.testing.telegram.schema import known_methods

Call = Callable[..., Awaitable[tuple[int, Any]]]


def test_every_method_of_the_fake_is_one_of_the_bot_api() -> None:
    assert set(ALL_METHODS) <= known_methods()


@pytest.mark.parametrize(
    ("method", "parameters", "complaint"),
    [
        ("sendMessage", {"chat_id": 7, "text": "x", "parse": "HTML"}, "parse: no such parameter"),
        ("sendMessage", {"chat_id": 7}, "text: Field required"),
        (
            "sendMessage",
            {"chat_id": 7, "text": "x", "reply_parameters": {"message_id": 1, "qoute": "x"}},
            "reply_parameters.qoute: no such field",
        ),
        ("sendMessageDraft", {"chat_id": 7, "draft_id": "one", "text": "x"}, "draft_id: Input"),
        ("sendTelegram", {"chat_id": 7}, "no such method"),
    ],
)
async def test_a_wrong_call_is_complained_about(
    telegram: FakeTelegram, call: Call, method: str, parameters: dict[str, Any], complaint: str
) -> None:
    await telegram.user_says(7, "Hi")
    await call(telegram, method, **parameters)
    (found,) = telegram.complaints
    assert found.startswith(f"{method}: ") and complaint in found


async def test_text_that_looks_like_json_is_still_text(telegram: FakeTelegram, call: Call) -> None:
    await telegram.user_says(7, "Hi")
    await call(telegram, "sendMessage", chat_id=7, text='["a list"]', disable_notification=True)
    assert telegram.complaints == []
