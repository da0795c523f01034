"""Quoted files are named or fetched, captions stay with their pictures, edits may begin a turn."""

import re
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from roost_channels.files import FileFetch
from roost_channels.message import Address, Attachment, InboundMessage, Quote
from roost_platform import commands
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.stores import open_stores
from roost_platform.db.turns.transcript import ALBUM_S
from roost_platform.intake import PlatformIntake
from roost_platform.testing.chats import DoorbellLog, HandClock, Person
from roost_workflows.ports import TranscriptMessage

ACCOUNTS = [("telegram", "42")]
PHOTO = Attachment("photo", "file-1", size=9)
GROUP = Address("telegram", "42", "-100", is_group=True)


async def seen(person: Person) -> list[TranscriptMessage]:
    turn = await person.turn()
    return list((await person.stores.turns.context(turn.turn_id, 1)).messages)


async def fetches(person: Person) -> list[FileFetch]:
    now = person.stores.database.now()
    return list(await person.stores.artifacts.fetches(ACCOUNTS, now, 9))


def reply(person: Person, text: str, ref: str | None, words: str = "[photo]") -> InboundMessage:
    """A reply to a picture as a channel reads it."""
    quote = Quote(ref, "other", words, words, files=(PHOTO,))
    return person.message(text, quote=quote)


async def excerpt(person: Person) -> str:
    quoted = (await seen(person))[-1].quoted
    assert quoted is not None and quoted["resolved"] and "files" not in quoted
    return str(quoted["excerpt"])


async def test_a_quoted_photo_that_we_have_is_named_and_not_fetched_again(
    sqlite_ada: Person,
) -> None:
    ada = sqlite_ada
    picture = replace(ada.message(""), attachments=(PHOTO,))
    await ada.gives(picture)
    [known] = await fetches(ada)
    await ada.gives(reply(ada, "what is it?", picture.message_id))
    assert await excerpt(ada) == f"[photo: artifact {known.artifact_id}]"
    assert [each.artifact_id for each in await fetches(ada)] == [known.artifact_id]


@pytest.mark.parametrize("ref", ["77", None])
async def test_a_quoted_photo_that_we_never_saw_is_fetched(ada: Person, ref: str | None) -> None:
    await ada.gives(reply(ada, "what is it?", ref, "a cat"))
    [fetch] = await fetches(ada)
    assert fetch.attachment.provider_id == "file-1"
    assert await excerpt(ada) == f"[photo: artifact {fetch.artifact_id}]\na cat"


async def test_a_photo_that_a_group_passed_over_is_fetched_when_it_is_quoted(
    sqlite_ada: Person,
) -> None:
    ada = replace(sqlite_ada, address=GROUP)
    picture = replace(ada.message(""), attachments=(PHOTO,), is_addressed=False)
    await ada.gives(picture)
    assert await fetches(ada) == []
    await ada.gives(replace(reply(ada, "and?", picture.message_id), is_addressed=False))
    assert await fetches(ada) == []  # nobody asked the agent
    await ada.gives(reply(ada, "what is it?", picture.message_id))
    [fetch] = await fetches(ada)
    assert await excerpt(ada) == f"[photo: artifact {fetch.artifact_id}]"


async def test_a_quoted_photo_that_has_expired_is_fetched_again(sqlite_ada: Person) -> None:
    ada = sqlite_ada
    picture = replace(ada.message(""), attachments=(PHOTO,))
    await ada.gives(picture)
    [old] = await fetches(ada)
    async with ada.stores.database.write() as session:
        await session.execute(update(models.Artifact).values(state="expired"))
    await ada.gives(reply(ada, "what is it?", picture.message_id))
    [fetch] = await fetches(ada)
    assert fetch.artifact_id != old.artifact_id and fetch.artifact_id in await excerpt(ada)


async def test_a_selected_passage_keeps_its_words_beside_the_file(sqlite_ada: Person) -> None:
    ada = sqlite_ada
    quote = Quote("9", "other", "a big cat", "cat", 6, is_manual=True, files=(PHOTO,))
    await ada.gives(ada.message("why?", quote=quote))
    assert re.fullmatch(r"\[photo: artifact \w{10}\]\ncat", await excerpt(ada))


async def test_the_sender_hears_of_a_file_that_is_not_to_be_had(ada: Person) -> None:
    message = replace(ada.message("look"), attachments=(PHOTO,))
    await ada.gives(message)
    [fetch] = await fetches(ada)
    for _ in range(2):  # a second report changes nothing
        await ada.stores.artifacts.not_fetched(fetch.artifact_id, "over", told="It is too large.")
    assert await ada.outbox() == [("notice", "It is too large.")]
    entry = await ada.stores.outbox.next_entry(ada.address)
    assert entry is not None and entry[0].reply_to is not None
    assert entry[0].reply_to.message_id == message.message_id


