"""Who may talk, and what an admitted person's event means: a command, or work for the agent."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import InboundMessage
from roost_platform import commands
from roost_platform.commands import Command
from roost_platform.db import models
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.chat_commands import carry_out
from roost_platform.db.outbox.window import wake_held
from roost_platform.db.people.access import (
    OPEN,
    AccessPolicy,
    decide,
    identify,
    keep_or_refuse,
    release,
)
from roost_platform.db.turns.stop import interrupt
from roost_platform.queueing import QueueRules

TITLE_MAX = 80  # characters of the chat's name kept for lists


class AccessControl:
    """Lets people in by `policies`, by (channel, account); an account without one gives strangers a
    pairing code.
    """

    def __init__(
        self,
        policies: Mapping[tuple[str, str], AccessPolicy],
        queueing: QueueRules,
        abort_phrases: tuple[str, ...],
    ) -> None:
        self._policies = dict(policies)
        self._queueing = queueing
        self._abort_phrases = abort_phrases

    async def admit(self, session: AsyncSession, arrival: Arrival) -> None:
        """Find the person behind the event, then decide what the event is."""
        event, conversation = arrival.event, arrival.conversation
        at = (event.address.channel, event.address.account)
        # The console has its own logins.
        is_console = event.address.channel == "console"
        policy = OPEN if is_console else self._policies.get(at, AccessPolicy())
        person = await identify(session, event.address.channel, event.sender, arrival.now)
        arrival.row.identity_id = person.id
        conversation.last_inbound_at = arrival.now
        if not event.is_group:
            conversation.identity_id = person.id
            conversation.title = conversation.title or person.display_name[:TITLE_MAX]
        was_pending = person.access == "pending"
        if not decide(person, policy, event.sender, arrival.now):
            await self._turn_away(session, arrival, person, policy)
            return
        if was_pending:  # the setting was opened meanwhile
            await release(session, person.id, conversation.id)
        await wake_held(session, conversation, arrival.now)
        command = self._command_of(event)
        if command is not None:
            _keep_payload(arrival)
            await carry_out(session, arrival, command, self._queueing)
        elif event.kind == "message":
            arrival.conclude("pending")
        else:
            arrival.conclude("ignored", "unknown_button")
        if arrival.row.state == "pending":
            arrival.rings = True
            if self._queueing.mode_of(conversation) == "interrupt":
                arrival.stops = await interrupt(session, conversation, arrival.now)

    async def _turn_away(
        self,
        session: AsyncSession,
        arrival: Arrival,
        person: models.Identity,
        policy: AccessPolicy,
    ) -> None:
        event = arrival.event
        if event.kind != "message":
            arrival.conclude("ignored", "not_admitted")
            return
        state, code = await keep_or_refuse(
            session, arrival.conversation, person, policy, arrival.now, is_group=event.is_group
        )
        command = self._command_of(event)
        if state == "held" and command is not None and not command.is_phrase:
            # Telegram sends /start as everybody's first message: it is never for the agent.
            state, code = "ignored", "command_of_stranger"
            _keep_payload(arrival)
        arrival.conclude(state, code)

    def _command_of(self, event: InboundMessage) -> Command | None:
        """The command that a message is; somebody else's words, passed on, command nothing."""
        if event.forwarded_from:
            return None
        return commands.parse(event.text, event.kind, self._abort_phrases)


def _keep_payload(arrival: Arrival) -> None:
    """Keep what came along with a command for the agent, who sees only messages."""
    arrival.conversation.payload = arrival.row.payload or arrival.conversation.payload
