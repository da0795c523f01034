"""Accepting events: rows, offset, commands and access in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import Address, InboundMessage
from roost_platform import commands
from roost_platform.db import models
from roost_platform.db.base.engine import Database
from roost_platform.db.channels import UNREADABLE, upsert_channel
from roost_platform.db.inbox import other_events
from roost_platform.db.inbox.chat_commands import obey
from roost_platform.db.inbox.overdue import mark_rung, to_ring, to_stop
from roost_platform.db.inbox.quotes import resolved
from roost_platform.db.inbox.rows import conversation_at, inbox_row
from roost_platform.db.message_files import register
from roost_platform.db.outbox.window import wake_held
from roost_platform.db.people.access import OPEN, AccessPolicy, decide, hold, identify, release
from roost_platform.db.people.tenants import SessionNews, Tenants
from roost_platform.db.rows import clean, lock_conversation, queue
from roost_platform.db.turns.stop import Stopped, interrupt, record_stop, tell_dropped
from roost_platform.queueing import QueueRules

IDS_MAX = 500  # event ids asked for in one query
TITLE_MAX = 80  # characters of the chat's name kept for lists
DEFAULT_AGENT = "concierge"


@dataclass(slots=True)
class Outcome:
    """What a committed batch asks for: conversations to ring and to stop, in order of arrival.

    answers: by event id, what the person who pressed a button is told.
    news: which sessions are about to go on, and which /new has ended.
    """

    stored: int = 0
    duplicates: int = 0
    ring: dict[str, None] = field(default_factory=dict)
    stop: dict[str, None] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)
    news: SessionNews = field(default_factory=SessionNews)


class InboxStore:
    """The inbox. `policies`: who may talk, by (channel, account); without one, strangers pair."""

    def __init__(
        self,
        database: Database,
        policies: Mapping[tuple[str, str], AccessPolicy] | None = None,
        default_agent: str = DEFAULT_AGENT,
        queueing: QueueRules | None = None,
        tenants: Tenants | None = None,
        abort_phrases: tuple[str, ...] = commands.ABORT_PHRASES,
    ) -> None:
        self._queueing = queueing or QueueRules()
        self._abort_phrases = abort_phrases
        self._database = database
        self._tenants = tenants or Tenants(database)
        self._policies = dict(policies or {})
        self._default_agent = default_agent

    async def accept(
        self,
        channel: str,
        account: str,
        batch: Sequence[InboundMessage],
        *,
        cursor: int | None = None,
        agent: str | None = None,
    ) -> Outcome:
        """Commit the batch and the poller's next offset; redeliveries are counted, not stored."""
        outcome = Outcome()
        async with self._database.write() as session:
            now = self._database.now()
            batch = [await other_events.at_home(session, message) for message in batch]
            conversations = await self._conversations(session, batch, now)
            sessions = {each.id: each.session_id for each in conversations.values()}
            for message in batch:
                conversation = conversations[message.address.key]
                if agent and conversation.agent != agent:
                    conversation.agent = agent
                event_id = await other_events.new_event_id(session, channel, account, message)
                if event_id is None:
                    outcome.duplicates += 1
                    continue
                event = replace(message, event_id=event_id, quote=await resolved(session, message))
                await self._store(session, conversation, event, outcome, now)
                outcome.stored += 1
                # A chat that moved goes on under its new key.
                conversations[conversation.key] = conversation
            for each in {each.id: each for each in conversations.values()}.values():
                goes_on = each.id in outcome.ring
                await self._tenants.note(session, each, sessions[each.id], goes_on, outcome.news)
            values: dict[str, float] = {} if cursor is None else {"cursor": cursor}
            if outcome.stored:
                values["last_in_at"] = now
            if values:
                await upsert_channel(session, channel, account, now, **values)
        return outcome

    async def _conversations(
        self, session: AsyncSession, batch: Sequence[InboundMessage], now: float
    ) -> dict[str, models.Conversation]:
        """Every conversation of the batch, made when new, and locked in the order of their keys."""
        addresses = {message.address.key: message.address for message in batch}
        return {
            key: await conversation_at(session, addresses[key], now, self._default_agent)
            for key in sorted(addresses)
        }

    async def _store(
        self,
        session: AsyncSession,
        conversation: models.Conversation,
        message: InboundMessage,
        outcome: Outcome,
        now: float,
    ) -> None:
        conversation.inbox_sequence += 1
        row = inbox_row(conversation, message, now)
        outcome.ids.append(row.id)
        if message.problem:
            row.state, row.reason = "ignored", f"{UNREADABLE}{clean(message.problem)}"
        elif message.kind == "edited":
            await other_events.edit(session, conversation, row, now)
        elif message.kind == "migrated":
            await other_events.migrate(session, conversation, row, message.text)
        elif message.kind == "membership":
            if await other_events.change_membership(session, conversation, row, now):
                outcome.stop[conversation.id] = None
        elif message.is_group and not message.is_addressed:
            row.state, row.reason = "ignored", other_events.NOT_ADDRESSED
        elif message.kind not in ("message", "callback", "stop"):
            row.state, row.reason = "ignored", message.kind
        else:
            await self._admit(session, conversation, row, message, outcome, now)
        session.add(row)
        await session.flush()
        await register(session, row, message.attachments, now)
        if row.album and message.kind == "message":
            joined = await other_events.join_album(session, conversation, row)
            if not joined and row.state in ("pending", "held"):
                await other_events.gather_album(session, conversation, row)
        if message.kind == "callback":
            told = commands.pressed(row.state, row.reason)
            outcome.answers[message.event_id] = told
            if message.answered_in_chat and row.reason in commands.REFUSED_PRESSES:
                key = f"inbox:{row.id}"
                await queue(
                    session, conversation, kind="notice", body=told, dedupe_key=key, now=now
                )

    async def _admit(
        self,
        session: AsyncSession,
        conversation: models.Conversation,
        row: models.Inbox,
        message: InboundMessage,
        outcome: Outcome,
        now: float,
    ) -> None:
        """Decide what the event is: held, a command, something for the agent, or nothing."""
        policy = self._policy(message.address)
        identity = await identify(session, message.address.channel, message.sender, now)
        row.identity_id = identity.id
        conversation.last_inbound_at = now
        if not message.is_group:
            conversation.identity_id = identity.id
            conversation.title = conversation.title or identity.display_name[:TITLE_MAX]
        before = identity.access
        if not decide(identity, policy, message.sender, now):
            if message.kind == "message":
                row.state, row.reason = await hold(
                    session, conversation, identity, message, policy, now
                )
                said = commands.parse(message.text, phrases=self._abort_phrases)
                if row.state == "held" and said is not None and not said.is_phrase:
                    # Everybody's first word is /start: it is not for the agent, then or later.
                    row.state, row.reason = "ignored", "a command of a stranger"
            else:
                row.state, row.reason = "ignored", commands.NOT_ADMITTED
            return
        if before == "pending":  # the setting was opened meanwhile
            await release(session, identity.id, conversation.id)
        await wake_held(session, conversation, now)
        command = commands.parse(message.text, message.kind, self._abort_phrases)
        if command is not None:
            stopping = await obey(session, conversation, row, command, self._queueing, now)
            if stopping:
                outcome.stop[conversation.id] = None
        elif message.kind == "message":
            row.state = "pending"
        else:
            row.state, row.reason = "ignored", commands.UNKNOWN_BUTTON
        if row.state == "pending":
            outcome.ring[conversation.id] = None
            mode = self._queueing.mode_of(conversation.channel, conversation.settings)
            if mode == "interrupt" and await interrupt(session, conversation, now):
                outcome.stop[conversation.id] = None

    def _policy(self, address: Address) -> AccessPolicy:
        if address.channel == "console":
            return OPEN  # the console has its own logins
        return self._policies.get((address.channel, address.account), AccessPolicy())

    async def unseen(self, channel: str, account: str, event_ids: Sequence[str]) -> frozenset[str]:
        """Which of these events were never accepted."""
        found: set[str] = set()
        async with self._database.read() as session:
            for start in range(0, len(event_ids), IDS_MAX):
                known = await session.scalars(
                    select(models.Inbox.event_id).where(
                        models.Inbox.channel == channel,
                        models.Inbox.account == account,
                        models.Inbox.event_id.in_(event_ids[start : start + IDS_MAX]),
                    )
                )
                found.update(known)
        return frozenset(event_ids) - found

    async def request_stop(self, conversation_id: str, by: str) -> Stopped:
        """Record a stop asked for elsewhere than in the chat; the caller rings."""
        async with self._database.write() as session:
            conversation = await lock_conversation(session, conversation_id)
            now = self._database.now()
            stopped = await record_stop(session, conversation, by, now)
            await tell_dropped(session, conversation, stopped, now)
            return stopped

    async def overdue(
        self, *, older_than: float, not_rung_since: float, silent_since: float, limit: int
    ) -> tuple[list[str], list[str]]:
        """Conversations to ring and to stop again: a doorbell was lost or a worker died."""
        async with self._database.read() as session:
            return (
                await to_ring(session, older_than, not_rung_since, silent_since, limit),
                await to_stop(session, older_than, limit),
            )

    async def mark_rung(self, conversation_ids: Sequence[str]) -> None:
        async with self._database.write() as session:
            await mark_rung(session, conversation_ids, self._database.now())
