"""What the fakes keep: after a restart of the sandbox the phones show what they showed."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from roost_channels.testing import FakeCloud, FakeTelegram, FakeTwilio
from roost_channels.testing.kept import KEPT_FILE_BYTES_MAX, KEPT_MESSAGES_MAX, Lasting
from roost_channels.testing.telegram.server import DEFAULT_TOKEN
from roost_channels.testing.whatsapp.state import StatusPlan

PERSON = "whatsapp:+15550009999"
SENDER = "whatsapp:+15550001000"


def twilio() -> FakeTwilio:
    return FakeTwilio("AC1", "secret", SENDER)


async def call(fake: FakeTelegram, method: str, **parameters: Any) -> Any:
    async with httpx2.AsyncClient(trust_env=False) as http:
        url = f"{fake.base_url}/bot{DEFAULT_TOKEN}/{method}"
        answer = await http.post(url, json=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["result"]


async def test_telegram_shows_the_same_chat_and_has_the_updates_nobody_fetched() -> None:
    async with FakeTelegram() as before:
        asked = await before.user_says(1001, "Hello *bot* 😀", first_name="Ada")
        photo = await before.user_sends(1001, "photo", b"\x89PNG\xff\x00", caption="look")
        bold = [{"type": "bold", "offset": 0, "length": 3}]
        keys = {"inline_keyboard": [[{"text": "Stop", "callback_data": "stop:t"}]]}
        reply = {"message_id": asked, "quote": "*bot*"}
        sent = await call(
            before,
            "sendMessage",
            chat_id=1001,
            text="Yes",
            entities=bold,
            reply_markup=keys,
            reply_parameters=reply,
        )
        await before.user_reacts(1001, sent["message_id"], "👍")
        screen, kept = before.screen_json(1001), before.dump()
    after = FakeTelegram()
    after.load(kept)
    async with after:
        shown = after.screen_json(1001)
        assert {**shown, "typing": False} == {**screen, "typing": False}
        updates = await call(after, "getUpdates", offset=0)
        assert [u["message"]["message_id"] for u in updates if "message" in u] == [asked, photo]
        file = shown["messages"][1]["files"][0]["file_id"]
        async with httpx2.AsyncClient(trust_env=False) as http:
            data = await http.get(f"{after.base_url}/sim/files/{file}")
        assert data.content == b"\x89PNG\xff\x00"
        # No id comes twice, neither of messages nor of files.
        again = await after.user_sends(1001, "photo", b"other")
        assert again > max(m["message_id"] for m in shown["messages"])
        files = [
            m["files"][0]["file_id"] for m in after.screen_json(1001)["messages"] if m["files"]
        ]
        assert len(set(files)) == 2
        edited = await call(
            after, "editMessageText", chat_id=1001, message_id=sent["message_id"], text="No"
        )
        assert edited["text"] == "No"


async def business_says_yes(fake: Any) -> None:
    if isinstance(fake, FakeTwilio):
        url = f"{fake.base_url}/2010-04-01/Accounts/AC1/Messages.json"
        form = {"From": SENDER, "To": PERSON, "Body": "*Yes*"}
        options: dict[str, Any] = {"data": form, "auth": ("AC1", "secret")}
    else:
        url = f"{fake.base_url}/v25.0/{fake.settings.phone_number_id}/messages"
        to = {"messaging_product": "whatsapp", "to": PERSON.removeprefix("whatsapp:+")}
        body = {**to, "type": "text", "text": {"body": "*Yes*"}}
        options = {"json": body, "headers": {"Authorization": "Bearer test-access-token"}}
    async with httpx2.AsyncClient(trust_env=False) as http:
        assert (await http.post(url, **options)).status_code in (200, 201)
    await fake.until(lambda: any(m.status == "sent" for m in fake.messages.values()))


@pytest.mark.parametrize("make", [FakeCloud, twilio])
async def test_whatsapp_shows_the_same_chat_and_what_was_on_its_way_arrives(
    make: Callable[[], Any],
) -> None:
    before = make()
    before.settings.status_plan = StatusPlan(sent_s=0.0, delivered_s=3600.0)
    async with before:
        picture = [(b"\xffpic", "image/png")]
        await before.user_says(PERSON, "Open?", profile_name="Ada", media=picture)
        await business_says_yes(before)
        contents = {}
        if isinstance(before, FakeTwilio):
            before.add_content({"types": {"twilio/text": {"body": "x"}}})
            contents = dict(before.core.contents)
        screen, kept = before.screen_json(PERSON), before.dump()
    after = make()
    after.load(kept)
    async with after:
        await after.settled()
        shown = after.screen_json(PERSON)
        assert shown["messages"][0] == screen["messages"][0]
        assert [m["body"] for m in shown["messages"]] == ["Open?", "*Yes*"]
        media = shown["messages"][0]["files"][0]["sid"]
        assert after.core.media[media].data == b"\xffpic"
        assert after.core.is_open(after.core.user(PERSON))
        new = await after.user_says(PERSON, "", media=[(b"more", "image/png")])
        assert after.core.messages[new].media != [media]
        assert getattr(after.core, "contents", {}) == contents


async def test_what_is_kept_is_bounded() -> None:
    fake = FakeTelegram()
    async with fake:
        for number in range(KEPT_MESSAGES_MAX + 5):
            await fake.user_says(1001, f"message {number}")
        large = b"x" * (KEPT_FILE_BYTES_MAX // 3)
        for _ in range(4):
            await fake.user_sends(1001, "document", large)
    after = FakeTelegram()
    after.load(fake.dump())
    messages = after.core.world.chats[1001].messages
    assert len(messages) == KEPT_MESSAGES_MAX
    assert sum(len(f.data) for f in after.core.world.files.values()) <= KEPT_FILE_BYTES_MAX


@pytest.mark.parametrize("make", [FakeTelegram, FakeCloud, twilio])
@pytest.mark.parametrize("kept", [b"", b"{}", b"[]", b"\xff\xfe", b'{"version": 99}', b"[" * 5000])
def test_what_is_no_state_is_refused(make: Callable[[], Lasting], kept: bytes) -> None:
    fake = make()
    with pytest.raises(ValueError):
        fake.load(kept)
    assert isinstance(fake, Lasting)
    fresh = make().dump()
    fake.load(fresh)
    with pytest.raises(ValueError):
        fake.load(fresh.replace(b'"version":1', b'"version":2'))
