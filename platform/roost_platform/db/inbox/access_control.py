"""Who may talk, and what an admitted person's event means: a command, or work for the agent."""

from collections.abc import Mapping

from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import InboundMessage, Sender
from roost_platform import commands
from roost_platform.approval_rules import ApprovalRules
from roost_platform.commands import Command
from roost_platform.db import models
from roost_platform.db.conversations.settings import ProgressModes
from roost_platform.db.inbox.arrival import Arrival
from roost_platform.db.inbox.changes.edits import apply_edit, edit_held
from roost_platform.db.inbox.chat_commands import answer_unknown, carry_out
from roost_platform.db.inbox.links import enter_code, tell_stranger
from roost_platform.db.inbox.replies import taking as replies
from roost_platform.db.inbox.scheduling import pressing
from roost_platform.db.outbox.window import wake_held
from roost_platform.db.people.access import (
    OPEN,
    AccessPolicy,
    decide,
    identify,
    keep_or_refuse,
    known_person,
    release,
)
from roost_platform.db.people.listed_names import with_own_name
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
        progress_modes: ProgressModes,
        approvals: ApprovalRules,
    ) -> None:
        self._approvals = approvals
        self._policies = dict(policies)
        self._queueing = queueing
        self._abort_phrases = abort_phrases
        self._progress_modes = progress_modes

    async def overhear(self, session: AsyncSession, arrival: Arrival) -> None:
        """Decide about an event that asks for nothing: an edit, or what a group says to itself.

        Of people who may not talk here nothing is kept for the agent to read. Nobody becomes a
        known person by it, so that a busy group fills no list.
        """
        event = arrival.event
        policy = self._policy_of(event)
        person = await known_person(session, event.address.channel, event.sender)
        sender = await self._named(session, arrival, policy)
        if person is None:
            is_admitted = policy.admits(sender)
        else:
            arrival.row.identity_id = person.id
            is_admitted = decide(person, policy, sender, arrival.now)
        if is_admitted and event.kind == "edited":
            await apply_edit(session, arrival)
        elif is_admitted:
            arrival.conclude("ignored", "not_addressed")
        elif person is not None and person.access == "blocked":
            arrival.conclude("ignored", "blocked")
        elif event.kind == "edited":
            await edit_held(session, arrival)
        else:
            arrival.conclude("ignored", "not_admitted")

    def _policy_of(self, event: InboundMessage) -> AccessPolicy:
        if event.address.channel == "console":
            return OPEN  # the console has its own logins
        at = (event.address.channel, event.address.account)
        return self._policies.get(at, AccessPolicy())

    async def _named(self, session: AsyncSession, arrival: Arrival, policy: AccessPolicy) -> Sender:
        event = arrival.event
        at = (event.address.channel, event.address.account)
        return await with_own_name(session, at, policy, event.sender, arrival.now)

    async def admit(self, session: AsyncSession, arrival: Arrival) -> None:
        """Find the person behind the event, then decide what the event is."""
        event, conversation = arrival.event, arrival.conversation
        policy = self._policy_of(event)
        sender = await self._named(session, arrival, policy)
        person = await identify(session, event.address.channel, event.sender, arrival.now)
        was_pending = person.access == "pending"
        person = await self._after_link(session, arrival, person, policy, sender)
        arrival.row.identity_id = person.id
        conversation.last_inbound_at = arrival.now
        if not event.is_group:
            conversation.identity_id = person.id
            conversation.title = conversation.title or person.display_name[:TITLE_MAX]
        if not decide(person, policy, sender, arrival.now):
            await self._turn_away(session, arrival, person, policy)
            return
        if was_pending:  # the setting was opened meanwhile
            await release(session, person.id, conversation.id)
        await wake_held(session, conversation, arrival.now)
        command = self._command_of(event)
        if command is not None and command.is_phrase and await replies.is_option(session, arrival):
            command = None  # "Cancel" is one of the answers
        if command is not None:
            _keep_payload(arrival)
            if command.name in ("approve", "deny"):
                await replies.decide_by_command(session, arrival, command, self._approvals)
                return
            await carry_out(session, arrival, command, self._queueing, self._progress_modes)
        elif name := _unknown(event):
            await answer_unknown(session, arrival, name)
        elif event.kind == "message" and await pressing.take_words(
            session, arrival, self._approvals
        ):
            return  # it answered a reminder, or the question for the time zone
        elif event.kind == "message" and await replies.take(session, arrival, self._approvals):
            return  # a turn waits: it was the answer, or it is held until the turn goes on
        elif event.kind == "message":
            arrival.conclude("pending")
        elif not (
            await replies.press(session, arrival, self._approvals)
            or await pressing.press(session, arrival)
        ):
            arrival.conclude("ignored", "unknown_button")
        if arrival.row.state == "pending":
            arrival.rings = True
            if self._queueing.mode_of(conversation) == "interrupt" and await interrupt(
                session, conversation, arrival.now
            ):
                arrival.stops = (conversation.id,)

    async def _after_link(
        self,
        session: AsyncSession,
        arrival: Arrival,
        person: models.Identity,
        policy: AccessPolicy,
        sender: Sender,
    ) -> models.Identity:
        """Who the person is once the code took effect that they may have sent, as strangers can."""
        event = arrival.event
        command = None if event.is_group else commands.parse(event.text, event.kind)
        if command is None or command.name != "link" or not command.argument:
            return person
        is_admitted = decide(person, policy, sender, arrival.now)
        if person.access == "blocked":
            return person
        return await enter_code(session, arrival, command.argument, person, is_admitted=is_admitted)

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
        command = self._command_of(event)
        is_command = bool(_unknown(event)) or (command is not None and not command.is_phrase)
        state, code = await keep_or_refuse(
            session,
            arrival.conversation,
            person,
            policy,
            arrival.now,
            is_group=event.is_group,
            is_command=is_command,
        )
        if is_command:
            _keep_payload(arrival)
        arrival.conclude(state, code)
        if policy.mode == "pairing":
            await tell_stranger(session, arrival, person.id)

    def _command_of(self, event: InboundMessage) -> Command | None:
        """The command that a message is; somebody else's words, passed on, command nothing.

        A link code that was passed on is answered, so that its owner knows why it does nothing.
        """
        command = commands.parse(event.text, event.kind, self._abort_phrases)
        is_code = command is not None and command.name == "link" and bool(command.argument)
        return None if event.forwarded_from and not is_code else command


def _keep_payload(arrival: Arrival) -> None:
    """Keep what came along with a command for the agent, who sees only messages."""
    arrival.conversation.payload = arrival.row.payload or arrival.conversation.payload


def _unknown(event: InboundMessage) -> str:
    """The name of the unknown command that a message is; empty for others, and with files."""
    if event.kind != "message" or event.attachments or event.forwarded_from:
        return ""
    return commands.unknown(event.text, is_group=event.is_group)
