"""What operators do to conversations, people and deliveries, through intake and stores.

The stores audit stop, reply, redrive, approve, block and links in their own transactions; a message
of the test chat is audited here.
"""

from collections.abc import Sequence

from roost_channels.message import Sender
from roost_platform.commands import dropped_line, queue_set
from roost_platform.console.dependencies import ConsoleDeps
from roost_platform.db.waits.own_requests import LOGIN_ADDRESS
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.flows import retry_turn
from roost_platform.identity.roles import Principal

REDRIVE_MAX = 500  # messages that one press sends again


async def stop_session(deps: ConsoleDeps, id: str, by: Principal, ip: str) -> str:
    """Record a stop and ring the session, as /stop in the chat does; returns what was stopped."""
    stopped = await deps.intake.request_stop(id, by.name, ip)
    if stopped.turn_id and not stopped.undelivered.ids:
        return f"Stopping. {dropped_line(stopped.dropped)}".strip()
    return f"Stopping. {stopped.answer}" if stopped.turn_id else stopped.answer


async def retry_in_session(deps: ConsoleDeps, turn_id: str, by: Principal, ip: str) -> None:
    """Have a failed turn tried again, and ring its session."""
    try:
        await retry_turn(deps.stores, deps.intake, turn_id, by.name, ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None


async def reply_as_operator(deps: ConsoleDeps, id: str, text: str, by: Principal, ip: str) -> None:
    """Answer in place of the agent; the answer is delivered like any other."""
    await deps.stores.say_as_operator(id, text, by.name, ip)


async def set_queue(deps: ConsoleDeps, id: str, word: str, by: Principal, ip: str) -> str:
    """Choose the queue mode of a conversation; returns the new setting in words."""
    try:
        mode = await deps.stores.operators.set_queue(id, word, by.name, ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    return queue_set(mode)


async def set_progress(deps: ConsoleDeps, id: str, word: str, by: Principal, ip: str) -> str:
    """Choose what a conversation sees of work in progress; returns the new setting in words."""
    try:
        return await deps.stores.operators.set_progress(id, word, by.name, ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None


async def say_on_console(
    deps: ConsoleDeps, name: str, text: str, by: Principal, agent: str, ip: str
) -> None:
    """Take in a message of the test chat, as from every channel."""
    sender = Sender(f"{LOGIN_ADDRESS}{by.id}", by.name)
    said = await deps.intake.say(name, text, sender=sender, agent=agent or None)
    detail = {"inbox_id": said.inbox_id, "characters": len(text)}
    await deps.stores.audit.write(by.name, "conversation.say", said.conversation_id, detail, ip)


async def approve(deps: ConsoleDeps, id: str, by: Principal, ip: str) -> str:
    """Let a person in and answer their held messages; returns their name."""
    await deps.intake.approve(id, by.name, ip)
    return await name_of(deps, id)


async def block(deps: ConsoleDeps, id: str, by: Principal, ip: str) -> str:
    """Block a person; returns their name."""
    await deps.stores.people.block(id, by.name, ip)
    return await name_of(deps, id)


async def link(deps: ConsoleDeps, id: str, other: str, by: Principal, ip: str) -> str:
    """Make the other person one with this one; returns the name of both."""
    try:
        await deps.intake.link(id, other, by.name, ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    return await name_of(deps, id)


async def unlink(deps: ConsoleDeps, id: str, linked_from: str, by: Principal, ip: str) -> str:
    """Make the addresses of one link a person of their own; returns that person's id."""
    try:
        return await deps.stores.people.unlink(id, linked_from, by.name, ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None


async def name_of(deps: ConsoleDeps, id: str) -> str:
    """How messages call a person: by name, else as this person."""
    person = await deps.stores.people.get(id)
    return (person.name if person else "") or "This person"


async def redrive(deps: ConsoleDeps, ids: Sequence[str], by: Principal, ip: str) -> int:
    """Send failed messages again; one that is no longer failed stays as it is. Returns how many."""
    count = 0
    for id in ids[:REDRIVE_MAX]:
        try:
            await deps.stores.redrive(id, by.name, ip)
        except (NotAllowed, NotFound):
            continue
        count += 1
    return count
