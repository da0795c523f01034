"""The phones, on the real fakes: what a person types arrives, what the bot sends shows."""

import asyncio
import base64
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Browser, expect

from roost_channels.testing import FakeCloud, FakeTelegram, FakeTwilio
from roost_platform.settings.config import load_settings
from roost_platform.testing.console import ADMIN, ConsoleServer
from roost_platform.web.console_setup import sandbox_phones

TOKEN = "42:SANDBOX-token"
# Eight by eight pixels, all of one colour.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAEUlEQVR42mNwaDiAFTEMLQkAYvNgAQlP"
    "C90AAAAASUVORK5CYII="
)
WIDTH = "async (image) => { await image.decode(); return image.naturalWidth; }"


@dataclass
class Fakes:
    """The fakes in a thread of their own."""

    telegram: str = ""
    twilio: str = ""
    cloud: str = ""
    ready: threading.Event = field(default_factory=threading.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self) -> None:
        self.loop = asyncio.get_running_loop()
        sender = "whatsapp:+15550001000"
        async with (
            FakeTelegram(token=TOKEN) as telegram,
            FakeTwilio(account_sid="AC1", auth_token="secret", sender=sender) as twilio,
            FakeCloud("1", "secret") as cloud,
        ):
            self.telegram, self.twilio = telegram.base_url, twilio.base_url
            self.cloud = cloud.base_url
            self.ready.set()
            await self.ended.wait()

    def bot(self, method: str, **parameters: Any) -> Any:
        answer = httpx2.post(f"{self.telegram}/bot{TOKEN}/{method}", json=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]


@pytest.fixture(scope="module")
def fakes() -> Iterator[Fakes]:
    both = Fakes()
    thread = threading.Thread(target=lambda: asyncio.run(both.serve()), daemon=True)
    thread.start()
    assert both.ready.wait(10)
    yield both
    both.loop.call_soon_threadsafe(both.ended.set)
    thread.join(10)


