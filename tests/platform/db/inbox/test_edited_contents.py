"""Edits of what stands beside the words, edits before their messages, and edits back."""

from dataclasses import replace

from roost_channels.message import Attachment, InboundMessage, Sender
from roost_platform.db.turns.transcript import ALBUM_S
from roost_platform.testing.chats import HandClock, Person
from roost_workflows.ports import TranscriptMessage

HERE = Attachment("location", "", "48.1,11.5")
THERE = Attachment("location", "", "48.2,11.6")
FAR = Attachment("location", "", "48.3,11.7")


async def seen(person: Person) -> list[TranscriptMessage]:
    """What the agent sees in a turn begun now."""
    turn = await person.turn()
    context = await person.stores.turns.context(turn.turn_id, 1)
    return list(context.messages)


async def answered(person: Person, message: InboundMessage) -> None:
    await person.gives(message)
    await person.agent_says(await person.turn(), 1, "Fine.")


def edited(
    original: InboundMessage, event_id: str, text: str, *attachments: Attachment
) -> InboundMessage:
    return replace(
        original, kind="edited", event_id=event_id, text=text, attachments=tuple(attachments)
    )


async def test_an_edit_that_comes_before_its_message_counts(ada: Person) -> None:
    message = ada.message("meet at six")
    await ada.gives(edited(message, "e1", "meet at seven"))
    await ada.gives(message)
    assert [m.content for m in await seen(ada)] == ["meet at seven"]


async def test_an_edit_of_somebody_else_changes_no_later_message(sqlite_ada: Person) -> None:
    ada = sqlite_ada
    message = ada.message("pay Ben")
    other = replace(message.sender, address="666")
    await ada.gives(replace(edited(message, "e1", "pay Eve"), sender=other))
    await ada.gives(message)
    assert [m.content for m in await seen(ada)] == ["pay Ben"]


async def test_an_older_edit_that_comes_late_changes_nothing(ada: Person) -> None:
    message = ada.message("at six")
    old = replace(edited(message, "e1", "at seven"), sent_at=message.sent_at + 10)
    new = replace(edited(message, "e2", "at eight"), sent_at=message.sent_at + 20)
    await ada.gives(message, new, old)
    late = replace(edited(message, "e3", "at nine"), sent_at=message.sent_at + 15)
    assert [m.content for m in await seen(ada)] == ["at eight"]
    await ada.gives(late)
    assert not [m for m in await seen(ada) if m.role == "system"]


async def test_the_newest_of_the_edits_that_come_before_their_message_counts(ada: Person) -> None:
    message = ada.message("at six")
    old = replace(edited(message, "e1", "at seven"), sent_at=message.sent_at + 10)
    new = replace(edited(message, "e2", "at eight"), sent_at=message.sent_at + 20)
    await ada.gives(new, old)
    await ada.gives(message)
    assert [m.content for m in await seen(ada)] == ["at eight"]


async def test_nobody_edits_what_others_wrote_in_a_group(sqlite_ada: Person) -> None:
    ada = sqlite_ada
    ada.address = replace(ada.address, chat="-100", is_group=True)
    message = ada.message("pay Ben")
    said = replace(ada.message("Ben is paid on Mondays"), is_addressed=False)
    eve = Sender("666", "Eve")
    await ada.gives(said, message)
    await ada.gives(
        replace(edited(message, "e1", "pay Eve"), sender=eve, is_addressed=False),
        replace(edited(said, "e2", "Eve is paid on Mondays, bot"), sender=eve),
    )
    (found,) = await seen(ada)
    assert found.content == "pay Ben"
    assert found.context == (("Ada", "Ben is paid on Mondays"),)


async def test_a_place_that_moves_before_the_turn_is_where_it_is_now(ada: Person) -> None:
    message = replace(ada.message(""), attachments=(HERE,))
    await ada.gives(message, edited(message, "e1", "", THERE))
    assert [m.content for m in await seen(ada)] == ["[location: 48.2,11.6]"]


async def test_a_place_that_moves_after_the_answer_is_told_in_one_note(ada: Person) -> None:
    message = replace(ada.message(""), attachments=(HERE,))
    await answered(ada, message)
    await ada.gives(edited(message, "e1", "", THERE), edited(message, "e2", "", FAR))
    await ada.gives(edited(message, "e3", "", FAR))
    await ada.says("where am I?")
    (note,) = [m.content for m in await seen(ada) if m.role == "system"]
    assert "[location: 48.3,11.7]" in note and "48.2" not in note


async def test_words_that_were_edited_stay_told_when_the_place_moves_later(ada: Person) -> None:
    message = replace(ada.message("here"), attachments=(HERE,))
    await answered(ada, message)
    await ada.gives(edited(message, "e1", "still here", HERE))
    await ada.gives(edited(message, "e2", "still here", THERE))
    await ada.says("and now?")
    notes = [m.content for m in await seen(ada) if m.role == "system"]
    assert "“still here”" in notes[0] and "[location: 48.2,11.6]" in notes[1]


async def test_an_edit_back_to_the_first_words_is_told(ada: Person) -> None:
    message = ada.message("at six")
    await answered(ada, message)
    await ada.gives(edited(message, "e1", "at seven"), edited(message, "e2", "at six"))
    await ada.says("when?")
    notes = [m.content for m in await seen(ada) if m.role == "system"]
    assert "Now: “at six”" in notes[-1]


async def test_another_file_in_place_of_the_first_is_the_agents(ada: Person) -> None:
    first = Attachment("document", "f1", "draft.pdf", "application/pdf")
    second = Attachment("document", "f2", "final.pdf", "application/pdf")
    message = replace(ada.message("sign this"), attachments=(first,))
    await ada.gives(message, edited(message, "e1", "sign this", second))
    (content,) = [m.content for m in await seen(ada)]
    assert "final.pdf" in content and "draft.pdf" not in content


async def test_a_file_replaced_after_the_answer_is_told_with_its_id(ada: Person) -> None:
    first = Attachment("document", "f1", "draft.pdf", "application/pdf")
    second = Attachment("document", "f2", "final.pdf", "application/pdf")
    message = replace(ada.message("sign this"), attachments=(first,))
    await answered(ada, message)
    await ada.gives(edited(message, "e1", "sign this", second))
    await ada.says("done?")
    (note,) = [m.content for m in await seen(ada) if m.role == "system"]
    assert "artifact" in note and "final.pdf" in note


async def test_an_album_keeps_its_other_pictures_when_one_is_replaced(
    ada: Person, clock: HandClock
) -> None:
    pictures = [
        replace(
            ada.message("both" if number == 1 else ""),
            album="a1",
            attachments=(Attachment("photo", f"p{number}", f"{number}.jpg"),),
        )
        for number in (1, 2)
    ]
    other = Attachment("photo", "p9", "9.jpg")
    await ada.gives(*pictures, edited(pictures[0], "e1", "both of them", other))
    clock.advance(ALBUM_S)
    (content,) = [m.content for m in await seen(ada)]
    assert "9.jpg" in content and "2.jpg" in content and "1.jpg" not in content
    assert content.endswith("both of them")
