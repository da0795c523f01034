"""Files of conversations: registered with their message, kept in the folder, sent with answers."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from roost_channels.errors import Rejected
from roost_channels.message import Address, Attachment, Media, Sender
from roost_platform.db.artifacts import ATTACHED_MAX, DISK_FREE_BYTES_MIN, ArtifactStore
from roost_platform.db.base.engine import Database
from roost_platform.db.message_files import media_kind
from roost_platform.errors import NotAllowed, NotFound
from roost_platform.testing.chats import HandClock, Person

ACCOUNTS = [("telegram", "42"), ("telegram", "43")]


async def photo_from(person: Person) -> str:
    """A person sends a photo; returns the artifact's id."""
    photo = Attachment("photo", "f1", mime_type="image/jpeg", size=3)
    await person.gives(replace(person.message("look"), attachments=(photo,)))
    (fetch,) = await person.stores.artifacts.fetches(ACCOUNTS, person.stores.database.now(), 9)
    return fetch.artifact_id


async def test_a_photo_reaches_the_agent_under_a_word_it_can_use(ada: Person) -> None:
    files = ada.stores.artifacts
    artifact_id = await photo_from(ada)
    turn = await ada.turn()
    context = await ada.stores.turns.context(turn.turn_id, 0)
    assert context.messages[-1].content == f"[photo: artifact {artifact_id}]\nlook"
    pending = await files.get(turn.turn_id, artifact_id)
    assert pending is not None and pending.state == "pending"
    await files.fetched(artifact_id, b"jpg")
    assert await files.load(turn.turn_id, artifact_id) == b"jpg"
    assert await files.fetches(ACCOUNTS, ada.stores.database.now(), 9) == []


async def test_a_redelivered_message_has_one_artifact(ada: Person) -> None:
    message = replace(ada.message("x"), attachments=(Attachment("document", "f"),))
    await ada.gives(message)
    await ada.gives(message)
    assert len(await ada.stores.artifacts.fetches(ACCOUNTS, ada.stores.database.now(), 9)) == 1


async def test_files_of_strangers_are_not_fetched_before_they_are_admitted(ada: Person) -> None:
    stranger = replace(ada, address=Address("telegram", "43", "9"), sender=Sender("9", "Eve"))
    picture = (Attachment("photo", "f"),)
    await stranger.gives(replace(stranger.message("hi"), attachments=picture))
    now = ada.stores.database.now()
    assert await ada.stores.artifacts.fetches(ACCOUNTS, now, 9) == []


async def test_files_wait_while_the_disk_is_nearly_full(
    ada: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, now = ada.stores.artifacts, ada.stores.database.now()
    artifact_id = await photo_from(ada)
    real = shutil.disk_usage
    for free, count in ((DISK_FREE_BYTES_MIN - 1, 0), (DISK_FREE_BYTES_MIN, 1)):
        monkeypatch.setattr(
            shutil, "disk_usage", lambda at, free=free: real(at)._replace(free=free)
        )
        assert len(await files.fetches(ACCOUNTS, now, 9)) == count
    await files.fetched(artifact_id, b"jpg")


async def test_a_failed_fetch_waits_and_then_tells_why(ada: Person, clock: HandClock) -> None:
    files, artifact_id = ada.stores.artifacts, await photo_from(ada)
    await files.not_fetched(artifact_id, "HTTP 502", retry_at=clock.now + 9)
    assert await files.fetches(ACCOUNTS, clock.now, 9) == []
    (again,) = await files.fetches(ACCOUNTS, clock.now + 9, 9)
    assert again.attempts == 1
    await files.not_fetched(artifact_id, "file is too big")
    turn = await ada.turn()
    found = await files.get(turn.turn_id, artifact_id)
    assert found is not None and (found.state, found.reason) == ("failed", "file is too big")


async def test_other_conversations_files_do_not_exist(ada: Person) -> None:
    artifact_id = await photo_from(ada)
    bob = replace(ada, address=Address("telegram", "42", "2002"), sender=Sender("2002", "Bob"))
    await bob.says("show me")
    turn = await bob.turn()
    assert await ada.stores.artifacts.get(turn.turn_id, artifact_id) is None
    with pytest.raises(NotFound):
        await ada.stores.artifacts.load(turn.turn_id, artifact_id)


async def test_what_a_tool_makes_goes_with_the_answer_once_and_in_order(ada: Person) -> None:
    files = ada.stores.artifacts
    await ada.says("draw")
    turn = await ada.turn()
    for key, name in (("k:1", "one.png"), ("k:2", "two.pdf"), ("k:1", "one.png")):
        mime = "image/png" if name.endswith("png") else "application/pdf"
        made = await files.add(turn.turn_id, key, b"data", kind="", name=name, mime_type=mime)
        await files.attach(turn.turn_id, made.id)
        await files.attach(turn.turn_id, made.id)
    await ada.agent_says(turn, 0, "Here.")
    found = await ada.stores.outbox.next_entry(ada.address)
    assert found is not None
    sent = [(media.kind, media.name, media.size) for media in found[0].media]
    assert sent == [("photo", "one.png", 4), ("document", "two.pdf", 4)]


async def test_an_answer_of_files_alone_is_an_answer(ada: Person) -> None:
    await ada.says("draw")
    turn = await ada.turn()
    made = await ada.stores.artifacts.add(
        turn.turn_id, "k", b"data", kind="", name="x.bin", mime_type=""
    )
    await ada.stores.artifacts.attach(turn.turn_id, made.id)
    await ada.agent_says(turn, 0, "\u200b")
    found = await ada.stores.outbox.next_entry(ada.address)
    assert found is not None and (found[0].kind, found[0].text) == ("answer", "")
    assert found[0].media == (Media(made.id, "document", "x.bin", "", 4),)


async def test_an_answer_carries_a_bounded_number_of_files(ada: Person) -> None:
    files = ada.stores.artifacts
    await ada.says("draw")
    turn = await ada.turn()
    for number in range(ATTACHED_MAX + 1):
        made = await files.add(turn.turn_id, f"k{number}", b"x", kind="", name="x", mime_type="")
        if number < ATTACHED_MAX:
            await files.attach(turn.turn_id, made.id)
    with pytest.raises(NotAllowed):
        await files.attach(turn.turn_id, made.id)


async def test_old_files_are_deleted_but_not_those_still_to_be_sent(
    ada: Person, clock: HandClock
) -> None:
    files, old = ada.stores.artifacts, await photo_from(ada)
    await files.fetched(old, b"jpg")
    turn = await ada.turn()
    made = await files.add(turn.turn_id, "k", b"x", kind="", name="x", mime_type="")
    await files.attach(turn.turn_id, made.id)
    await ada.agent_says(turn, 0, "Here.")
    clock.advance(100)
    assert await files.sweep(clock.now) == 1
    with pytest.raises(Rejected):
        await files.read(old)
    assert await files.read(made.id) == b"x"
    assert await files.sweep(clock.now) == 0


def test_kinds_follow_what_a_file_came_as_and_its_type() -> None:
    assert media_kind("voice", "audio/ogg") == "voice"
    assert media_kind("", "image/png") == "photo"
    assert media_kind("", "image/svg+xml") == "document"
    assert media_kind("sticker", "video/webm") == "video"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a/b"])
def test_an_id_never_leads_out_of_the_folder(sqlite_url: str, tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFound):
        ArtifactStore(Database(sqlite_url), tmp_path).path(name)
    with pytest.raises(NotAllowed, match="No folder"):
        ArtifactStore(Database(sqlite_url), None).path("bcd")