@pytest.fixture(scope="module")
def seeded(
    fakes: Fakes, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A console with the sandbox's pages, in the place of the conftest's."""
    import shutil

    folder = tmp_path_factory.mktemp("sandbox")
    shutil.copy(sqlite_template, folder / "roost.db")
    settings = load_settings(
        {
            "sandbox": True,
            "telegram": {"token": TOKEN, "api_base": fakes.telegram},
            "twilio": {
                "account_sid": "AC1",
                "auth_token": "secret",
                "from": "whatsapp:+15550001000",
                "api_base": fakes.twilio,
            },
            "whatsapp_cloud": {"api_base": fakes.cloud},
        },
        environ={},
    )
    phones = sandbox_phones(settings)
    with ConsoleServer(f"sqlite:///{folder / 'roost.db'}", phones=phones).serving() as server:
        yield server, server.sign_in_cookie(ADMIN, "admin")


@pytest.fixture
def sandbox(browser: Browser, seeded: Any) -> Iterator[Any]:
    server, cookie = seeded
    context = browser.new_context(reduced_motion="reduce")
    context.add_cookies([{"name": cookie["name"], "value": cookie["value"], "url": server.url}])
    page = context.new_page()
    page.goto(f"{server.url}/sandbox")
    expect(page.locator("#live-mark")).to_be_visible()
    yield page
    context.close()


def test_a_message_a_quote_and_a_button_travel_both_ways(sandbox: Any, fakes: Fakes) -> None:
    phone = sandbox.get_by_label("Phone with Telegram", exact=True)
    phone.get_by_label("Message on Telegram").fill("Hello bot")
    sandbox.keyboard.press("Enter")
    expect(phone.locator('.pm[data-mine="yes"]')).to_contain_text("Hello bot")
    expect(phone.get_by_label("Message on Telegram")).to_have_value("")
    sent = fakes.bot(
        "sendMessage",
        chat_id=1001,
        text="Working on it 😀 now",
        entities=[{"type": "bold", "offset": 0, "length": 7}],
        reply_markup={"inline_keyboard": [[{"text": "Stop", "callback_data": "stop:t1"}]]},
    )
    answer = phone.locator('.pm[data-mine="no"]')
    expect(answer.locator("b")).to_have_text("Working")
    with sandbox.expect_response("**/sandbox/telegram/press"):
        answer.get_by_role("button", name="Stop").click()
    fakes.bot(
        "editMessageText", chat_id=1001, message_id=sent["message_id"], text="Half of it 😀 x"
    )
    expect(answer).to_contain_text("edited")
    expect(answer).not_to_contain_text("Stop")
    updates = fakes.bot("getUpdates", offset=0)
    assert [next(iter(u.keys() - {"update_id"})) for u in updates] == ["message", "callback_query"]
    assert updates[1]["callback_query"]["data"] == "stop:t1"
    # Select the end of the answer, after a character of two UTF-16 units, and quote it.
    sandbox.evaluate(
        """() => {
          const text = document.querySelector('.pm[data-mine="no"] [data-text]').firstChild;
          const range = document.createRange();
          range.setStart(text, 11); range.setEnd(text, 15);
          getSelection().removeAllRanges(); getSelection().addRange(range);
          text.parentElement.dispatchEvent(new MouseEvent("click", { bubbles: true }));
        }"""
    )
    expect(phone.locator("[data-reply-bar]")).to_contain_text("Quoting Roost")
    phone.get_by_label("Message on Telegram").fill("What is x?")
    sandbox.keyboard.press("Enter")
    expect(phone.locator('.pm[data-mine="yes"]').last).to_contain_text("What is x?")
    expect(phone.locator("[data-reply-bar]")).to_be_hidden()
    message = fakes.bot("getUpdates", offset=updates[1]["update_id"] + 1)[0]["message"]
    assert message["reply_to_message"]["message_id"] == sent["message_id"]
    assert (message["quote"]["text"], message["quote"]["position"]) == ("😀 x", 11)


def test_whatsapp_shows_marks_statuses_and_replies(sandbox: Any, fakes: Fakes) -> None:
    phone = sandbox.get_by_label("Phone with WhatsApp", exact=True)
    phone.get_by_label("Message on WhatsApp").fill("Are you open?")
    sandbox.keyboard.press("Enter")
    expect(phone.locator('.pm[data-mine="yes"]')).to_contain_text("Are you open?")
    sent = httpx2.post(
        f"{fakes.twilio}/2010-04-01/Accounts/AC1/Messages.json",
        data={
            "From": "whatsapp:+15550001000",
            "To": "whatsapp:+15550009999",
            "Body": "Yes, *every day*",
        },
        auth=("AC1", "secret"),
    )
    assert sent.status_code == 201, sent.text
    answer = phone.locator('.pm[data-mine="no"]')
    expect(answer.locator("b")).to_have_text("every day")
    expect(answer.locator(".pm-status")).to_have_text(re.compile("delivered|read"), timeout=10_000)
    answer.get_by_role("button", name="Reply to this message").click()
    expect(phone.locator("[data-reply-bar]")).to_contain_text("Replying to Roost")
    phone.get_by_label("Message on WhatsApp").fill("Thanks")
    sandbox.keyboard.press("Enter")
    expect(phone.locator('.pm[data-mine="yes"]').last.locator(".pm-reply")).to_contain_text(
        "every day"
    )


def test_files_edits_reactions_and_choices_travel_too(sandbox: Any, fakes: Fakes) -> None:
    phone = sandbox.get_by_label("Phone with Telegram", exact=True)
    photo = {"name": "cat.png", "mimeType": "image/png", "buffer": PNG}
    phone.locator("[data-file]").set_input_files(photo)
    expect(phone.locator("[data-reply-bar]")).to_contain_text("cat.png")
    phone.get_by_label("Message on Telegram").fill("Loook")
    sandbox.keyboard.press("Enter")
    mine = phone.locator('.pm[data-mine="yes"]').last
    expect(mine.get_by_alt_text("Photo")).to_be_visible()
    assert mine.get_by_alt_text("Photo").evaluate(WIDTH) == 8
    mine.get_by_role("button", name="Edit this message").click()
    phone.get_by_label("Message on Telegram").fill("Look")
    sandbox.keyboard.press("Enter")
    expect(mine).to_contain_text("edited")
    expect(mine.locator("[data-text]")).to_have_text("Look")
    fakes.bot("sendMessage", chat_id=1001, text="A cat.")
    answer = phone.locator('.pm[data-mine="no"]').last
    expect(answer).to_contain_text("A cat.")
    answer.get_by_role("button", name="React with a thumb up").click()
    expect(answer.get_by_label("Reactions")).to_have_text("👍")

    whatsapp = sandbox.get_by_label("Phone with WhatsApp", exact=True)
    whatsapp.locator("[data-file]").set_input_files(photo)
    expect(whatsapp.locator("[data-reply-bar]")).to_contain_text("cat.png")
    whatsapp.get_by_role("button", name="Send on WhatsApp").click()
    expect(whatsapp.get_by_alt_text("Photo")).to_be_visible()
    assert whatsapp.get_by_alt_text("Photo").evaluate(WIDTH) == 8
    content = {"types": {"twilio/quick-reply": {"body": "Keep?", "actions": [{"title": "Yes"}]}}}
    auth = ("AC1", "secret")
    made = httpx2.post(f"{fakes.twilio}/v1/Content", json=content, auth=auth).json()
    sender, person = "whatsapp:+15550001000", "whatsapp:+15550009999"
    form = {"From": sender, "To": person, "ContentSid": made["sid"]}
    httpx2.post(f"{fakes.twilio}/2010-04-01/Accounts/AC1/Messages.json", data=form, auth=auth)
    whatsapp.get_by_role("button", name="Yes").click()
    expect(whatsapp.locator('.pm[data-mine="yes"]').last).to_contain_text("Yes")


def test_metas_phone_shows_quotes_choices_and_reactions(sandbox: Any, fakes: Fakes) -> None:
    phone = sandbox.get_by_label("Phone with WhatsApp by Meta", exact=True)
    phone.get_by_label("Message on WhatsApp by Meta").fill("Are you open?")
    sandbox.keyboard.press("Enter")
    asked = phone.locator('.pm[data-mine="yes"]')
    expect(asked).to_contain_text("Are you open?")
    wamid = asked.get_attribute("data-id")

    def send(**content: Any) -> None:
        to = {"messaging_product": "whatsapp", "to": "15550007777"}
        token = {"Authorization": "Bearer secret"}
        url = f"{fakes.cloud}/v25.0/1/messages"
        answer = httpx2.post(url, json={**to, **content}, headers=token)
        assert answer.status_code == 200, answer.text

    send(type="reaction", reaction={"message_id": wamid, "emoji": "👀"})
    expect(asked.get_by_label("Reactions")).to_have_text("👀")
    button = {"type": "reply", "reply": {"id": "y", "title": "Book"}}
    shown = {"type": "button", "body": {"text": "*Yes*"}, "action": {"buttons": [button]}}
    send(type="interactive", interactive=shown, context={"message_id": wamid})
    answer = phone.locator('.pm[data-mine="no"]')
    expect(answer.locator("b")).to_have_text("Yes")
    expect(answer.locator(".pm-reply")).to_contain_text("Are you open?")
    answer.get_by_role("button", name="Book").click()
    expect(phone.locator('.pm[data-mine="yes"]').last).to_contain_text("Book")
    expect(sandbox.get_by_label("Phone with WhatsApp", exact=True)).not_to_contain_text("Book")
    notes = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"notes"}
    phone.locator("[data-file]").set_input_files(notes)
    expect(phone.locator("[data-reply-bar]")).to_contain_text("notes.txt")
    phone.get_by_role("button", name="Send on WhatsApp by Meta").click()
    expect(phone.locator(".pm-file").last).to_have_text("notes.txt")


def test_a_draft_is_shown_while_it_is_written_and_can_be_stopped(
    sandbox: Any, fakes: Fakes
) -> None:
    phone = sandbox.get_by_label("Phone with Telegram", exact=True)
    phone.get_by_label("Message on Telegram").fill("Tell me a story")
    sandbox.keyboard.press("Enter")
    expect(phone.locator('.pm[data-mine="yes"]').last).to_contain_text("Tell me a story")
    bold = [{"type": "bold", "offset": 0, "length": 4}]
    draft = {"chat_id": 1001, "draft_id": 7, "can_stop": True}
    fakes.bot("sendMessageDraft", text="Once upon", entities=bold, **draft)
    shown = phone.locator(".pm.draft")
    expect(shown.locator("b")).to_have_text("Once")
    fakes.bot("sendMessageDraft", text="Once upon a time", **draft)
    expect(shown).to_contain_text("Once upon a time")
    found = Axe().run(sandbox)
    assert found.violations_count == 0, found.generate_report()
    shown.get_by_role("button", name="Stop").click()
    expect(shown).to_have_count(0)
    kinds = [next(iter(u.keys() - {"update_id"})) for u in fakes.bot("getUpdates", offset=0)]
    assert kinds[-1] == "stopped_message_generation"
    fakes.bot("sendMessageDraft", text="And then", **draft)
    expect(shown).to_contain_text("And then")
    fakes.bot("sendMessage", chat_id=1001, text="The end.")
    expect(shown).to_have_count(0)
    expect(phone.locator('.pm[data-mine="no"]').last).to_contain_text("The end.")


def test_a_message_is_read_only_where_the_network_was_told_so(sandbox: Any, fakes: Fakes) -> None:
    phone = sandbox.get_by_label("Phone with WhatsApp by Meta", exact=True)
    phone.get_by_label("Message on WhatsApp by Meta").fill("Did you see this?")
    sandbox.keyboard.press("Enter")
    mine = phone.locator('.pm[data-mine="yes"]', has_text="Did you see this?")
    expect(mine.locator(".pm-ticks")).to_have_text("sent")
    body = {"messaging_product": "whatsapp", "status": "read"}
    body["message_id"] = mine.get_attribute("data-id")
    token = {"Authorization": "Bearer secret"}
    told = httpx2.post(f"{fakes.cloud}/v25.0/1/messages", json=body, headers=token)
    assert told.status_code == 200, told.text
    expect(mine.locator(".pm-ticks")).to_have_text("read")
    telegram = sandbox.get_by_label("Phone with Telegram", exact=True)
    telegram.get_by_label("Message on Telegram").fill("And this?")
    sandbox.keyboard.press("Enter")
    asked = telegram.locator('.pm[data-mine="yes"]', has_text="And this?")
    expect(asked.locator(".pm-ticks")).to_have_text("sent")
    fakes.bot("getUpdates", offset=0)
    fakes.bot("sendMessage", chat_id=1001, text="Yes, that, too.")
    expect(telegram.locator('.pm[data-mine="no"]').last).to_contain_text("that, too")
    assert telegram.locator("[data-read]").count() == 0


def test_a_picture_is_served_by_what_it_is_and_runs_nothing(
    sandbox: Any, fakes: Fakes, seeded: Any
) -> None:
    server, cookie = seeded
    names = {}
    for name, data in (("cat.png", PNG), ("evil.png", b"<svg onload='alert(1)'/>")):
        media = {"kind": "photo", "name": name, "content_type": "image/png"}
        media["data"] = base64.b64encode(data).decode()
        url = f"{fakes.telegram}/sim/chats/1001"
        assert httpx2.post(f"{url}/messages", json={"media": media}).status_code == 200
        names[name] = httpx2.get(url).json()["messages"][-1]["files"][0]["file_id"]
    jar = {cookie["name"]: cookie["value"]}
    pictures = f"{server.url}/sandbox/telegram/pictures"
    with httpx2.Client(cookies=jar) as http:
        good = http.get(f"{pictures}/{names['cat.png']}")
        assert (good.status_code, good.headers["content-type"]) == (200, "image/png")
        assert good.headers["content-security-policy"].startswith("sandbox")
        assert good.headers["x-content-type-options"] == "nosniff"
        assert http.get(f"{pictures}/{names['evil.png']}").status_code == 404
        for path in ("no-such-file", "..%2F..%2Fchats%2F1001", "%00"):
            assert http.get(f"{pictures}/{path}").status_code == 404, path
    assert httpx2.get(f"{pictures}/{names['cat.png']}").status_code in (303, 401)


def test_the_sandbox_is_accessible(sandbox: Any) -> None:
    found = Axe().run(sandbox)
    assert found.violations_count == 0, found.generate_report()
