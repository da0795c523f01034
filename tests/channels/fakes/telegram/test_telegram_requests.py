"""FakeTelegram accepts every encoding and returns the Bot API's errors."""

from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
import pytest

from roost_channels.testing import FakeTelegram

Call = Callable[..., Coroutine[Any, Any, tuple[int, Any]]]


@pytest.fixture
async def ada(telegram: FakeTelegram) -> FakeTelegram:
    """FakeTelegram with one private chat, 7."""
    await telegram.user_says(7, "Hi")
    return telegram


async def test_all_four_encodings_mean_the_same(
    ada: FakeTelegram, http: httpx2.AsyncClient
) -> None:
    url = f"{ada.base_url}/bot{ada.token}/sendMessage"
    entities = '[{"type":"bold","offset":0,"length":2}]'
    values = {"chat_id": "7", "text": "Hé & co", "entities": entities}
    answers = [
        await http.get(url, params=values),
        await http.post(url, data=values),
        await http.post(url, files={name: (None, value) for name, value in values.items()}),
        await http.post(
            url,
            json={
                "chat_id": 7,
                "text": "Hé & co",
                "entities": [{"type": "bold", "offset": 0, "length": 2}],
            },
        ),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    for message in ada.visible(7)[1:]:
        assert message.text == "Hé & co"
        assert message.entities == ({"type": "bold", "offset": 0, "length": 2},)


async def test_a_file_may_be_attached_under_another_name(
    ada: FakeTelegram, http: httpx2.AsyncClient
) -> None:
    answer = await http.post(
        f"{ada.base_url}/bot{ada.token}/sendDocument",
        data={"chat_id": "7", "document": "attach://one"},
        files={"one": ("a.txt", b"text", "text/plain")},
    )
    assert answer.json()["result"]["document"]["file_name"] == "a.txt"
    missing = await http.post(
        f"{ada.base_url}/bot{ada.token}/sendDocument",
        data={"chat_id": "7", "document": "attach://x"},
    )
    assert missing.json()["description"] == "Bad Request: there is no document in the request"


async def test_method_names_are_compared_without_case(ada: FakeTelegram, call: Call) -> None:
    status, body = await call(ada, "GETME")
    assert (status, body["result"]["id"]) == (200, 42)


async def test_an_unknown_method_is_404(ada: FakeTelegram, call: Call) -> None:
    assert await call(ada, "sendNothing") == (
        404,
        {"ok": False, "error_code": 404, "description": "Not Found: method not found"},
    )


@pytest.mark.parametrize(
    ("path", "status", "description"),
    [
        ("/bot43:OTHER/getMe", 401, "Unauthorized"),
        ("/botnonsense/getMe", 401, "Unauthorized: invalid token specified"),
        ("/bot42:TEST-TOKEN", 404, "Not Found"),
        ("/", 404, "Not Found"),
        ("/file/bot42:TEST-TOKEN/documents/none", 404, "Not Found"),
        ("/file/bot43:OTHER/documents/none", 401, "Unauthorized"),
    ],
)
async def test_wrong_tokens_and_paths(
    ada: FakeTelegram, http: httpx2.AsyncClient, path: str, status: int, description: str
) -> None:
    answer = await http.get(ada.base_url + path)
    assert answer.status_code == status
    assert answer.json() == {"ok": False, "error_code": status, "description": description}


@pytest.mark.parametrize(
    ("parameters", "description"),
    [
        ({"text": "x"}, "chat_id is empty"),
        ({"chat_id": "abc", "text": "x"}, "chat not found"),
        ({"chat_id": 7}, "message text is empty"),
        ({"chat_id": 7, "text": " \n "}, "text must be non-empty"),
        ({"chat_id": 7, "text": "x" * 4097}, "message is too long"),
        ({"chat_id": 7, "text": "é" * 16385}, "text is too long"),
        ({"chat_id": 7, "text": "x", "parse_mode": "bbcode"}, "unsupported parse_mode"),
        ({"chat_id": 7, "text": "x", "reply_markup": "{"}, "can't parse reply keyboard markup"),
        ({"chat_id": 7, "text": "x", "reply_markup": []}, "object expected as reply markup"),
        (
            {"chat_id": 7, "text": "x", "reply_markup": {"inline_keyboard": [{}]}},
            'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays',
        ),
        (
            {"chat_id": 7, "text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a"}]]}},
            "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
        ),
        ({"chat_id": 7, "text": "x", "message_thread_id": 9}, "message thread not found"),
    ],
)
async def test_send_message_refusals(
    ada: FakeTelegram, call: Call, parameters: dict[str, Any], description: str
) -> None:
    status, body = await call(ada, "sendMessage", **parameters)
    assert (status, body["error_code"]) == (400, 400)
    assert body["description"].startswith(f"Bad Request: {description}")
    assert len(ada.visible(7)) == 1


