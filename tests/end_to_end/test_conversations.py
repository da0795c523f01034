"""What a person sees on Telegram and WhatsApp, through every real part but the model."""

import base64
import hashlib
import hmac
import itertools
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import httpx2

from roost_inference.testing.scripts import Say, parse
from roost_platform.testing import AUTH_TOKEN, SENDER, World, eventually

_chats = itertools.count(7001)


def test_a_telegram_text_gets_typing_and_then_exactly_one_answer(scripted: World) -> None:
    chat = next(_chats)
    # Three quarters of a second: an answer that is there at once needs no typing.
    asked = scripted.phones.telegram.say(chat, "[[slow:15]]")
    answer = scripted.phones.telegram.answer(chat, asked)
    assert len(answer["text"].split()) == 15
    assert answer["reply_to"] is None  # right below its question it needs no quote
    calls = [
        (call["method"].lower(), call["parameters"].get("text"))
        for call in scripted.phones.telegram.calls()
        if str(call["parameters"].get("chat_id")) == str(chat)
    ]
    methods = [method for method, _ in calls]
    assert methods.index("sendchataction") < methods.index("sendmessage")
    assert calls.count(("sendmessage", answer["text"])) == 1


def test_a_quoted_passage_of_an_old_answer_reaches_the_agent_and_is_answered_natively(
    scripted: World,
) -> None:
    chat = next(_chats)
    phone = scripted.phones.telegram
    first = phone.answer(
        chat, phone.say(chat, "[[say:Foxes are red. Herons are grey. Robins are brown.]]")
    )
    phone.answer(chat, phone.say(chat, "[[say:Something else.]]"))
    asked = phone.say(
        chat,
        "[[echo]] which ones?",
        reply_to_message_id=first["message_id"],
        quote="Herons are grey.",
    )
    answer = phone.answer(chat, asked)
    assert "Herons are grey." in answer["text"]
    assert "Foxes are red." not in answer["text"]
    assert answer["reply_to"]["message_id"] == asked


def test_a_long_markdown_answer_arrives_complete_and_in_order_with_valid_entities(
    scripted: World,
) -> None:
    chat = next(_chats)
    phone = scripted.phones.telegram
    asked = phone.say(chat, "[[long:9000]]")
    parts = _until_complete(lambda: phone.bot_messages(chat, after=asked), "text", 9000)
    assert {p["reply_to"] for p in parts} == {None}
    for part in parts:
        units = len(part["text"].encode("utf-16-le")) // 2
        assert units <= 4096
        entities = part["entities"]
        assert {e["type"] for e in entities} >= {"bold", "italic", "code", "pre", "text_link"}
        assert all(e["offset"] >= 0 and e["offset"] + e["length"] <= units for e in entities)


def _until_complete(
    read: Callable[[], list[dict[str, Any]]], field: str, characters: int
) -> list[dict[str, Any]]:
    """The parts of a scripted [[long:N]] answer, once its last section came; all in order."""
    step = parse(f"[[long:{characters}]]")[0]
    assert isinstance(step, Say)
    expected = re.findall(r"Paragraph (\d+)", step.text)

    def arrived() -> list[dict[str, Any]] | None:
        parts = read()
        text = "".join(str(part[field]) for part in parts)
        return parts if f"Paragraph {expected[-1]} " in text else None

    parts = eventually("the last section", arrived, within_s=60)
    assert len(parts) > 1
    assert re.findall(r"Paragraph (\d+)", "".join(str(p[field]) for p in parts)) == expected
    return parts


def test_stop_button_ends_a_running_answer_within_a_second(scripted: World) -> None:
    chat = next(_chats)
    phone = scripted.phones.telegram
    asked = phone.say(chat, "[[slow:400]]")

    def status() -> dict[str, object] | None:
        return next(
            (m for m in phone.screen(chat)["messages"] if m["from"] == "bot" and m["buttons"]), None
        )

    shown = eventually("a status message with Stop", status, within_s=10)
    buttons = shown["buttons"]
    assert isinstance(buttons, list)
    phone.press(chat, int(str(shown["message_id"])), buttons[0]["data"])
    stopped = phone.answer(chat, asked, within_s=3)
    assert "Stopped after" in stopped["text"]
    eventually("the status message to go", lambda: status() is None, within_s=10)


def test_a_whatsapp_message_is_answered_in_parts_that_fit_and_in_order(scripted: World) -> None:
    user = "whatsapp:+4915550010001"
    phone = scripted.phones.whatsapp
    phone.say(user, "[[long:4000]]")

    parts = _until_complete(lambda: phone.bot_messages(user), "body", 4000)
    assert all(len(p["body"]) <= 1600 for p in parts)


def test_a_whatsapp_reply_shows_the_agent_what_it_replies_to(scripted: World) -> None:
    user = "whatsapp:+4915550010002"
    phone = scripted.phones.whatsapp
    phone.say(user, "[[say:The train leaves at nine.]]")
    first = eventually("an answer", lambda: phone.bot_messages(user))[0]
    phone.say(user, "[[echo]] from where?", reply_to_sid=first["sid"])
    second = eventually("a second answer", lambda: phone.bot_messages(user)[1:])[0]
    assert "The train leaves at nine." in str(second["body"])


