"""The door that every inbound event goes through: commit, then ring the session's workflow."""

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from temporalio.client import Client
from uuid_utils import uuid7

from roost_channels.intake import Accepted, DeliveryReceipt
from roost_channels.message import Address, InboundMessage, Quote, Sender
from roost_platform.db.outbox.quote_lookup import find_quote
from roost_platform.db.people.people import Decision
from roost_platform.db.people.tenants import SessionNews
from roost_platform.db.stores import Stores
from roost_platform.db.turns.stop import Stopped
from roost_workflows.hints.waits import NoOrders, SessionOrders
from roost_workflows.names import (
    SIGNAL_RING,
    SIGNAL_STOP,
    TASK_QUEUE,
    WORKFLOW_TYPE,
    workflow_id,
)
from roost_workflows.state import SessionInput

RINGS_MAX = 200  # doorbells under way; beyond that the sweeper rings
RING_TIMEOUT_S = 5.0
SWEEP_S = 1.0  # how often the sweeper looks
SWEEP_MAX = 100  # conversations rung by one sweep
OVERDUE_S = 2.0  # a message or a stop that waits longer has lost its doorbell
RING_AGAIN_S = 5.0
SILENT_S = 30.0  # a running turn without progress for this long may have lost its worker

log = logging.getLogger(__name__)


class Doorbell(Protocol):
    """Tells a session that something waits; carries no content and may be rung at will."""

    async def ring(self, conversation_id: str) -> None: ...

    async def stop(self, conversation_id: str) -> None: ...


