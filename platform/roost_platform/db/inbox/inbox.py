"""The inbox: accepts events with their commands and access decisions in one transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from roost_channels.message import InboundMessage
from roost_platform import commands
from roost_platform.approval_rules import ApprovalRules
from roost_platform.db import models
from roost_platform.db.audit import audit
from roost_platform.db.base.committed.facts import MessageAccepted, record
from roost_platform.db.base.committed.told import tell
from roost_platform.db.base.engine import Database
from roost_platform.db.base.text import clean
from roost_platform.db.channels import upsert_channel
from roost_platform.db.conversations.addresses import lock_conversations
from roost_platform.db.conversations.homes import home_of
from roost_platform.db.conversations.settings import ProgressModes
from roost_platform.db.inbox import forgotten
from roost_platform.db.inbox.access_control import AccessControl
from roost_platform.db.inbox.albums import join_album
from roost_platform.db.inbox.arrival import AcceptedBatch, Arrival, open_arrival
from roost_platform.db.inbox.changes.edits import (
    replace_contents,
    take_early,
    take_edit_as_message,
)
from roost_platform.db.inbox.changes.revocations import take_back
from roost_platform.db.inbox.chat_commands import answer_press
from roost_platform.db.inbox.membership import change_membership, migrate
from roost_platform.db.inbox.names import with_plain_names
from roost_platform.db.inbox.overdue import has_open_work, mark_rung, to_ring, to_stop
from roost_platform.db.inbox.quoted_files import name_quoted_files
from roost_platform.db.locks import lock_conversation
from roost_platform.db.message_files import register
from roost_platform.db.people.access import AccessPolicy
from roost_platform.db.people.tenants import Tenants
from roost_platform.db.reasons import REFUSED
from roost_platform.db.turns.stop import Stopped, record_stop, tell_dropped
from roost_platform.queueing import QueueRules
from roost_workflows.turn.endings import BY_OPERATOR

IDS_MAX = 500  # event ids asked for in one query
DEFAULT_AGENT = "concierge"


class InboxStore:
    """The inbox. policies: who may talk, by (channel, account); an account without one gives
    strangers a pairing code. agents: the names of those that are installed; none if unknown.
    """

    def __init__(
        self,
        database: Database,
        policies: Mapping[tuple[str, str], AccessPolicy] | None = None,
        default_agent: str = DEFAULT_AGENT,
        queueing: QueueRules | None = None,
        tenants: Tenants | None = None,
        abort_phrases: tuple[str, ...] = commands.ABORT_PHRASES,
        progress_modes: ProgressModes | None = None,
        agents: Sequence[str] = (),
        approvals: ApprovalRules | None = None,
    ) -> None:
        self._database = database
        self._tenants = tenants or Tenants(database)
        self._default_agent = default_agent
        self._access = AccessControl(
            *(policies or {}, queueing or QueueRules(), abort_phrases, progress_modes or {}),
            approvals or ApprovalRules(),
        )
        self._agents = frozenset(agents)

    async def accept(
        self,
        channel: str,
        account: str,
        batch: Sequence[InboundMessage],
        *,
        cursor: int | None = None,
        agent: str | None = None,
    ) -> AcceptedBatch:
        """Commit the batch and the poller's next offset; redeliveries are counted, not stored."""
        accepted = AcceptedBatch()
        # An offset that moves alone is nothing to act on; an idle poller moves it again and again.
        async with self._database.write(is_news=bool(batch)) as session:
            now = self._database.now()
            named = [with_plain_names(each) for each in batch]
            events = [replace(each, address=await home_of(session, each)) for each in named]
            addresses = [event.address for event in events]
            agent_name = self._default_agent
            conversations = await lock_conversations(session, addresses, now, agent_name)
            sessions = {each.id: each.session_id for each in conversations.values()}
            for event in events:
                conversation = conversations[event.address.key]
                if agent and conversation.agent != agent:
                    conversation.agent = agent
                arrival = await open_arrival(session, conversation, event, now)
                if arrival is None:
                    accepted.duplicates += 1
                    continue
                if self._agents and conversation.agent not in self._agents:
                    arrival.fallback_agent = self._default_agent
                await self._decide(session, arrival)
                await _store(session, arrival)
                accepted.add(arrival)
                tell(
                    session,
                    "message accepted",
                    inbox_id=arrival.row.id,
                    conversation_id=conversation.id,
                    channel=channel,
                    account=account,
                    kind=event.kind,
                    state=arrival.row.state,
                )
                record(session, MessageAccepted(channel, arrival.row.state))
                # A moved chat continues under its new key.
                conversations[conversation.key] = conversation
            for each in {each.id: each for each in conversations.values()}.values():
                goes_on = each.id in accepted.ring
                before, changes = sessions[each.id], accepted.changes
                await self._tenants.note_change(session, each, before, goes_on, changes)
            values: dict[str, float] = {} if cursor is None else {"cursor": cursor}
            if accepted.stored:
                values["last_in_at"] = now
            if values:
                await upsert_channel(session, channel, account, now, **values)
        return accepted

    async def _decide(self, session: AsyncSession, arrival: Arrival) -> None:
        """Decide the state of the event's row, and whether its conversation is rung or stopped."""
        if await take_early(session, arrival):
            return
        await take_edit_as_message(session, arrival)
        event = arrival.event
        if event.problem:
            arrival.conclude("ignored", "unreadable", clean(event.problem))
        elif event.kind == "migrated":
            await migrate(session, arrival)
        elif event.kind == "membership":
            await change_membership(session, arrival)
        elif event.kind == "revoked":
            await take_back(session, arrival)
        elif event.kind not in ("message", "edited", "callback", "stop"):
            arrival.conclude("ignored", "other_kind", event.kind)
        elif event.kind == "edited" or (event.is_group and not event.is_addressed):
            await self._access.overhear(session, arrival)
        else:
            await self._access.admit(session, arrival)

    async def unseen(self, channel: str, account: str, event_ids: Sequence[str]) -> frozenset[str]:
        """Which of these events were never accepted. Those of deleted people were."""
        accepted: set[str] = set()
        async with self._database.read() as session:
            for start in range(0, len(event_ids), IDS_MAX):
                known = await session.scalars(
                    select(models.Inbox.event_id).where(
                        models.Inbox.channel == channel,
                        models.Inbox.account == account,
                        models.Inbox.event_id.in_(event_ids[start : start + IDS_MAX]),
                    )
                )
                accepted.update(known)
                some = event_ids[start : start + IDS_MAX]
                accepted.update(await forgotten.among(session, channel, account, some))
        return frozenset(event_ids) - accepted

    async def request_stop(self, conversation_id: str, by: str, ip: str = "") -> Stopped:
        """Record a stop that an operator requested outside the chat; the caller rings."""
        async with self._database.write() as session:
            conversation = await lock_conversation(session, conversation_id)
            now = self._database.now()
            stopped = await record_stop(session, conversation, by, now, cause=BY_OPERATOR)
            await tell_dropped(session, conversation, stopped, now)
            detail = {"turn": stopped.turn_id or "", "dropped": stopped.dropped}
            await audit(session, now, by, "conversation.stop", conversation_id, detail, ip)
            return stopped

    async def has_open_work(self) -> bool:
        """Whether a message waits or a turn runs: only then can anything be overdue."""
        async with self._database.read() as session:
            return await has_open_work(session)

    async def overdue(
        self, *, older_than: float, not_rung_since: float, silent_since: float, limit: int
    ) -> tuple[list[str], list[str]]:
        """Conversations to ring and conversations to stop again: a doorbell was lost or a worker
        died.
        """
        async with self._database.read() as session:
            return (
                await to_ring(session, older_than, not_rung_since, silent_since, limit),
                await to_stop(session, older_than, limit),
            )

    async def mark_rung(self, conversation_ids: Sequence[str]) -> None:
        """Remember that these conversations were rung now."""
        async with self._database.write() as session:
            await mark_rung(session, conversation_ids, self._database.now())


async def _store(session: AsyncSession, arrival: Arrival) -> None:
    """Add the decided row with its files, join its album, and answer a pressed button."""
    row = arrival.row
    session.add(row)
    await session.flush()
    if arrival.event.attachments and row.reason_code not in REFUSED:
        await register(session, row, arrival.event.attachments, arrival.now)
    await replace_contents(session, arrival)
    is_for_agent = row.kind == "message" and row.state in ("pending", "held")
    if is_for_agent and arrival.event.quote is not None and arrival.event.quote.files:
        await name_quoted_files(session, arrival)
    if row.album and row.kind == "message":
        await join_album(session, row)
    if row.kind == "callback":
        await answer_press(session, arrival)
