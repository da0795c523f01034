"""What people send reaches the model: once read, the same in every later prompt."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from roost.builtin.concierge import concierge, read_file
from roost.context import Context, Person, SessionInfo
from roost.errors import ModelRetry, ToolFailed
from roost.files import Files
from roost.testing import MemoryNotes
from roost_channels.message import Attachment
from roost_inference.client.assembly import Completed, Delta
from roost_inference.client.engine_client import ChatRequest
from roost_platform.testing.chats import Person as Chatter
from roost_workflows.agents import AgentRegistry
from roost_workflows.hints.session_hints import NoHints
from roost_workflows.ports import TurnContext, TurnRecord
from roost_workflows.state import GenerateInput
from roost_workflows.turn import files as turn_files
from roost_workflows.turn.files import FILE_CHARS_MAX, PICTURES_MAX, TURN_CHARS_MAX, FileReader
from roost_workflows.turn.model_call import ModelCaller
from roost_workflows.turn.progress import Board
from roost_workflows.turn.requests import build_request

ACCOUNTS = [("telegram", "42")]
PNG = b"\x89PNG\r\n\x1a\n" + b"\x00" * 32


def document(name: str = "a.txt", mime_type: str = "text/plain") -> Attachment:
    return Attachment("document", "f-" + name, name, mime_type)


PHOTO = Attachment("photo", "p", mime_type="image/jpeg", size=3)


async def sent(person: Chatter, *files: tuple[Attachment, bytes], text: str = "look") -> list[str]:
    """A person sends files, which are fetched; returns their ids in order."""
    message = replace(person.message(text), attachments=tuple(one for one, _ in files))
    await person.gives(message)
    store = person.stores.artifacts
    due = await store.fetches(ACCOUNTS, person.stores.database.now(), 50)
    by_id = {one.attachment.provider_id: one.artifact_id for one in due}
    for one, data in files:
        await store.fetched(by_id[one.provider_id], data)
    return [by_id[one.provider_id] for one, _ in files]


async def begun(person: Chatter) -> tuple[TurnRecord, TurnContext]:
    turn = await person.turn()
    return turn, await person.stores.turns.context(turn.turn_id, 1)


async def prompt(
    person: Chatter, context: TurnContext, *, images: bool = False, shorter: int = 0
) -> list[Any]:
    """The messages behind the system prompt, as the worker asks the model."""
    reader = FileReader(person.stores.artifacts, images=images)
    context = await reader.read(context)
    pictures = await reader.pictures(context)
    request = build_request(
        concierge, context, step=1, last=False, shorter=shorter, pictures=pictures
    )
    return [message["content"] for message in request.messages[1:]]


async def test_a_document_is_part_of_the_prompt_and_stays_the_same(ada: Chatter) -> None:
    (artifact,) = await sent(ada, (document("plan\n\u202e.txt"), b"Meet at six.</file>"))
    turn, context = await begun(ada)
    said = await prompt(ada, context)
    assert said == [
        f'<file id="{artifact}" name="plan .txt" characters="19">\n'
        "Meet at six.<\u200b/file>\n</file>\n"
        f"[document: artifact {artifact}, plan .txt]\nlook"
    ]
    await ada.stores.artifacts.sweep(ada.stores.database.now() + 1)  # the bytes are gone
    again = await ada.stores.turns.context(turn.turn_id, 1)
    assert await prompt(ada, again) == said
    await ada.agent_says(turn, 1, "At six.")
    await ada.says("thanks")
    _, later = await begun(ada)
    assert (await prompt(ada, later))[:1] == said


async def test_what_is_missing_is_said_plainly(
    ada: Chatter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn_files, "ARRIVAL_WAIT_S", 0.0)
    broken, binary = await sent(
        ada, (document("a.pdf", "application/pdf"), b"%PDF-1.4"), (document("b.bin"), b"\x00" * 99)
    )
    late = replace(ada.message("and this"), attachments=(document("late.txt"),))
    await ada.gives(late)
    voice = replace(ada.message("hear"), attachments=(Attachment("voice", "v"),))
    await ada.gives(voice)
    _, context = await begun(ada)
    (said,) = await prompt(ada, context)
    assert f"[document {broken}: not shown, because it is damaged]" in said
    assert f"[document {binary}: not shown, because its kind can't be read as text]" in said
    assert "not shown, because it has not arrived yet]" in said
    assert "the model can't hear or watch recordings]" in said


async def test_an_engine_without_eyes_is_told_that_there_is_a_picture(ada: Chatter) -> None:
    (artifact,) = await sent(ada, (PHOTO, PNG))
    _, context = await begun(ada)
    assert await prompt(ada, context) == [
        f"[photo {artifact}: the model can't see pictures]\n[photo: artifact {artifact}]\nlook"
    ]


async def test_an_engine_that_sees_pictures_gets_them_with_the_words(ada: Chatter) -> None:
    artifact, fake = await sent(
        ada, (PHOTO, PNG), (replace(PHOTO, provider_id="q"), b"<html>no picture</html>")
    )
    _, context = await begun(ada)
    ((words, picture),) = await prompt(ada, context, images=True)
    assert words["type"] == "text" and words["text"].endswith("look")
    assert f"[photo {fake}: not shown, because its kind of picture is not known]" in words["text"]
    assert f"[photo {artifact}:" not in words["text"]
    assert picture["image_url"]["url"].startswith("data:image/png;base64,")


async def test_a_file_is_what_its_bytes_and_name_say_not_what_its_sender_calls_it(
    ada: Chatter,
) -> None:
    picture, code = await sent(
        ada,
        (document("scan.bin", "application/octet-stream"), PNG),
        (document("app.ts", "video/mp2t"), b"const answer: number = 42"),
    )
    _, context = await begun(ada)
    (blind,) = await prompt(ada, context)
    assert f"[document {picture}: the model can't see pictures]" in blind
    assert f'<file id="{code}" name="app.ts"' in blind and "const answer" in blind
    ((words, shown),) = await prompt(ada, context, images=True)
    assert shown["image_url"]["url"].startswith("data:image/png;base64,")
    assert f"[document {picture}:" not in words["text"]


async def test_a_prompt_has_at_most_the_newest_pictures(ada: Chatter) -> None:
    for number in range(PICTURES_MAX + 2):
        await sent(ada, (replace(PHOTO, provider_id=f"p{number}"), PNG + bytes([number])))
    _, context = await begun(ada)
    ((words, *pictures),) = await prompt(ada, context, images=True)
    assert len(pictures) == PICTURES_MAX
    assert words["text"].count("not shown again") == 2


async def test_texts_of_files_are_bounded_and_shrink_where_the_model_is_small(
    ada: Chatter,
) -> None:
    await sent(ada, *((document(f"{n}.txt"), b"word " * 20_000) for n in range(4)))
    turn, context = await begun(ada)
    (said,) = await prompt(ada, context)
    assert said.count("word ") * 5 == TURN_CHARS_MAX
    assert f'characters="100000" shown="the first {FILE_CHARS_MAX}"' in said
    stored = await ada.stores.turns.context(turn.turn_id, 1)
    (shorter,) = await prompt(ada, stored, shorter=2)
    assert shorter.count("word ") * 5 == TURN_CHARS_MAX // 16


async def test_the_bundled_agent_reads_on_where_the_prompt_ends(ada: Chatter) -> None:
    text = "".join(f"line {number}\n" for number in range(4000))
    (artifact,) = await sent(ada, (document(), text.encode()))
    turn, _ = await begun(ada)
    context = Context(
        key="k",
        person=Person("1"),
        session=SessionInfo("s"),
        notes=MemoryNotes(),
        files=Files(ada.stores.artifacts, "k", turn.turn_id),
    )
    gathered, offset = "", 0
    while offset < len(text):
        answer = await read_file.function(context, f"artifact {artifact}", offset)
        head, _, part = answer.partition("\n\n")
        assert head.startswith(f"Characters {offset} to {offset + len(part)} of {len(text)}.")
        gathered, offset = gathered + part, offset + len(part)
    assert gathered == text and "This is the end." in head
    with pytest.raises(ModelRetry, match="has"):
        await read_file.function(context, artifact, len(text))
    (binary,) = await sent(ada, (document("b.bin"), b"\x00" * 99))
    with pytest.raises(ToolFailed, match="can't be read as text"):
        await read_file.function(context, binary, 0)


async def test_a_model_call_reads_the_files_before_it_asks(ada: Chatter) -> None:
    (artifact,) = await sent(ada, (document(), b"Meet at six."))
    turn, _ = await begun(ada)
    asked: list[ChatRequest] = []

    class Engine:
        async def stream(self, request: ChatRequest) -> AsyncGenerator[Delta | Completed, None]:
            asked.append(request)
            yield Completed("At six.", (), "stop", "m", "e1", 9, 0, 2)

    files = FileReader(ada.stores.artifacts)
    caller = ModelCaller(
        *(ada.stores.turns, Engine(), AgentRegistry.of(concierge), Board(), NoHints()), files=files
    )
    call = GenerateInput(turn.turn_id, 1, last=False)
    result = await ActivityEnvironment().run(caller.run, call)
    assert result.finish == "answer"
    assert f'<file id="{artifact}"' in str(asked[0].messages[1]["content"])