@pytest.mark.parametrize(("data", "status"), [("a" * 64, 200), ("é" * 32, 200), ("é" * 33, 400)])
async def test_callback_data_is_measured_in_bytes(
    ada: FakeTelegram, call: Call, data: str, status: int
) -> None:
    keyboard = {"inline_keyboard": [[{"text": "Go", "callback_data": data}]]}
    got, body = await call(ada, "sendMessage", chat_id=7, text="x", reply_markup=keyboard)
    assert got == status
    assert status == 200 or body["description"] == "Bad Request: BUTTON_DATA_INVALID"


async def test_4096_code_points_fit_whatever_their_width(ada: FakeTelegram, call: Call) -> None:
    status, _ = await call(ada, "sendMessage", chat_id=7, text="🐈" * 4096)
    assert status == 200


async def test_blocked_deactivated_and_kicked_are_403(ada: FakeTelegram, call: Call) -> None:
    await ada.block(7)
    assert (await call(ada, "sendMessage", chat_id=7, text="x")) == (
        403,
        {
            "ok": False,
            "error_code": 403,
            "description": "Forbidden: bot was blocked by the user",
        },
    )
    await ada.user_says(8, "Hi")
    ada.deactivate(8)
    _, body = await call(ada, "sendMessage", chat_id=8, text="x")
    assert body["description"] == "Forbidden: user is deactivated"
    ada.add_group(-1001)
    ada.kick(-1001)
    _, body = await call(ada, "sendMessage", chat_id=-1001, text="x")
    assert body["description"] == "Forbidden: bot was kicked from the supergroup chat"


async def test_a_migrated_group_names_its_successor(telegram: FakeTelegram, call: Call) -> None:
    telegram.add_group(-5, type="group")
    await telegram.migrate(-5, -1005)
    status, body = await call(telegram, "sendMessage", chat_id=-5, text="x")
    assert status == 400
    assert body["description"] == "Bad Request: group chat was upgraded to a supergroup chat"
    assert body["parameters"] == {"migrate_to_chat_id": -1005}
    _, updates = await call(telegram, "getUpdates")
    assert [u["message"].get("migrate_to_chat_id") for u in updates["result"]] == [-1005, None]


async def test_the_general_topic_is_no_thread(telegram: FakeTelegram, call: Call) -> None:
    telegram.add_group(-1001, topics={5: "Ideas"})
    status, body = await call(telegram, "sendMessage", chat_id=-1001, text="x", message_thread_id=1)
    assert (status, body["description"]) == (400, "Bad Request: message thread not found")
    status, _ = await call(telegram, "sendMessage", chat_id=-1001, text="x")
    assert status == 200


async def test_every_call_is_recorded_with_its_parameters_and_outcome(
    ada: FakeTelegram, call: Call
) -> None:
    ada.fault("http_500", "sendMessage")
    await call(ada, "sendMessage", chat_id=7, text="x", reply_parameters={"message_id": 1})
    await call(ada, "sendMessage", chat_id=7, text="x")
    failed, sent = ada.calls_of("sendMessage")
    assert (failed.status, failed.fault, failed.ok) == (500, "http_500", False)
    assert failed.parameters["reply_parameters"] == {"message_id": 1}
    assert (sent.status, sent.fault, sent.response["result"]["text"]) == (200, "", "x")
    assert sent.finished_at is not None and sent.finished_at >= sent.started_at
