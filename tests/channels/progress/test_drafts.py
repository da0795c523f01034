"""An answer that is shown while it is written, as a draft or in the status message."""

from roost_channels.message import Address, ReplyTarget
from roost_channels.telegram.testing import ADDRESS, CHAT, Phone


async def test_a_stream_shows_the_answer_as_a_draft_within_its_budget(phone: Phone) -> None:
    phone.turn(mode="stream")
    await phone.after(1.0)
    assert phone.telegram.draft(CHAT) == "Thinking…"
    for n in range(80):
        phone.turn("answering", text="**word** " * (n + 1))
        await phone.after(0.25)
    draft = phone.telegram.draft(CHAT)
    assert draft is not None and draft.startswith("word word") and not phone.telegram.early_calls
    drafts = phone.telegram.calls_of("sendMessageDraft")
    assert 15 <= len(drafts) <= 22 and phone.calls("sendMessage") == 0
    assert {call.response["ok"] for call in drafts} == {True}
    assert len({call.parameters["draft_id"] for call in drafts}) == 1
    phone.outbox.add(ADDRESS, "the answer", turn_id="turn-1")
    await phone.courier.drain()
    assert await phone.after(3.0) == ["the answer"] and phone.telegram.draft(CHAT) is None
    assert phone.telegram.notifications(CHAT) == 1


async def test_a_quiet_draft_is_kept_alive_and_fenced(phone: Phone) -> None:
    phone.turn("answering", mode="stream", text="so far")
    for _ in range(12):
        await phone.after(5.0)
        assert phone.telegram.draft(CHAT) == "so far"
    assert phone.calls("sendMessageDraft") <= 4
    phone.outbox.stopped.add("turn-1")
    before = phone.calls("sendMessageDraft")
    await phone.after(60.0)
    assert phone.calls("sendMessageDraft") == before


async def test_groups_stream_into_the_status_message(phone: Phone) -> None:
    phone.telegram.add_group(-100)
    asked = await phone.telegram.user_says(-100, "hello")
    group = Address("telegram", "42", "-100", is_group=True)
    phone.turn(address=group, reply_to=ReplyTarget(str(asked)), mode="stream")
    await phone.after(3.0)
    phone.turn("answering", text="so far so good")
    await phone.after(5.0)
    assert phone.telegram.bot_texts(-100) == ["Writing the answer…\n\nso far so good"]
    assert phone.calls("sendMessageDraft") == 0


async def test_a_server_without_drafts_gets_a_status_message_instead(phone: Phone) -> None:
    phone.telegram.core.world.chats[CHAT].type = "group"  # whose drafts the server refuses
    phone.turn("answering", mode="stream", text="so far")
    shown = await phone.after(5.0)
    assert shown == ["Writing the answer…\n\nso far"] and phone.calls("sendMessageDraft") == 1