class TemporalDoorbell:
    """Signal-with-start of the session's workflow."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ring(self, conversation_id: str) -> None:
        await self._signal(conversation_id, SIGNAL_RING)

    async def stop(self, conversation_id: str) -> None:
        await self._signal(conversation_id, SIGNAL_STOP)

    async def _signal(self, conversation_id: str, signal: str) -> None:
        await self._client.start_workflow(
            WORKFLOW_TYPE,
            SessionInput(conversation_id),
            id=workflow_id(conversation_id),
            task_queue=TASK_QUEUE,
            start_signal=signal,
            rpc_timeout=timedelta(seconds=RING_TIMEOUT_S),
        )


@dataclass(frozen=True, slots=True)
class Submitted:
    """A message taken in through `say`. inbox_id is empty when it was a redelivery."""

    inbox_id: str
    conversation_id: str


class PlatformIntake:
    """Implements `roost_channels.intake.Intake`, and the same door for the console, API and CLI.

    orders: how the engine is told which sessions go on and which are over.
    """

    def __init__(
        self, stores: Stores, doorbell: Doorbell, orders: SessionOrders | None = None
    ) -> None:
        self._stores = stores
        self._orders = orders or NoOrders()
        self._doorbell = doorbell
        self._rings: set[asyncio.Task[None]] = set()

    async def accept(
        self,
        channel: str,
        account: str,
        batch: Sequence[InboundMessage],
        *,
        cursor: int | None = None,
    ) -> Accepted:
        outcome = await self._stores.inbox.accept(channel, account, batch, cursor=cursor)
        self._tell_engine(outcome.news)
        self._announce(list(outcome.stop), list(outcome.ring))
        return Accepted(outcome.stored, outcome.duplicates, outcome.answers)

    async def say(
        self,
        session_name: str,
        text: str,
        *,
        sender: Sender | None = None,
        agent: str | None = None,
        message_id: str = "",
        quote: Quote | None = None,
    ) -> Submitted:
        """A message typed in the console, the API or the CLI; `message_id` makes it idempotent."""
        address = Address("console", "local", session_name)
        message_id = message_id or str(uuid7())
        message = InboundMessage(
            address=address,
            event_id=f"{session_name}:{message_id}",
            message_id=message_id,
            sender=sender or Sender("local", "You"),
            text=text,
            sent_at=self._stores.database.now(),
            quote=quote,
        )
        outcome = await self._stores.inbox.accept(
            address.channel, address.account, [message], agent=agent
        )
        self._tell_engine(outcome.news)
        self._announce(list(outcome.stop), list(outcome.ring))
        conversation_id = await self._stores.queries.conversation_id(address.key)
        assert conversation_id is not None  # accepted above
        return Submitted(outcome.ids[0] if outcome.ids else "", conversation_id)

    async def request_stop(self, conversation_id: str, by: str) -> Stopped:
        """Stop what runs in a conversation, as /stop in the chat does."""
        stopped = await self._stores.request_stop(conversation_id, by)
        if stopped.turn_id is not None:
            self._announce([conversation_id], [])
        return stopped

    async def approve(self, code_or_id: str, by: str, ip: str = "") -> Decision:
        """Admit a person and have the messages they wrote meanwhile answered."""
        decision = await self._stores.people.approve(code_or_id, by, ip)
        self._announce([], list(decision.conversations))
        return decision

    async def cursor(self, channel: str, account: str) -> int | None:
        view = await self._stores.channels.get(channel, account)
        return None if view is None else view.cursor

    async def unseen(self, channel: str, account: str, event_ids: Sequence[str]) -> frozenset[str]:
        return await self._stores.inbox.unseen(channel, account, event_ids)

    async def resolve_quote(self, channel: str, account: str, chat: str, ref: str) -> Quote | None:
        async with self._stores.database.read() as session:
            return await find_quote(session, channel, account, chat, ref)

    async def channel_state(self, channel: str, account: str, state: str, detail: str = "") -> None:
        await self._stores.channels.set(channel, account, state, detail)

    async def receipt(self, channel: str, account: str, receipt: DeliveryReceipt) -> None:
        await self._stores.receipts.record(channel, account, receipt)

    def _tell_engine(self, news: SessionNews) -> None:
        """After the commit and before the doorbell: the KV comes near while the turn begins."""
        for each in news.closed:
            self._orders.closed(each.session_id, each.salt)
        for each in news.expected:
            self._orders.expected(each.session_id, each.salt)

    # Doorbells: after the commit, and never a reason to refuse what was committed -------------

    def _announce(self, stops: Sequence[str], rings: Sequence[str]) -> None:
        for conversation_id in stops:
            self._start(self._doorbell.stop(conversation_id), conversation_id)
        for conversation_id in rings:
            self._start(self._doorbell.ring(conversation_id), conversation_id)

    def _start(self, ringing: Coroutine[Any, Any, None], conversation_id: str) -> None:
        if len(self._rings) >= RINGS_MAX:
            ringing.close()
            log.warning("too many doorbells under way; the sweeper will ring %s", conversation_id)
            return
        task = asyncio.create_task(_ring(ringing, conversation_id))
        self._rings.add(task)
        task.add_done_callback(self._rings.discard)

    async def drain(self) -> None:
        """Wait until every doorbell under way has rung or failed."""
        while self._rings:
            await asyncio.wait(self._rings)

    async def close(self) -> None:
        """Cancel the doorbells under way; the sweeper rings what was missed."""
        for task in self._rings:
            task.cancel()
        await self.drain()


async def _ring(ringing: Coroutine[Any, Any, None], conversation_id: str) -> None:
    try:
        await ringing
    except Exception as error:
        log.warning("could not ring %s, the sweeper will: %s", conversation_id, error)


class Sweeper:
    """Rings again where a doorbell was lost, a stop was not obeyed, or a worker died."""

    def __init__(self, stores: Stores, doorbell: Doorbell, *, interval_s: float = SWEEP_S) -> None:
        self._stores = stores
        self._doorbell = doorbell
        self._interval_s = interval_s

    async def run(self) -> None:
        """Sweep for ever; a failing sweep is told and tried again."""
        while True:
            try:
                await self.sweep()
            except Exception:
                log.exception("sweeping failed")
            await asyncio.sleep(self._interval_s)

    async def sweep(self) -> int:
        """One look; returns how many conversations were rung."""
        now = self._stores.database.now()
        rings, stops = await self._stores.inbox.overdue(
            older_than=now - OVERDUE_S,
            not_rung_since=now - RING_AGAIN_S,
            silent_since=now - SILENT_S,
            limit=SWEEP_MAX,
        )
        if rings:
            await self._stores.inbox.mark_rung(rings)
        for conversation_id in stops:
            await _ring(self._doorbell.stop(conversation_id), conversation_id)
        for conversation_id in rings:
            await _ring(self._doorbell.ring(conversation_id), conversation_id)
        return len(rings) + len(stops)
