"""R17 and R18 on Telegram: what is quoted comes in whole, what we quote goes out or gives way."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roost_channels.delivery.courier import Courier
from roost_channels.message import Address, Attachment, InboundMessage, Quote, ReplyTarget
from roost_channels.rendering.parts import TOPIC_LABEL
from roost_channels.telegram.channel import TelegramChannel
from roost_channels.telegram.config import TelegramConfig
from roost_channels.telegram.format import QUOTE_MAX, checked_quote
from roost_channels.telegram.inbound.updates import read
from roost_channels.testing import FakeTelegram, VirtualClock
from roost_channels.testing.memory.outbox import MemoryOutbox

CHAT = 7
GROUP = -100
ADDRESS = Address("telegram", "42", str(CHAT))
LONG = "\n\n".join(f"Paragraph {n}. " + "word " * 200 for n in range(12))


class Phone:
    """A chat with the bot: what people send as we read it, what we send as they see it."""

    def __init__(self, telegram: FakeTelegram, clock: VirtualClock) -> None:
        self.telegram = telegram
        settings = {"token": telegram.token, "api_base": telegram.base_url}
        self.channel = TelegramChannel(TelegramConfig.model_validate(settings), clock=clock)
        self.outbox = MemoryOutbox(clock)
        self.courier = Courier([self.channel], self.outbox, "c", clock)
        self.clock = clock

    def newest(self) -> InboundMessage:
        """The newest update as we read it."""
        found = read(self.telegram.core.updates.pending[-1].to_json(), "42", "roost_test_bot")
        assert found is not None
        return found

    async def bot_says(self, text: str, address: Address = ADDRESS) -> list[int]:
        """An answer; returns the ids of its parts."""
        entry = self.outbox.add(address, text)
        while not all(state == "sent" for state in self.outbox.states(entry) or ["planned"]):
            await self.courier.drain()
            await self.clock.advance(1.0)
        return [int(part.message_id or 0) for part in self.outbox.parts[entry.id]]

    async def answers(self, text: str, reply_to: ReplyTarget, address: Address = ADDRESS) -> None:
        entry = self.outbox.add(address, text, reply_to=reply_to)
        while not all(state == "sent" for state in self.outbox.states(entry) or ["planned"]):
            await self.courier.drain()
            await self.clock.advance(1.0)


@pytest.fixture
async def phone() -> AsyncIterator[Phone]:
    clock = VirtualClock()
    async with FakeTelegram(clock=clock) as telegram:
        await telegram.user_says(CHAT, "hello")
        found = Phone(telegram, clock)
        yield found
        await found.channel.close()


async def test_r17_own_words_are_quoted_as_the_users(phone: Phone) -> None:
    mine = await phone.telegram.user_says(CHAT, "my idea")
    await phone.telegram.user_says(CHAT, "what of it?", reply_to=mine)
    assert phone.newest().quote == Quote(str(mine), "user", "my idea", "my idea")


async def test_r17_the_bots_answer_is_quoted_as_the_bots(phone: Phone) -> None:
    (answer,) = await phone.bot_says("**Paris** and Rome")
    await phone.telegram.user_says(CHAT, "why?", reply_to=answer)
    assert phone.newest().quote == Quote(str(answer), "bot", "Paris and Rome", "Paris and Rome")


async def test_r17_another_persons_words_are_quoted_as_theirs(phone: Phone) -> None:
    phone.telegram.add_group(GROUP)
    theirs = await phone.telegram.user_says(GROUP, "I say yes", user_id=8, first_name="Bob")
    await phone.telegram.user_says(GROUP, "@roost_test_bot right?", user_id=7, reply_to=theirs)
    assert phone.newest().quote == Quote(str(theirs), "other", "I say yes", "I say yes")


async def test_r17_a_selected_passage_is_the_excerpt_with_its_utf16_place(phone: Phone) -> None:
    (answer,) = await phone.bot_says("😀 Paris and Rome")
    await phone.telegram.user_says(CHAT, "why?", reply_to=answer, quote="Rome")
    quote = phone.newest().quote
    assert quote is not None and quote.is_manual
    assert (quote.text, quote.excerpt, quote.utf16_start) == ("😀 Paris and Rome", "Rome", 13)


async def test_r17_each_part_of_a_long_answer_can_be_quoted(phone: Phone) -> None:
    parts = await phone.bot_says(LONG)
    assert len(parts) > 2
    await phone.telegram.user_says(CHAT, "this?", reply_to=parts[2])
    quote = phone.newest().quote
    assert quote is not None and quote.ref == str(parts[2])
    assert quote.text == phone.outbox.parts["entry-1"][2].rendered.text


async def test_r17_a_photo_without_words_is_quoted_by_its_kind(phone: Phone) -> None:
    sizes = [{"file_id": "f", "file_unique_id": "u", "width": 9, "height": 9}]
    picture = await phone.telegram.user_says(CHAT, "", media={"photo": sizes})
    await phone.telegram.user_says(CHAT, "nice?", reply_to=picture)
    assert phone.newest().quote == Quote(
        str(picture), "user", "[photo]", "[photo]", files=(Attachment("photo", "f"),)
    )


async def test_r17_a_quote_from_another_topic_keeps_its_id_and_author(phone: Phone) -> None:
    external = {
        "origin": {"type": "user", "date": 1, "sender_user": {"id": 42, "is_bot": True}},
        "chat": {"id": CHAT, "type": "private"},
        "message_id": 3,
    }
    await phone.telegram.user_says(CHAT, "and this?", external_reply=external, quote="two words")
    quote = phone.newest().quote
    assert quote is not None and (quote.ref, quote.author) == ("3", "bot")
    assert quote.excerpt == "two words" and quote.resolved
    elsewhere = {**external, "chat": {"id": -5, "type": "supergroup"}}
    await phone.telegram.user_says(CHAT, "and that?", external_reply=elsewhere)
    quote = phone.newest().quote
    assert quote is not None and quote.ref is None and not quote.resolved


async def test_r17_an_answer_quotes_the_passage_and_only_its_first_part_replies(
    phone: Phone,
) -> None:
    asked = await phone.telegram.user_says(CHAT, "😀 tell me of Rome and of Rome")
    target = ReplyTarget(str(asked), "Rome", 26, excerpt="😀 tell me of Rome and of Rome")
    await phone.answers(LONG, target)
    shown = [m for m in phone.telegram.visible(CHAT) if m.sender == "bot"]
    assert shown[0].reply_to is not None and shown[0].reply_to.quote == "Rome"
    assert all(later.reply_to is None for later in shown[1:])
    sent = phone.telegram.calls_of("sendMessage")[0].parameters["reply_parameters"]
    assert '"quote_position":26' in str(sent).replace(" ", "").replace("'", '"')


@pytest.mark.parametrize("case", ["edited", "deleted", "foreign quote"])
async def test_r17_a_quote_or_target_that_is_gone_never_loses_the_answer(
    phone: Phone, case: str
) -> None:
    asked = await phone.telegram.user_says(CHAT, "tell me of Rome")
    if case == "edited":
        await phone.telegram.user_edits(CHAT, asked, "tell me of Oslo")
    if case == "deleted":
        phone.telegram.user_deletes(CHAT, asked)
    quote = "Paris" if case == "foreign quote" else "Rome"
    await phone.answers("Here you are.", ReplyTarget(str(asked), quote, 11))
    answer = phone.telegram.visible(CHAT)[-1]
    assert answer.text == "Here you are."
    if case == "deleted":
        assert answer.reply_to is None
    else:
        assert answer.reply_to is not None and answer.reply_to.quote is None


async def test_r16_a_reply_goes_to_its_own_topic_and_general_has_no_number(phone: Phone) -> None:
    phone.telegram.add_group(GROUP, topics={9: "Work"})
    asked = await phone.telegram.user_says(GROUP, "@roost_test_bot hi", thread=9)
    topic = Address("telegram", "42", str(GROUP), "9")
    await phone.answers("in the topic", ReplyTarget(str(asked)), topic)
    general = Address("telegram", "42", str(GROUP), "1")
    await phone.answers("in General", ReplyTarget("1"), general)
    in_topic = [m.text for m in phone.telegram.visible(GROUP, thread=9)]
    assert in_topic == ["@roost_test_bot hi", "in the topic"]
    sent = phone.telegram.calls_of("sendMessage")[-1]
    assert sent.parameters["text"] == "in General"
    assert "message_thread_id" not in sent.parameters
    await phone.channel.indicate(general)
    typing = phone.telegram.calls_of("sendChatAction")[-1]
    assert int(typing.parameters["message_thread_id"]) == 1


async def test_r16_an_answer_to_a_deleted_topic_goes_to_the_chat_once_and_says_so(
    phone: Phone,
) -> None:
    phone.telegram.add_group(GROUP, topics={9: "Work"})
    topic = Address("telegram", "42", str(GROUP), "77")
    asked = ReplyTarget("3", quote="what")
    gone = phone.outbox.add(topic, "The *answer*.", reply_to=asked)
    for _ in range(5):
        await phone.courier.drain()
        await phone.clock.advance(3.0)
    assert phone.outbox.states(gone) == ["sent"]
    assert phone.telegram.bot_texts(GROUP) == ["(the topic is gone or closed)\nThe answer."]
    assert phone.telegram.bot_texts(CHAT) == []
    tries = phone.telegram.calls_of("sendMessage")
    assert ["message_thread_id" in call.parameters for call in tries] == [True, False]
    assert "reply_parameters" not in tries[1].parameters
    await phone.answers("Later.", ReplyTarget("3"), Address("telegram", "42", str(GROUP)))
    assert phone.telegram.bot_texts(GROUP)[1:] == ["Later."]


async def test_r16_each_part_of_a_long_answer_leaves_a_deleted_topic(phone: Phone) -> None:
    phone.telegram.add_group(GROUP, topics={9: "Work"})
    gone = phone.outbox.add(Address("telegram", "42", str(GROUP), "77"), LONG)
    draining = asyncio.create_task(phone.courier.drain())
    async with asyncio.timeout(60):
        while not draining.done():
            await asyncio.sleep(0.002)
            await phone.clock.advance(1.0)
    assert set(phone.outbox.states(gone)) == {"sent"}
    texts = phone.telegram.bot_texts(GROUP)
    assert len(texts) == len(phone.outbox.states(gone)) > 2
    together = " ".join(texts).replace(TOPIC_LABEL, "")
    assert together.split() == LONG.split()


async def test_r16_a_private_topic_that_is_gone_is_left_for_the_chat(phone: Phone) -> None:
    phone.outbox.add(Address("telegram", "42", str(CHAT), "77"), "Here.")
    for _ in range(5):
        await phone.courier.drain()
        await phone.clock.advance(3.0)
    assert phone.telegram.bot_texts(CHAT) == ["(the topic is gone or closed)\nHere."]


TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("ab😀é\u0301 "), max_size=60
)


@given(TEXT, st.data())
def test_a_checked_quote_is_an_exact_passage_at_its_utf16_place(
    text: str, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text)))
    quote = text[start : data.draw(st.integers(start, len(text)))]
    wanted = data.draw(st.integers(0, 130) | st.none())
    found, position = checked_quote(ReplyTarget("1", quote, wanted, excerpt=text))
    if not quote.strip():
        assert (found, position) == ("", None)
        return
    assert found == quote.strip()
    if position is not None and found != text:
        units = text.encode("utf-16-le")
        size = len(found.encode("utf-16-le"))
        assert units[2 * position : 2 * position + size].decode("utf-16-le") == found


@given(TEXT.filter(lambda text: len(text) > 2), TEXT)
def test_what_is_no_passage_of_the_target_is_never_quoted(text: str, quote: str) -> None:
    found, _ = checked_quote(ReplyTarget("1", quote, 0, excerpt=text))
    assert found == "" or found in text
    assert len(found.encode("utf-16-le")) // 2 <= QUOTE_MAX
