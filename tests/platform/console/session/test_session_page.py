"""The session page by its data: older messages page by page, and the queue mode of a talk."""

from typing import Any

from roost_platform.console.pages.session import context_of
from roost_platform.console.rendering import render
from roost_platform.db.stores import Stores
from roost_platform.testing.console.day import writing
from roost_platform.testing.console.rows import conversation as new_conversation
from roost_platform.testing.console.rows import delivered, transcript_row
from roost_platform.views.session.conversation import conversation
from roost_platform.views.session.transcript import MESSAGES_SHOWN_MAX

NOW = 1_800_000_000.0
MESSAGES = MESSAGES_SHOWN_MAX * 2 + 50


async def test_every_message_and_notice_of_a_long_talk_is_on_exactly_one_page(
    sqlite_stores: Stores,
) -> None:
    async with writing(sqlite_stores) as add:
        id, session = await new_conversation(add, "telegram", "42", "1001", None, 0, NOW)
        for number in range(MESSAGES):
            await add(transcript_row(session, number, "user", f"m{number}", NOW + number))
        for number in (10, 240, 440):
            text, at = f"notice {number}", NOW + number + 0.5
            await delivered(add, id, "telegram", "42", None, "notice", text, at, 1)

    async def page(before: int | None) -> Any:
        async with sqlite_stores.database.read() as session:
            view = await conversation(session, id, None, before=before, with_texts=True)
        assert view is not None
        return context_of(view, None, before, "steer")

    pages = [await page(None)]
    while pages[-1].transcript.older:
        pages.append(await page(int(pages[-1].transcript.older.rpartition("=")[2])))
    texts = [[bubble.text for bubble in one.transcript.bubbles] for one in pages]
    shown = [text for one in texts[::-1] for text in one]
    expected = []
    for number in range(MESSAGES):
        expected += [f"m{number}", *([f"notice {number}"] if number in (10, 240, 440) else [])]
    assert shown == expected
    assert [one.transcript.earlier for one in pages] == [MESSAGES - 200, MESSAGES - 400, 0]
    assert pages[0].transcript.newer == "" and pages[1].transcript.newer == f"/sessions/{id}"


async def test_the_page_tells_whose_words_were_forwarded_and_what_came_along(
    sqlite_stores: Stores,
) -> None:
    async with writing(sqlite_stores) as add:
        id, session = await new_conversation(add, "telegram", "42", "1001", None, 0, NOW)
        forward = {"forwarded_from": "Eve <b>", "payload": "<i>ref_7</i>"}
        await add(transcript_row(session, 0, "user", "Pay at once.", NOW, **forward))
    async with sqlite_stores.database.read() as open_session:
        view = await conversation(open_session, id, None, before=None, with_texts=True)
    assert view is not None
    [bubble] = context_of(view, None, None, "steer").transcript.bubbles
    page = render("session/bubble.html", {"b": bubble})
    assert "Forwarded from Eve &lt;b&gt;" in page and "&lt;i&gt;ref_7&lt;/i&gt;" in page
    assert page.index("Forwarded from") < page.index("Pay at once.")
