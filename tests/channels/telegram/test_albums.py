"""Several files of one answer on Telegram: one album, each file a part of its own."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from roost_channels.channel import Outgoing
from roost_channels.delivery.courier import Courier
from roost_channels.delivery.parts import CHOOSE, plan
from roost_channels.message import Address, Button, Media, MediaKind, ReplyTarget
from roost_channels.outbox import OutboxEntry, StatusMessage
from roost_channels.rendering.parts import REPEAT_LABEL, RenderedPart
from roost_channels.telegram.channel import CAPABILITIES, TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.testing import FakeTelegram, SeenMessage, VirtualClock
from roost_channels.testing.memory.files import MemoryFiles
from roost_channels.testing.memory.outbox import MemoryOutbox

CHAT = 7
ADDRESS = Address("telegram", "42", str(CHAT))
MIME = {"photo": "image/png", "video": "video/mp4", "document": "application/pdf"}


def file(name: str, kind: MediaKind = "photo", size: int = 10) -> Media:
    return Media(name, kind, name, MIME.get(kind, "audio/mpeg"), size)


class Chat:
    """One bot with the files it holds, and the phone of the person who writes to it."""

    def __init__(self, telegram: FakeTelegram, clock: VirtualClock) -> None:
        self.telegram, self.clock = telegram, clock
        self.files, self.outbox = MemoryFiles(), MemoryOutbox(clock)
        settings = {"token": telegram.token, "api_base": telegram.base_url}
        config = TelegramConfig.model_validate(settings)
        self.channel = TelegramChannel(config, clock=clock, files=self.files)

    def answers(
        self, text: str, *media: Media, buttons: Sequence[Button] = (), reply_to: str = ""
    ) -> OutboxEntry:
        """Queue an answer; the files' bytes are their names."""
        self.files.data |= {one.artifact_id: one.name.encode() for one in media}
        target = ReplyTarget(reply_to, is_latest=False) if reply_to else None
        return self.outbox.add(ADDRESS, text, media=media, buttons=buttons, reply_to=target)

    async def deliver(self, owner: str = "c") -> None:
        """Run a courier until nothing is left to do, while time goes by."""
        courier = Courier([self.channel], self.outbox, owner, self.clock)
        await self.outbox.recover(owner)
        async with asyncio.timeout(20):
            while await self.outbox.next_entry(ADDRESS) is not None:
                draining = asyncio.create_task(courier.drain())
                while not draining.done():
                    await asyncio.sleep(0.002)
                    await self.clock.advance(0.25)
                await self.clock.advance(1.0)

    def methods(self) -> list[str]:
        sends = [call.method for call in self.telegram.calls if call.method.startswith("send")]
        return [name for name in sends if name != "sendChatAction"]

    def names(self) -> list[str]:
        return [self.content(f["file_id"]) for m in self.shown() for f in m.files]

    def content(self, file_id: str) -> str:
        return self.telegram.core.world.files[file_id].data.decode()

    def shown(self) -> list[SeenMessage]:
        return [m for m in self.telegram.visible(CHAT) if m.sender == "bot"]


@pytest.fixture
async def chat() -> AsyncIterator[Chat]:
    clock = VirtualClock()
    async with FakeTelegram(clock=clock) as telegram:
        await telegram.user_says(CHAT, "hello")
        chat = Chat(telegram, clock)
        yield chat
        await chat.channel.close()
        assert telegram.complaints == []


async def test_files_go_as_one_album_with_the_words_under_the_first(chat: Chat) -> None:
    [asked] = chat.telegram.visible(CHAT)
    entry = chat.answers(
        "*Two* views.", file("a"), file("b", "video"), reply_to=str(asked.message_id)
    )
    await chat.deliver()
    assert chat.methods() == ["sendMediaGroup"] and chat.names() == ["a", "b"]
    first, second = chat.shown()
    assert (first.text, second.text) == ("Two views.", "")
    assert first.reply_to and first.reply_to.message_id == asked.message_id
    assert first.entities[0]["type"] == "italic"
    assert len({m.media["media_group_id"] for m in (first, second)}) == 1
    # A reply to either picture names the part that it came from.
    ids = [part.message_id for part in chat.outbox.parts[entry.id]]
    assert ids == [str(first.message_id), str(second.message_id)]


async def test_a_long_text_stays_a_message_of_its_own_before_the_album(chat: Chat) -> None:
    chat.answers("word " * 300, file("a"), file("b"))
    await chat.deliver()
    assert chat.methods() == ["sendMessage", "sendMediaGroup"]
    assert [m.text for m in chat.shown()[1:]] == ["", ""]


