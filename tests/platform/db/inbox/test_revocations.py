"""Messages that their writers delete."""

from dataclasses import replace

import pytest

from roost_channels.message import Attachment, InboundMessage
from roost_platform.db import models
from roost_platform.testing.chats import Person, count_rows


def revoked(original: InboundMessage) -> InboundMessage:
    """The deletion of a message."""
    return replace(
        original, kind="revoked", event_id=f"{original.event_id}:revoked", text="", attachments=()
    )


async def seen(person: Person) -> list[str]:
    """What the agent sees in a turn begun now."""
    turn = await person.turn()
    context = await person.stores.turns.context(turn.turn_id, 1)
    return [message.content for message in context.messages]


async def states(person: Person) -> list[str]:
    """What became of everything that came, in order."""
    return [state for _, state in await person.inbox()]


async def test_a_message_that_waits_is_not_answered_once_it_is_deleted(ada: Person) -> None:
    first, second = ada.message("wrong chat"), ada.message("hello")
    await ada.gives(first, second, revoked(first))
    assert await states(ada) == ["dropped", "pending", "done"]
    assert await seen(ada) == ["hello"]


async def test_a_deletion_that_comes_before_its_message_counts(ada: Person) -> None:
    message = ada.message("wrong chat")
    await ada.gives(revoked(message))
    await ada.gives(message)
    assert await states(ada) == ["done", "dropped"]


@pytest.mark.parametrize("attachments", [(), (Attachment("location", "", "48.1,11.5"),)])
async def test_the_agent_hears_of_the_deletion_of_what_it_has_read(
    ada: Person, attachments: tuple[Attachment, ...]
) -> None:
    message = replace(ada.message("meet at six"), attachments=attachments)
    await ada.gives(message)
    await ada.agent_says(await ada.turn(), 1, "Fine.")
    await ada.gives(revoked(message))
    await ada.says("so?")
    [note] = [text for text in await seen(ada) if text.startswith("The user deleted")]
    assert "meet at six" in note and ("48.1,11.5" in note) == bool(attachments)


async def test_nobody_deletes_what_somebody_else_wrote(sqlite_ada: Person) -> None:
    message = sqlite_ada.message("pay Ben")
    bob = replace(message.sender, address="2002", display_name="Bob", username="bob", aliases=())
    await sqlite_ada.gives(message, replace(revoked(message), sender=bob))
    early = sqlite_ada.message("pay Eve")
    await sqlite_ada.gives(replace(revoked(early), sender=bob), early)
    assert await states(sqlite_ada) == ["pending", "ignored", "ignored", "pending"]


async def test_a_deletion_of_something_unknown_starts_nothing(sqlite_ada: Person) -> None:
    await sqlite_ada.gives(revoked(sqlite_ada.message("never came")))
    assert await states(sqlite_ada) == ["ignored"]
    assert sqlite_ada.doorbell.rung == []
    assert await count_rows(sqlite_ada.stores, models.Transcript) == 0