def test_metas_way_answers_in_order_and_quotes_natively_where_it_helps(scripted: World) -> None:
    user = "whatsapp:+4915550010003"
    phone = scripted.phones.cloud
    phone.say(user, "[[long:9000]]")
    parts = _until_complete(lambda: phone.bot_messages(user), "body", 9000)
    assert [len(p["body"]) <= 4096 for p in parts] == [True] * 3
    assert [p["reply_to"] for p in parts] == [None, None, None]
    asked = phone.say(user, "[[echo]] what does it say?", reply_to_sid=parts[1]["sid"])
    answer = eventually("an answer to the reply", lambda: phone.bot_messages(user)[3:])[0]
    assert parts[1]["body"].split()[0] in str(answer["body"])
    assert answer["reply_to"]["sid"] == asked


def test_a_wrong_twilio_signature_is_refused_and_nothing_is_stored(scripted: World) -> None:
    before = len(scripted.stack.api("/api/sessions")["sessions"])
    form = {
        "MessageSid": "SM" + "f" * 32,
        "AccountSid": "AC" + "0" * 32,
        "From": "whatsapp:+4915559990000",
        "To": SENDER,
        "Body": "let me in",
        "NumMedia": "0",
    }
    url = f"{scripted.stack.url}/hooks/twilio/inbound"
    for signature in ("", "AAAA", _signature(url, form, "another token")):
        reply = httpx2.post(url, data=form, headers={"X-Twilio-Signature": signature})
        assert reply.status_code == 403
    assert len(scripted.stack.api("/api/sessions")["sessions"]) == before
    good = httpx2.post(
        url, data=form, headers={"X-Twilio-Signature": _signature(url, form, AUTH_TOKEN)}
    )
    assert good.status_code == 200


def _signature(url: str, form: dict[str, str], token: str) -> str:
    """Twilio's algorithm, written here anew: HMAC-SHA1 over the URL and the sorted fields."""
    signed = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(
        hmac.new(token.encode(), signed.encode(), hashlib.sha1).digest()
    ).decode()


def test_a_tool_the_model_calls_runs_and_its_result_comes_back(scripted: World) -> None:
    chat = next(_chats)
    phone = scripted.phones.telegram
    asked = phone.say(chat, '[[tool:calculator {"expression": "6*7"}]]')
    assert "42" in phone.answer(chat, asked)["text"]


def test_commands_are_answered_without_the_model(scripted: World) -> None:
    chat = next(_chats)
    phone = scripted.phones.telegram
    for command, expected in (("/help", "/stop"), ("/status", ""), ("/stop", "Nothing is running")):
        asked = phone.say(chat, command)
        assert expected in phone.answer(chat, asked, within_s=10)["text"]


def test_new_starts_a_conversation_that_does_not_know_the_old_one(scripted: World) -> None:
    chat = next(_chats)
    phone = scripted.phones.telegram
    phone.answer(chat, phone.say(chat, "[[say:noted]] my word is heron"))
    phone.answer(chat, phone.say(chat, "/new"))
    phone.answer(chat, phone.say(chat, "[[say:ok]]"))
    key = f"telegram:4242:{chat}"
    session = scripted.stack.api(f"/api/sessions/{key}")
    assert "heron" not in str(session["transcript"])


def test_the_command_line_prints_only_the_answer(scripted: World) -> None:
    done = scripted.stack.cli("chat", "-m", "[[say:from the command line]]", "--session", "cli-1")
    assert (done.returncode, done.stdout.strip()) == (0, "from the command line"), done.stderr


def test_webhook_events_that_come_twice_are_answered_once(scripted: World) -> None:
    form = {
        "MessageSid": "SM" + "e" * 32,
        "AccountSid": "AC" + "0" * 32,
        "From": "whatsapp:+4915550010003",
        "WaId": "4915550010003",
        "To": SENDER,
        "Body": "[[say:once]]",
        "NumMedia": "0",
        "SmsStatus": "received",
    }
    url = f"{scripted.stack.url}/hooks/twilio/inbound"
    headers = {"X-Twilio-Signature": _signature(url, form, AUTH_TOKEN)}
    body = urlencode(form)
    for _ in range(3):
        reply = httpx2.post(
            url,
            content=body,
            headers=headers | {"Content-Type": "application/x-www-form-urlencoded"},
        )
        assert reply.status_code == 200
    # The fake only lets its own users receive; what counts is that one turn was made.
    key = f"whatsapp:{SENDER}:whatsapp:+4915550010003"
    session = eventually(
        "the turn",
        lambda: next(
            (s for s in [scripted.stack.api(f"/api/sessions/{key}")] if len(s["transcript"]) >= 2),
            None,
        ),
    )
    assert [m["role"] for m in session["transcript"]] == ["user", "assistant"]
