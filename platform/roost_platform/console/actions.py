"""What the console does to conversations, people and deliveries, through the platform's own doors.

The stores audit reply, redrive, approve and block in their own transactions; a stop is audited
here.
"""

from collections.abc import Sequence

from roost_channels.message import Sender
from roost_platform.commands import dropped_line, queue_set, told
from roost_platform.console.dependencies import ConsoleDeps
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.identity.roles import Principal

REDRIVE_MAX = 500  # messages given new attempts by one press


async def stop_session(deps: ConsoleDeps, id: str, by: Principal, ip: str) -> str:
    """Record and ring a stop, as /stop in the chat does; tells what it found."""
    stopped = await deps.intake.request_stop(id, by.name)
    detail = {"turn": stopped.turn_id or "", "dropped": stopped.dropped}
    await deps.stores.audit.write(by.name, "conversation.stop", id, detail, ip)
    if stopped.turn_id:
        return f"Stopping. {dropped_line(stopped.dropped)}".strip()
    return told(stopped.dropped, was_running=False)


async def reply_as_operator(deps: ConsoleDeps, id: str, text: str, by: Principal, ip: str) -> None:
    """Answer in the agent's place; the lane delivers it like any answer."""
    await deps.stores.say_as_operator(id, text, by.name, ip)


async def set_queue(deps: ConsoleDeps, id: str, word: str, by: Principal, ip: str) -> str:
    """Choose the queue mode of a conversation; tells what holds now."""
    try:
        mode = await deps.stores.operators.set_queue(id, word, by.name, ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None
    return queue_set(mode)


async def set_progress(deps: ConsoleDeps, id: str, word: str, by: Principal, ip: str) -> str:
    """Choose what a conversation sees of work in progress; tells what holds now."""
    try:
        return await deps.stores.operators.set_progress(id, word, by.name, ip)
    except NotAllowed as error:
        raise Refused(str(error)) from None


async def say_on_console(
    deps: ConsoleDeps, name: str, text: str, by: Principal, agent: str
) -> None:
    """A message of the test chat, through the same door as every channel's."""
    sender = Sender(f"operator:{by.id}", by.name)
    await deps.intake.say(name, text, sender=sender, agent=agent or None)


async def approve(deps: ConsoleDeps, id: str, by: Principal, ip: str) -> str:
    """Let a person in and have their held messages answered; returns their name."""
    await deps.intake.approve(id, by.name, ip)
    return await name_of(deps, id)


async def block(deps: ConsoleDeps, id: str, by: Principal, ip: str) -> str:
    """Shut a person out; returns their name."""
    await deps.stores.people.block(id, by.name, ip)
    return await name_of(deps, id)


async def name_of(deps: ConsoleDeps, id: str) -> str:
    """How messages call a person: by name, else as this person."""
    person = await deps.stores.people.get(id)
    return (person.name if person else "") or "This person"


async def redrive(deps: ConsoleDeps, ids: Sequence[str], by: Principal, ip: str) -> int:
    """Give failed messages new attempts; one that is not failed any more is left as it is."""
    count = 0
    for id in ids[:REDRIVE_MAX]:
        try:
            await deps.stores.redrive(id, by.name, ip)
        except (NotAllowed, NotFound):
            continue
        count += 1
    return count