def part(person: Person, caption: str, file: str) -> InboundMessage:
    message = person.message(caption)
    return replace(message, album="a", attachments=(Attachment("photo", file),))


async def test_captions_of_an_album_stay_with_their_pictures(ada: Person, clock: HandClock) -> None:
    await ada.gives(part(ada, "one", "f1"), part(ada, "", "f2"), part(ada, "three", "f3"))
    clock.advance(ALBUM_S)
    content = (await seen(ada))[-1].content
    assert re.sub(r"artifact \w+", "A", content) == "[photo: A] one\n[photo: A]\n[photo: A] three"


@pytest.mark.parametrize("which", [0, 1])
async def test_an_edited_caption_of_a_waiting_album_is_replaced_at_its_picture(
    ada: Person, clock: HandClock, which: int
) -> None:
    parts = [part(ada, "one", "f1"), part(ada, "two", "f2")]
    await ada.gives(*parts)
    edit = replace(parts[which], kind="edited", text="NEW", event_id="e1")
    same = replace(parts[1 - which], kind="edited", event_id="e2")
    await ada.gives(edit, same)
    clock.advance(ALBUM_S)
    content = (await seen(ada))[-1].content
    captions = ["NEW" if n == which else words for n, words in enumerate(("one", "two"))]
    lines = [line.partition("] ")[2] for line in content.splitlines()]
    assert lines == captions


@pytest.mark.parametrize("which", [0, 1])
async def test_an_edited_caption_of_an_album_that_was_seen_is_told(
    ada: Person, clock: HandClock, which: int
) -> None:
    parts = [part(ada, "one", "f1"), part(ada, "two", "f2")]
    await ada.gives(*parts)
    clock.advance(ALBUM_S)
    await ada.agent_says(await ada.turn(), 1, "Nice.")
    await ada.gives(replace(parts[which], kind="edited", text="NEW", event_id="e1"))
    await ada.says("and?")
    note = (await seen(ada))[-2]
    before = ("one", "two")[which]
    assert note.role == "system" and "photo: artifact" in note.content
    assert note.content.endswith(f"Before: \u201c{before}\u201d Now: \u201cNEW\u201d")


def edit_of(message: InboundMessage, text: str, event_id: str = "e1") -> InboundMessage:
    return replace(message, kind="edited", text=text, event_id=event_id, is_addressed=True)


async def test_an_edit_that_adds_the_mention_begins_a_turn_once(
    ada: Person, doorbell: DoorbellLog
) -> None:
    ada = replace(ada, address=GROUP)
    quiet = replace(ada.message("what is up?"), is_addressed=False)
    await ada.gives(quiet)
    assert doorbell.rung == []
    await ada.gives(edit_of(quiet, "@bot what is up?"))
    again = await ada.gives(edit_of(quiet, "@bot what is up?"))
    assert (again.duplicates, len(doorbell.rung)) == (1, 1)
    (message,) = await seen(ada)
    assert (message.content, message.context) == ("@bot what is up?", ())
    await ada.agent_says(await ada.turn(), 1, "Nothing.")
    rung = len(doorbell.rung)
    await ada.gives(edit_of(quiet, "@bot what is going on?", "e2"))
    assert len(doorbell.rung) == rung and len(await ada.outbox()) == 1


async def test_a_group_message_that_we_were_never_shown_is_taken_when_it_names_us(
    sqlite_ada: Person,
) -> None:
    ada = replace(sqlite_ada, address=GROUP)
    await ada.gives(edit_of(ada.message("hi"), "@bot hi"))
    assert [one.content for one in await seen(ada)] == ["@bot hi"]
    private = sqlite_ada
    await private.gives(edit_of(private.message("hi"), "hi there", "e9"))
    assert await private.inbox() == [("hi there", "ignored")]


async def test_new_goes_back_to_the_default_agent_where_the_own_one_left(
    sqlite_url: str, clock: HandClock
) -> None:
    policies = {("telegram", "42"): AccessPolicy("open")}
    database = Database(sqlite_url, clock=clock)
    stores = open_stores(database, policies=policies, default_agent="cook", agents=["cook", "poet"])
    bell = DoorbellLog()
    ada = Person(stores, PlatformIntake(stores, bell), bell)

    async def agent() -> str:
        async with database.read() as session:
            return str(await session.scalar(select(models.Conversation.agent)))

    await ada.says("hello")
    for name, after in (("poet", "poet"), ("gone", "cook")):
        async with database.write() as session:
            await session.execute(update(models.Conversation).values(agent=name))
        await ada.says("/new")
        assert await agent() == after
    answers = [text for _, text in await ada.outbox()]
    assert answers[0].startswith(commands.NEW_SESSION) and "poet" not in answers[0]
    assert answers[1] == f"{commands.NEW_SESSION} gone is not here any more: you talk to cook now."
    await stores.close()
