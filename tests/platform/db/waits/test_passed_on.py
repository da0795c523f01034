"""Words that a person passed on, while a call waits for their decision."""

from dataclasses import replace

import pytest

from roost_channels.message import Quote
from roost_platform.testing.chats import Person
from roost_platform.testing.waiting import booking, delivered


@pytest.mark.parametrize("said", ["yes", "1", "no", "{code} approve"])
@pytest.mark.parametrize("to_the_card", [True, False])
async def test_words_of_somebody_else_that_are_passed_on_decide_nothing(
    grace: Person, said: str, *, to_the_card: bool
) -> None:
    parked = await booking(grace)
    await delivered(grace)
    card = await parked.approval()
    quote = Quote(f"x{card.card_id}", "bot", "", "") if to_the_card else None
    message = grace.message(said.format(code=card.code), quote=quote)
    await grace.gives(replace(message, forwarded_from="Bob"))
    assert (await parked.approval()).state == "pending"
    assert (await grace.inbox())[-1][1] == "pending"  # the agent reads whose words they are
    assert (await grace.outbox())[-1][1].startswith("I am waiting for your decision on `book`")
    await grace.says("yes")
    assert (await parked.approval()).state == "approved"
