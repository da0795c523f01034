"""Starting and forking flows from outside a chat, and having failed turns tried again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from uuid_utils import uuid7

from roost.flow import WrongInput
from roost_channels.console.config import ACCOUNT, CHANNEL
from roost_channels.message import Address, Sender
from roost_platform.db import models
from roost_platform.db.attempts.forking import Forked
from roost_platform.db.attempts.retrying import Retried, turn_to_retry
from roost_platform.db.stores import Stores
from roost_platform.db.turns.flow_entries import flow_id
from roost_platform.errors import NotAllowed, NotFound, Refused
from roost_platform.intake import PlatformIntake
from roost_workflows.agents import AgentRegistry

NAME_CHARS_MAX: Final = 200
INPUT_CHARS_MAX: Final = 65_536  # as of any message
KEY: Final = f"{CHANNEL}:{ACCOUNT}:"


@dataclass(frozen=True, slots=True)
class StartedFlow:
    """A flow that will begin. id: of the message that begins it, by which it is found from now on.

    is_duplicate: the same start came before.
    """

    id: str
    conversation_id: str
    key: str
    is_duplicate: bool = False


async def start_flow(
    stores: Stores,
    intake: PlatformIntake,
    registry: AgentRegistry,
    name: str,
    input: Mapping[str, Any],
    *,
    by: Sender,
    session: str = "",
    event_id: str = "",
) -> StartedFlow:
    """Start a flow in a console session of its own, or in the one of this name or key.

    event_id: a start with the same one is one start; it needs a session. Raises NotFound for an
    unknown flow, Refused for input that it does not take, NotAllowed for a session of another
    agent.
    """
    flow = registry.flow(name)
    if flow is None:
        known = ", ".join(sorted(one.name for one in registry.flows))
        raise NotFound(f"There is no flow {name!r}. Flows: {known or 'none'}.")
    try:
        text = flow.text_of(flow.parse_input(input))
    except WrongInput as error:
        raise Refused(str(error)) from error
    if not text.strip():
        raise Refused("The message is empty.")
    if len(text) > INPUT_CHARS_MAX:
        raise Refused(f"The input has {len(text)} characters; at most {INPUT_CHARS_MAX} fit.")
    session_name = session.removeprefix(KEY) or f"{name}-{uuid7()}"
    if len(session_name) > NAME_CHARS_MAX or "\x00" in session_name:
        raise Refused(f"A session's name has 1 to {NAME_CHARS_MAX} characters.")
    key = Address(CHANNEL, ACCOUNT, session_name).key
    await _require_agent(stores, key, name)
    message_id = event_id or str(uuid7())
    submitted = await intake.say(session_name, text, sender=by, agent=name, message_id=message_id)
    inbox_id = submitted.inbox_id or await _inbox_id(stores, f"{session_name}:{message_id}")
    return StartedFlow(inbox_id, submitted.conversation_id, key, not submitted.inbox_id)


async def retry_turn(
    stores: Stores, intake: PlatformIntake, given: str, by: str, ip: str = ""
) -> Retried:
    """Have a failed turn tried again, and ring.

    given: its id, that of a message that it answers, or a session's key or id for its last turn.
    Raises NotFound, and NotAllowed with the reason where a new attempt makes no sense.
    """
    async with stores.database.read() as session:
        turn_id = await turn_to_retry(session, given)
    retried = await stores.operators.retry(turn_id, by, ip)
    intake.ring([retried.conversation_id])
    return retried


async def fork_flow(
    stores: Stores, intake: PlatformIntake, given: str, at: int, by: str, ip: str = ""
) -> Forked:
    """Begin a new run of a flow with the results of the steps before `at`, and ring.

    given: the flow's id, or that of the message that began it. Raises NotFound, and NotAllowed with
    the reason where it can't be forked there.
    """
    async with stores.database.read() as session:
        turn_id = await flow_id(session, given)
    if turn_id is None:
        raise NotFound(f"There is no flow {given!r}.")
    forked = await stores.operators.fork(turn_id, at, by, ip)
    intake.ring([forked.conversation_id])
    return forked


async def _require_agent(stores: Stores, key: str, name: str) -> None:
    """Raise NotAllowed where another agent answers in the conversation."""
    async with stores.database.read() as session:
        agent = await session.scalar(
            select(models.Conversation.agent).where(models.Conversation.key == key)
        )
    if agent is not None and agent != name:
        raise NotAllowed(f"In {key} {agent} answers. Start the flow in another session.")


async def _inbox_id(stores: Stores, event_id: str) -> str:
    async with stores.database.read() as session:
        found = await session.scalar(
            select(models.Inbox.id).where(
                models.Inbox.channel == CHANNEL, models.Inbox.event_id == event_id
            )
        )
    return found or ""
