"""FakeTelegram's /sim API, which the sandbox page uses."""

import base64
from typing import Any

import httpx2
import pytest

from roost_channels.testing import FakeTelegram


async def test_a_phone_writes_quotes_presses_and_looks(
    telegram: FakeTelegram, http: httpx2.AsyncClient, call: Any
) -> None:
    sim = f"{telegram.base_url}/sim"
    response = await http.post(f"{sim}/chats/7/messages", json={"text": "Hi", "first_name": "Ada"})
    keyboard = {"inline_keyboard": [[{"text": "Stop", "callback_data": "s"}]]}
    _, sent = await call(telegram, "sendMessage", chat_id=7, text="Hello", reply_markup=keyboard)
    message_id = sent["result"]["message_id"]
    body = {"text": "What?", "reply_to_message_id": message_id, "quote": "ell"}
    assert (await http.post(f"{sim}/chats/7/messages", json=body)).status_code == 200
    pressed = await http.post(f"{sim}/chats/7/press", json={"message_id": message_id, "data": "s"})
    assert pressed.status_code == 200
    screen = (await http.get(f"{sim}/chats/7")).json()
    assert (screen["typing"], screen["notifications"]) == (False, 1)
    first, second, third = screen["messages"]
    assert first["message_id"] == response.json()["message_id"]
    assert (first["from"], second["from"]) == ("user", "bot")
    assert second["buttons"] == [{"text": "Stop", "data": "s"}]
    assert third["reply_to"] == {"message_id": message_id, "text": "Hello", "quote": "ell"}


async def test_faults_calls_and_reset(
    telegram: FakeTelegram, http: httpx2.AsyncClient, call: Any
) -> None:
    sim = f"{telegram.base_url}/sim"
    order = {"method": "getMe", "kind": "http_500", "count": 1}
    assert (await http.post(f"{sim}/faults", json=order)).json() == {"ok": True}
    assert (await call(telegram, "getMe"))[0] == 500
    calls = (await http.get(f"{sim}/calls")).json()["calls"]
    assert [(c["method"], c["status"], c["fault"]) for c in calls] == [("getMe", 500, "http_500")]
    plan = {"seed": 4, "rate": 1.0, "kinds": ["http_502"], "methods": ["getMe"]}
    assert (await http.post(f"{sim}/faults", json=plan)).json() == {"ok": True}
    with pytest.raises(ValueError):
        await call(telegram, "getMe")
    assert (await http.get(f"{sim}/faults")).json() == {"open": 0, "struck": {"http_502": 1}}
    assert len((await http.get(f"{sim}/calls?after=1")).json()["calls"]) == 1
    assert (await http.delete(f"{sim}/faults")).json() == {"ok": True}
    assert (await call(telegram, "getMe"))[0] == 200
    await http.post(f"{sim}/reset")
    assert (await http.get(f"{sim}/calls")).json() == {"calls": []}


async def test_a_restart_can_be_asked_for_from_outside(
    telegram: FakeTelegram, http: httpx2.AsyncClient
) -> None:
    await telegram.user_says(7, "Hi")
    sim = f"{telegram.base_url}/sim"
    assert (await http.post(f"{sim}/restart", json={"down_s": 0.01})).json() == {"ok": True}
    await telegram.until(lambda: telegram.restarts == 1)
    assert len((await http.get(f"{sim}/chats/7")).json()["messages"]) == 1
    assert (await http.get(f"{sim}/early_calls")).json() == {"calls": []}


async def test_bad_requests_say_what_is_wrong(
    telegram: FakeTelegram, http: httpx2.AsyncClient
) -> None:
    sim = f"{telegram.base_url}/sim"
    wrong = await http.post(f"{sim}/faults", json={"kind": "earthquake"})
    assert wrong.status_code == 400 and "unknown fault" in wrong.json()["error"]
    nowhere = await http.post(f"{sim}/chats/-9/messages", json={"text": "x"})
    assert nowhere.status_code == 400 and "no chat -9" in nowhere.json()["error"]
    assert (await http.get(f"{sim}/nothing")).status_code == 404
    created = await http.post(f"{sim}/chats", json={"id": -9, "title": "T", "topics": {"5": "A"}})
    assert created.json()["is_forum"]
    fine = await http.post(f"{sim}/chats/-9/messages", json={"text": "x", "thread": 5})
    assert fine.status_code == 200


async def test_a_phone_sends_files_albums_edits_reacts_and_deletes(
    telegram: FakeTelegram, http: httpx2.AsyncClient
) -> None:
    sim = f"{telegram.base_url}/sim"
    chat = f"{sim}/chats/7"
    media = {"kind": "voice", "data": base64.b64encode(b"song").decode(), "duration": 2}
    sent = (await http.post(f"{chat}/messages", json={"text": "Listen", "media": media})).json()
    items = [{"kind": "photo", "data": "AAAA"}, {"kind": "photo", "data": "BBBB"}]
    album = (await http.post(f"{chat}/album", json={"items": items, "text": "Two"})).json()
    assert len(album["message_ids"]) == 2
    for action, body in (
        ("edit", {"message_id": sent["message_id"], "text": "Hear"}),
        ("react", {"message_id": sent["message_id"], "emoji": ["🔥"]}),
        ("delete", {"message_id": album["message_ids"][0]}),
    ):
        assert (await http.post(f"{chat}/{action}", json=body)).json() == {"ok": True}
    voice, photo = (await http.get(chat)).json()["messages"]
    assert (voice["text"], voice["reactions"], voice["edited"]) == ("Hear", ["🔥"], True)
    (file,) = voice["files"]
    assert (file["kind"], file["size"], photo["files"][0]["kind"]) == ("voice", 4, "photo")
    assert (await http.get(f"{sim}/files/{file['file_id']}")).content == b"song"
    assert (await http.get(f"{sim}/files/none")).status_code == 404
    wrong = await http.post(f"{chat}/messages", json={"media": {"kind": "smell", "data": ""}})
    assert wrong.status_code == 400 and "unknown media" in wrong.json()["error"]


async def test_groups_are_played_from_outside(
    telegram: FakeTelegram, http: httpx2.AsyncClient
) -> None:
    sim = f"{telegram.base_url}/sim"
    await http.post(f"{sim}/chats", json={"id": -9, "topics": {}})
    opened = await http.post(f"{sim}/chats/-9/topics", json={"name": "Ideas", "user_id": 3})
    response = {"text": "x", "thread": opened.json()["thread"], "user_id": 3}
    assert (await http.post(f"{sim}/chats/-9/messages", json=response)).status_code == 200
    assert (await http.post(f"{sim}/chats/-9/kick", json={})).json() == {"ok": True}
    assert telegram.core.world.chats[-9].kicked
