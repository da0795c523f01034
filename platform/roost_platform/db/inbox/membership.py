"""Chats that get a new id, and chats that admit us or remove us."""

from sqlalchemy.ext.asyncio import AsyncSession

from roost_platform.db.conversations.moves import move_conversation
from roost_platform.db.conversations.settings import BLOCKED_AT
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.people.renames import rename
from roost_platform.db.turns.stop import record_stop
from roost_workflows.turn.endings import BY_NETWORK


async def migrate(session: AsyncSession, arrival: Arrival) -> None:
    """Continue the conversation under the chat's new id, which is the event's text.

    A person who moved takes name and access along.
    """
    event, new_chat = arrival.event, arrival.event.text
    arrival.conclude("done", "chat_moved", f"the chat moved to {new_chat}")
    if event.former_names:
        if not await rename(session, event, arrival.now):
            blocked = "the new name belongs to a blocked person"
            arrival.conclude("ignored", "not_admitted", blocked)
    elif arrival.conversation.chat != new_chat:
        await move_conversation(session, arrival.conversation, new_chat)


async def change_membership(session: AsyncSession, arrival: Arrival) -> None:
    """Remember whether we may write to the chat; a running turn stops when we may not."""
    conversation = arrival.conversation
    others = {name: v for name, v in conversation.settings.items() if name != BLOCKED_AT}
    if arrival.event.text != "out":
        conversation.settings = others
        arrival.conclude("done", "let_in")
        return
    conversation.settings = {**others, BLOCKED_AT: arrival.now}
    arrival.conclude("done", "shut_out")
    # What is being delivered stays: its refusal tells operators what did not arrive.
    by = "the chat, which shut us out"
    stopped = await record_stop(
        session, conversation, by, arrival.now, delivery="none", cause=BY_NETWORK
    )
    arrival.stops = stopped.runs