@pytest.mark.parametrize(
    ("kinds", "albums"),
    [
        (["photo", "video", "photo"], [3]),
        (["photo", "document", "document"], [1, 2]),
        (["audio", "audio", "photo"], [2, 1]),
        (["voice", "voice"], [1, 1]),
        (["photo"] * 12, [10, 2]),
        (["photo"] * 11, [10, 1]),
    ],
)
async def test_only_kinds_that_may_mix_share_an_album_of_at_most_ten(
    chat: Chat, kinds: list[MediaKind], albums: list[int]
) -> None:
    media = [file(str(number), kind) for number, kind in enumerate(kinds)]
    entry = chat.answers("", *media)
    await chat.deliver()
    assert set(chat.outbox.states(entry)) == {"sent"}
    assert chat.names() == [one.name for one in media]
    calls = [call for call in chat.telegram.calls if call.method.startswith("send")]
    sizes = [len(c.response["result"]) if "Group" in c.method else 1 for c in calls]
    assert sizes == albums


def test_an_album_weighs_no_more_than_one_file_may() -> None:
    heavy = CAPABILITIES.photo_bytes_max
    media = tuple(file(str(number), size=heavy) for number in range(7))
    entry = OutboxEntry("e", ADDRESS, "answer", "", None, (), None, 0, 0.0, media)
    marks = [part.album for part in plan(entry, _Bare())]  # type: ignore[arg-type]
    assert marks == ["1"] * 5 + ["2"] * 2


class _Bare:
    capabilities = CAPABILITIES


async def test_buttons_find_a_place_below_the_album(chat: Chat) -> None:
    chat.answers("Which?", file("a"), file("b"), buttons=[Button("A", "a"), Button("B", "b")])
    await chat.deliver()
    assert [m.text for m in chat.shown()] == ["Which?", "", CHOOSE]
    assert [b.text for b in chat.shown()[-1].buttons] == ["A", "B"]


async def test_a_file_that_is_gone_keeps_neither_the_others_nor_the_words_back(chat: Chat) -> None:
    entry = chat.answers("Three views.", file("a"), file("b"), file("c"))
    del chat.files.data["a"]
    await chat.deliver()
    assert set(chat.outbox.states(entry)) == {"sent"} and chat.names() == ["b", "c"]
    assert chat.shown()[0].text == "Three views.\n[file: a, could not be sent]"


async def test_a_file_that_the_server_refuses_breaks_the_album_up_and_goes_alone(
    chat: Chat,
) -> None:
    entry = chat.answers("Two.", file("a"), file("b"))
    chat.files.data["b"] = b""  # which Telegram refuses in any form
    await chat.deliver()
    assert set(chat.outbox.states(entry)) == {"sent"} and chat.names() == ["a"]
    assert [m.text for m in chat.shown()] == ["Two.", "[file: b, could not be sent]"]
    assert chat.methods() == ["sendMediaGroup", "sendPhoto", "sendPhoto", "sendMessage"]


async def test_an_album_whose_outcome_is_unknown_is_repeated_as_a_whole_and_labelled(
    chat: Chat,
) -> None:
    entry = chat.answers("Two.", file("a"), file("b"))
    chat.telegram.fault("drop_after", "sendMediaGroup")
    await chat.deliver()
    assert chat.methods() == ["sendMediaGroup"] * 2 and chat.names() == ["a", "b", "a", "b"]
    assert [m.text for m in chat.shown()[2:]] == [f"{REPEAT_LABEL}Two.", REPEAT_LABEL.strip()]
    assert set(chat.outbox.states(entry)) == {"sent"}


async def test_a_wait_that_is_asked_for_holds_the_whole_album(chat: Chat) -> None:
    chat.answers("", file("a"), file("b"))
    chat.telegram.fault("rate_limit", "sendMediaGroup", value=20)
    await chat.deliver()
    assert chat.methods() == ["sendMediaGroup"] * 2 and chat.names() == ["a", "b"]
    assert chat.telegram.early_calls == []


@pytest.mark.parametrize("unproved", [0, 1])
async def test_a_courier_that_dies_between_the_files_proofs_repeats_what_is_unproved(
    chat: Chat, unproved: int
) -> None:
    entry = chat.answers("", file("a"), file("b"))
    courier = Courier([chat.channel], chat.outbox, "dead", chat.clock)
    await courier.drain()
    chat.outbox.lose_proof(chat.outbox.parts[entry.id][unproved].id)
    await chat.deliver("next")
    assert [p.state for p in chat.outbox.parts[entry.id]] == ["sent", "sent"]
    assert chat.names() == ["a", "b", "ab"[unproved]]
    assert chat.shown()[-1].text == REPEAT_LABEL.strip()


async def test_an_uncertain_album_never_takes_the_status_messages_place(chat: Chat) -> None:
    chat.files.data = {"a": b"a", "b": b"b"}
    sent = await chat.channel.send(Outgoing(ADDRESS, RenderedPart("Thinking…")))
    chat.outbox.add(ADDRESS, "Two.", media=[file("a"), file("b")], turn_id="t")
    status = StatusMessage("t", ADDRESS, sent.message_id, "Thinking…", "open", 0.0)
    await chat.outbox.put_status_message(status)
    chat.telegram.fault("drop_after", "sendMediaGroup")
    await chat.deliver()
    assert chat.names() == ["a", "b", "a", "b"] and chat.shown()[0].text == "Thinking…"
